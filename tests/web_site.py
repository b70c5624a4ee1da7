"""A running service with one French newsletter, and what its readers did before a test."""

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Text, cast, func, literal_column, select

from mailer import clock, links, settings
from mailer.articles import topics
from mailer.audience import moves, signups, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.issues import issues
from mailer.links import Purpose
from mailer.models import Base
from mailer.models.audience import Consent, EndedReason, SignupRequest, SubscriptionState
from mailer.models.readers import AddressChange
from mailer.newsroom import newsletters
from mailer.web.app import create_app
from tests.factories import a_newsletter, a_signup, an_article, readers
from tests.web_server import browser, listening, serving

COOKIE = "mailer_signup"

# A method and a path.
Request = tuple[str, str]


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


def asking_newsletter(**values: object) -> None:
    """The newsletter's form asks for rhythm and topics, of which there are two."""
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for slug in ("culture", "eau"):
            topics.put(session, newsletter, slug, names={"fr": slug.title()}, rules={"categories": [slug]})
        asked = {"asks_topics": True, "asks_rhythm": True, **values}
        newsletters.edit(session, newsletter, values=asked, now=clock.now())


def signup_cookie(request_id: int, *, made: timedelta = timedelta()) -> dict[str, str]:
    """The header of a browser that filled in the form `made` ago."""
    at = clock.now() - made
    told = f"{int(at.timestamp())}\n{request_id}\ncourrier\nfr\nlea@example.org"
    return {"Cookie": f"{COOKIE}={links.seal(Purpose.SIGNUP, told)}"}


def pending_reader(address: str = "lea@example.org") -> int:
    """Somebody filled in the form elsewhere, and the mail left. Returns the sign-up's id; the subscription is number 1."""
    with transaction() as session:
        then = clock.now() - timedelta(minutes=5)
        asked = a_signup(session, newsletters.get(session, "courrier"), address, now=then)
        signups.handle(session, asked, now=then)
        return asked


def confirmed_reader() -> None:
    """r0@example.org is subscribed, as number 1."""
    with transaction() as session:
        readers(session, newsletters.get(session, "courrier"), 1)


def two_newsletters() -> None:
    """r0@example.org has a second newsletter, as subscription number 2."""
    confirmed_reader()
    with transaction() as session:
        other = a_newsletter(session, "culture", name="Culture")
        subscriptions.add(session, other, "r0@example.org", language="fr", proof="test", now=clock.now())


def ended_reader(reason: EndedReason = EndedReason.UNSUBSCRIBED, *, ago: timedelta = timedelta()) -> None:
    """r0@example.org was subscribed, as number 1, and left."""
    confirmed_reader()
    with transaction() as session:
        subscriptions.end(session, 1, reason, origin=Origin(), now=clock.now() - ago)


def account_path(*, made: timedelta = timedelta()) -> str:
    """The link, mailed `made` ago, to all that is the reader's of subscription number 1."""
    return f"/account/{links.sign_now(Purpose.MANAGE, 1, clock.now() - made)}"


def moving_reader() -> None:
    """r0@example.org is subscribed, as number 1, and the mail left that asks lea@new.example to take over."""
    confirmed_reader()
    with transaction() as session:
        moves.ask(session, 1, "lea@new.example", now=clock.now())


def new_address_path() -> str:
    """The link of the mail that asks the new address of `moving_reader`."""
    with transaction() as session:
        confirmation_id = session.execute(select(AddressChange.confirmation_id)).scalar_one()
    return f"/address/{links.sign_now(Purpose.CHANGE_ADDRESS, confirmation_id, clock.now())}"


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


def answers(app: FastAPI, requests: Iterable[Request], form: Mapping[str, str]) -> dict[Request, httpx.Response]:
    """Ask in this process, one after the other; what is posted has `form`."""

    async def everything() -> dict[Request, httpx.Response]:
        transport, found = httpx.ASGITransport(app=app), {}
        async with httpx.AsyncClient(transport=transport, base_url=settings.load().public_url) as client:
            for method, path in requests:
                found[method, path] = await client.request(method, path, data=form if method == "POST" else None)
        return found

    return asyncio.run(everything())


def wait_until(is_so: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for what a thread of the service does a moment after its answer."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.01)


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


def fingerprint() -> str:
    """What is in every row of every table."""
    digest = hashlib.sha256()
    with transaction() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(select(cast(literal_column(table.name), Text)).select_from(table)).scalars()
            digest.update("\n".join([table.name, *sorted(rows)]).encode())
    return digest.hexdigest()


def heading(response: httpx.Response) -> str:
    """The page's one title."""
    (found,) = re.findall(r"<h1>(.*?)</h1>", response.text, re.DOTALL)
    return found
