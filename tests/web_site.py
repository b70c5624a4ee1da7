"""A running service with one French newsletter, and what its readers did before a test."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select

from mailer import clock, issues, links, newsletters, settings, subscriptions
from mailer.db import transaction
from mailer.links import Purpose
from mailer.models.audience import Consent, EndedReason, SignupRequest, SubscriptionState
from mailer.subscriptions import Origin
from mailer.web.app import create_app
from tests.factories import a_newsletter, an_article, readers
from tests.web_server import browser, listening, serving

COOKIE = "mailer_signup"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where it runs, and a browser on it."""

    url: str
    client: httpx.Client

    def token(self, purpose: Purpose, subscription_id: int = 1) -> str:
        """A genuine token for a subscription."""
        return links.sign(purpose, subscription_id, 7)

    def confirm_path(self, *, made: timedelta = timedelta()) -> str:
        """The link of a confirmation mail that was sent `made` ago."""
        return f"/confirm/{links.sign_now(Purpose.CONFIRM, 1, clock.now() - made)}"

    def subscribe(self, address: str = "lea@example.org", **fields: str) -> httpx.Response:
        """Send the form."""
        return self.client.post("/s/courrier", data={"email": address, **fields})


@contextlib.contextmanager
def running_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The service on a real port; to be used with the fixture `installation`."""
    with listening() as (listener, url):
        monkeypatch.setenv("MAILER_PUBLIC_URL", url)
        settings.load.cache_clear()
        with transaction() as session:
            a_newsletter(session, cron="0 7 * * FRI")
        with serving(create_app(), listener), browser(url) as client:
            yield Site(url=url, client=client)


def signup_cookie(request_id: int, *, made: timedelta = timedelta()) -> dict[str, str]:
    """The header of a browser that filled in the form `made` ago."""
    return {"Cookie": f"{COOKIE}={links.sign_now(Purpose.REQUEST, request_id, clock.now() - made)}"}


def pending_reader(address: str = "lea@example.org") -> int:
    """Somebody filled in the form elsewhere, and the mail left. Returns the sign-up's id; the subscription is number 1."""
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        asked = subscriptions.request(
            session, newsletter, address, language="fr", origin=Origin(), now=clock.now() - timedelta(minutes=5)
        )
        subscriptions.handle_request(session, asked, now=clock.now() - timedelta(minutes=5))
        return asked


def confirmed_reader() -> None:
    """r0@example.org is subscribed, as number 1."""
    with transaction() as session:
        readers(session, newsletters.get(session, "courrier"), 1)


def ended_reader(reason: EndedReason = EndedReason.UNSUBSCRIBED, *, ago: timedelta = timedelta()) -> None:
    """r0@example.org was subscribed, as number 1, and left."""
    confirmed_reader()
    with transaction() as session:
        subscriptions.end(session, 1, reason, origin=Origin(), now=clock.now() - ago)


def sent_issue() -> int:
    """An issue is being sent to two readers. Returns its id."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "eau", seen=now - timedelta(minutes=1))
        readers(session, newsletter, 2)
        issue = issues.draft(session, newsletter, now=now)
        issues.start(session, issue, batch_size=10, now=now)
        return issue.id


def state() -> SubscriptionState:
    """Where subscription number 1 stands."""
    with transaction() as session:
        return subscriptions.get(session, 1).state


def requests() -> list[SignupRequest]:
    """What was typed into the form so far."""
    with transaction() as session:
        return list(session.execute(select(SignupRequest).order_by(SignupRequest.id)).scalars())


def consents() -> int:
    """How long the consent log is."""
    with transaction() as session:
        return session.execute(select(func.count()).select_from(Consent)).scalar_one()


def heading(response: httpx.Response) -> str:
    """The page's one title."""
    (found,) = re.findall(r"<h1>(.*?)</h1>", response.text, re.DOTALL)
    return found
