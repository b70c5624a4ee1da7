"""GET and HEAD change nothing: scanners open every link of every mail, often many times."""

import asyncio
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Message

from mailer import clock, links, settings
from mailer.audience import moves, readers, signups
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.links import Purpose
from mailer.web.app import create_app
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, a_signup, an_article
from tests.factories import readers as some_readers
from tests.web_site import fingerprint

TIMES: Final = 100
# Of every other page, of which mails hold no link; as often in the long run.
FEW: Final = 10
METHODS: Final = ("GET", "HEAD")


@pytest.fixture
def app(installation: SmtpInbox) -> FastAPI:
    """The service, with an issue and every kind of mail sent."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session, cron="0 7 * * FRI")
        an_article(session, newsletter, "eau", seen=now - timedelta(minutes=1))
        reader = some_readers(session, newsletter, 2)[0]
        issues.start(session, issues.draft(session, newsletter, now=now), batch_size=10, now=now)
        signups.handle(session, a_signup(session, newsletter, now=now), now=now)
        signups.handle(session, a_signup(session, newsletter, "r1@example.org", now=now), now=now)
        readers.send_link(session, readers.request_link(session, "r0@example.org", now=now), now=now)
        moves.ask(session, reader.id, "new@example.net", now=now)
    sending.send_due(budget_seconds=5)
    return create_app()


def opened(app: FastAPI, paths: Iterable[str], *, times: int) -> dict[str, set[int]]:
    """Open each address so many times by GET and HEAD, in this process. Returns the answers' statuses by address."""

    async def everything() -> dict[str, set[int]]:
        return {
            path: {await status(app, method, path) for method in METHODS for _ in range(times)}
            for path in sorted(paths)
        }

    return asyncio.run(everything())


async def status(app: FastAPI, method: str, path: str) -> int:
    """Ask the application itself, without a client: there are thousands of requests."""
    found: list[int] = []
    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(bare),
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"lettre.example")],
        "client": ("127.0.0.1", 1),
        "server": ("lettre.example", 443),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    await app(scope, receive, send)
    return found[0]


def mailed(inbox: SmtpInbox) -> set[str]:
    """Every address of ours in the mails, of bodies and headers."""
    ours = settings.load().public_url
    texts = [
        "\n".join(
            [*(str(value) for value in one.email.values()), *(part.get_content() for part in one.email.iter_parts())]
        )
        for one in inbox.messages
    ]
    return {match for text in texts for match in re.findall(rf"{re.escape(ours)}(/[^\s\"'<>]*)", text)}


def paths(app: FastAPI) -> set[str]:
    """An address for every route that answers GET, with tokens that are genuine."""
    found: set[str] = set()
    for route in iter_route_contexts(app.routes):
        if route.path is not None and set(METHODS) & set(route.methods or ()):
            for purpose in Purpose if "{token}" in route.path else [Purpose.CONFIRM]:
                path = route.path.replace("{token}", links.sign_now(purpose, 1, clock.now()))
                found.add(re.sub(r"\{(\w+)(:\w+)?\}", lambda match: "courrier" if match[1] == "slug" else "1", path))
    return found


def test_opening_every_link_of_every_mail_a_hundred_times_changes_nothing(
    app: FastAPI, installation: SmtpInbox
) -> None:
    known = mailed(installation)
    words = {path.split("/")[1] for path in known}
    assert words >= {"i", "u", "p", "confirm", "account", "address", "courrier"}
    before = fingerprint()
    answers = opened(app, known, times=TIMES)
    assert {path: found for path, found in answers.items() if not found <= {200, 302, 303}} == {}
    assert fingerprint() == before


@pytest.mark.parametrize("times", [FEW, pytest.param(TIMES, marks=pytest.mark.slow)])
def test_opening_every_page_changes_nothing(app: FastAPI, times: int) -> None:
    known = paths(app)
    assert len(known) > 40
    before = fingerprint()
    answers = opened(app, known, times=times)
    assert {path: found for path, found in answers.items() if max(found) >= 500} == {}
    assert fingerprint() == before
