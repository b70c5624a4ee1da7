"""A browser at the newsroom's desk, and the issues that it finds there."""

import contextlib
import html
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select

from mailer import clock
from mailer.articles import topics
from mailer.db import transaction
from mailer.delivery import deliveries
from mailer.issues import issues
from mailer.models.content import Article, Issue, Layout
from mailer.models.deliveries import Outcome
from mailer.newsroom import accounts, newsletters
from mailer.web.app import create_app
from tests.factories import an_article, readers
from tests.web_site import Site, running_site

PASSWORD = "a long enough passphrase"
OPEN_PATHS = {
    "/admin/sign-in",
    "/admin/sign-in/{token}",
    "/admin/second-step",
    "/admin/reset",
    "/admin/link/{token}",
    "/admin/setup/{token}",
    "/admin/oidc",
    "/admin/oidc/return",
}
PARAMETERS = {"slug": "courrier", "table": "readers", "topic": "eau", "token": "x" * 40}


@contextlib.contextmanager
def running_desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The service with Camille's account; to be used with the fixture `installation`."""
    with running_site(monkeypatch) as running:
        with transaction() as session:
            accounts.create(
                session, "camille@courrier.example", name="Camille", password=PASSWORD, language="en", now=clock.now()
            )
        yield running


def sign_in(client: httpx.Client, password: str = PASSWORD, **fields: str) -> httpx.Response:
    """Send the form of the sign-in page."""
    return client.post("/admin/sign-in", data={"email": "camille@courrier.example", "password": password, **fields})


def speak(language: str) -> None:
    """Give Camille's pages another language."""
    with transaction() as session:
        accounts.find(session, "camille@courrier.example").language = language


def routes() -> list[tuple[str, str]]:
    """Every method and path of the desk."""
    found = []
    for route in iter_route_contexts(create_app().routes):
        if route.path is not None and route.path.startswith("/admin"):
            found += [(method, route.path) for method in sorted(route.methods or ())]
    return found


def filled(path: str, **ids: int) -> str:
    """A route's path with its parameters filled in: with these ids by name, or such as may not exist."""
    values = {**PARAMETERS, **{name: str(one) for name, one in ids.items()}}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "1"), path)


def a_topic(slug: str = "eau", *, categories: Sequence[str] = ("Société",)) -> None:
    """The newsletter has a topic."""
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        topics.put(session, newsletter, slug, names={"fr": "L’eau"}, rules={"categories": list(categories)})


def field(page: httpx.Response, name: str) -> str:
    """The value of a form's field."""
    match = re.search(rf'name="{name}"[^>]*value="([^"]*)"', page.text)
    assert match, f"no field {name}"
    return html.unescape(match[1])


def area(page: httpx.Response, name: str) -> str:
    """The text in a form's larger field."""
    match = re.search(rf'<textarea id="{name}"[^>]*>([^<]*)</textarea>', page.text)
    assert match, f"no field {name}"
    return html.unescape(match[1])


def picked(page: httpx.Response, name: str) -> str:
    """The choice of a form's list."""
    options = page.text.partition(f'<select id="{name}"')[2].partition("</select>")[0]
    (chosen,) = re.findall(r'<option value="([^"]*)" selected>', options)
    return html.unescape(chosen)


def hidden(page: httpx.Response) -> dict[str, str]:
    """What the page's forms carry unseen."""
    return {name: field(page, name) for name in ("csrf", "version") if f'name="{name}"' in page.text}


def press(client: httpx.Client, page_path: str, action: str, **fields: str) -> httpx.Response:
    """Open a page and send one of its forms, with its hidden fields."""
    page = client.get(page_path)
    assert f'action="{action}"' in page.text, f"{page_path} has no form to {action}"
    return client.post(action, data={**hidden(page), **fields})


def drafted(*slugs: str, reader_count: int = 2) -> int:
    """An issue of these articles, newest first, with readers waiting for it. Returns its id."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for minutes, slug in enumerate(slugs or ("eau", "train", "aral"), 1):
            an_article(session, newsletter, slug, seen=now - timedelta(minutes=minutes))
        readers(session, newsletter, reader_count)
        return issues.draft(session, newsletter, now=now).id


def started(*, reader_count: int = 2) -> int:
    """An issue that is being sent, though no worker runs. Returns its id."""
    issue_id = drafted(reader_count=reader_count)
    with transaction() as session:
        issues.start(session, issues.get(session, issue_id), batch_size=100, now=clock.now())
    return issue_id


def sent_uncertainly(*, reader_count: int = 2) -> int:
    """An issue that was sent, and every answer of the server was lost. Returns its id."""
    issue_id, now = started(reader_count=reader_count), clock.now()
    with transaction() as session:
        claim = deliveries.claim(session, owner="host.1", lease_seconds=60, now=now)
        assert claim is not None
        settled = [
            deliveries.Settled(delivery_id=one, outcome=Outcome.UNCERTAIN, reply="no answer after the final dot")
            for one in deliveries.unsettled_ids(session, claim)
        ]
        deliveries.record(session, claim, settled, [], now=now)
        deliveries.release(session, claim, due_at=now, now=now)
    with transaction() as session:
        assert issues.finish(session, issue_id, now=now)
    return issue_id


def issue(issue_id: int) -> Issue:
    """How it stands now."""
    with transaction() as session:
        return issues.get(session, issue_id)


def titles(issue_id: int) -> list[tuple[str, Layout]]:
    """Its articles by their slugs, in order."""
    with transaction() as session:
        return [(article.guid, layout) for article, layout in issues.placed(session, issue_id)]


def article_id(slug: str) -> str:
    """The id of an article, as forms send it."""
    with transaction() as session:
        return str(session.execute(select(Article.id).where(Article.guid == slug)).scalar_one())
