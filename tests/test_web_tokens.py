"""Tokens that are cut, changed, old, or of another purpose: on every address that takes one, a helpful page and nothing done."""

import base64
import random
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from mailer import clock, links, settings
from mailer.counting import tracked
from mailer.db import transaction
from mailer.links import Purpose
from mailer.web.app import create_app
from tests import web_site
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter
from tests.web_site import Request, answers

# What opens each address, and how long a token of it works (None: for good).
ROUTES: Final = {
    "/confirm/{token}": (Purpose.CONFIRM, links.CONFIRM_LIFETIME),
    "/confirm/{token}/again": (Purpose.CONFIRM, None),
    "/u/{token}": (Purpose.UNSUBSCRIBE, None),
    "/u/{token}/reason": (Purpose.UNSUBSCRIBE, None),
    "/u/{token}/undo": (Purpose.UNSUBSCRIBE, None),
    "/u/{token}/one-click": (Purpose.ONE_CLICK, None),
    "/p/{token}": (Purpose.PREFERENCES, None),
    "/account/{token}": (Purpose.MANAGE, links.MANAGE_LIFETIME),
    "/account/{token}/again": (Purpose.MANAGE, None),
    "/account/{token}/address": (Purpose.MANAGE, links.MANAGE_LIFETIME),
    "/account/{token}/tracking": (Purpose.MANAGE, links.MANAGE_LIFETIME),
    "/account/{token}/download": (Purpose.MANAGE, links.MANAGE_LIFETIME),
    "/account/{token}/erase": (Purpose.MANAGE, links.MANAGE_LIFETIME),
    "/address/{token}": (Purpose.CHANGE_ADDRESS, links.CHANGE_ADDRESS_LIFETIME),
}
# A form that every route can read.
FORM: Final = {"because": "other", "subscription": "1", "agrees": "yes", "language": "en", "email": "eve@example.net"}
MEANINGLESS: Final = ("x", "A" * 40, "A" * 4000, "%00", "%F0%9F%98%80", "a%0D%0ASet-Cookie:x")
HEADING: Final = re.compile(r"<h1>(.*?)</h1>", re.DOTALL)
GUESSES: Final = 10_000


@pytest.fixture
def app(installation: SmtpInbox) -> FastAPI:
    """The service with one reader, as subscription number 1, whose address a link may change."""
    with transaction() as session:
        a_newsletter(session, cron="0 7 * * FRI")
    web_site.moving_reader()
    return create_app()


def methods(app: FastAPI) -> dict[str, list[str]]:
    """The readers' addresses that take a token, each with the methods it answers."""
    found: dict[str, list[str]] = {}
    for route in iter_route_contexts(app.routes):
        # The newsroom's links are tried in test_web_reviewing.
        if route.path is not None and "{token}" in route.path and not route.path.startswith(("/admin/", "/review/")):
            found.setdefault(route.path, []).extend(sorted(set(route.methods or ()) & {"GET", "POST"}))
    return found


def everywhere(app: FastAPI, template: str, tokens: Iterable[str]) -> list[Request]:
    """Each token at an address, by each of its methods; but for the mail program's button, which always gets the same answer."""
    kept = [method for method in methods(app)[template] if (method, template) != ("POST", "/u/{token}/one-click")]
    return [(method, template.replace("{token}", token)) for method in kept for token in tokens]


def unhelpful(found: dict[Request, httpx.Response], status: int, title: str) -> list[tuple[Request, int, list[str]]]:
    """The answers that have another status or title, or nowhere to go on."""
    return [
        (request, answer.status_code, HEADING.findall(answer.text))
        for request, answer in found.items()
        if answer.status_code != status
        or HEADING.findall(answer.text) != [title]
        or "Traceback" in answer.text
        or answer.headers["cache-control"] != "no-store"
        or ("href=" not in answer.text.partition("<main")[2].partition("</main")[0] and "<form" not in answer.text)
    ]


def test_the_table_names_every_address_that_takes_a_token(app: FastAPI) -> None:
    assert set(methods(app)) == set(ROUTES)


def test_a_token_that_is_cut_changed_or_of_another_purpose_opens_nothing(app: FastAPI) -> None:
    requests = []
    for template, (purpose, _) in ROUTES.items():
        genuine = links.sign_now(purpose, 1, clock.now())
        other = [links.sign_now(one, 1, clock.now()) for one in Purpose if one != purpose]
        changed = [genuine[:-1], f"{genuine}A", genuine.lower(), f"B{genuine[1:]}"]
        requests += everywhere(app, template, [*changed, *other, *MEANINGLESS])
    before = web_site.fingerprint()
    assert unhelpful(answers(app, requests, FORM), 404, "Ce lien ne fonctionne pas") == []
    assert web_site.fingerprint() == before


def test_an_old_token_says_so_and_how_to_get_another(app: FastAPI) -> None:
    requests = []
    for template, (purpose, lifetime) in ROUTES.items():
        if lifetime is not None:
            then = clock.now() - lifetime - timedelta(minutes=1)
            requests += everywhere(app, template, [links.sign_now(purpose, 1, then)])
    before = web_site.fingerprint()
    assert unhelpful(answers(app, requests, FORM), 410, "Ce lien a expiré") == []
    assert web_site.fingerprint() == before


def test_the_links_of_an_issue_work_for_years(app: FastAPI) -> None:
    # They hold the issue, not the time.
    paths = [
        f"/{word}/{links.sign(purpose, 1, 7)}"
        for word, purpose in (("u", Purpose.UNSUBSCRIBE), ("p", Purpose.PREFERENCES))
    ]
    assert {one.status_code for one in answers(app, [("GET", path) for path in paths], {}).values()} == {200}


def test_a_counted_link_that_was_changed_leads_nowhere(app: FastAPI) -> None:
    url = tracked.click_url(1, 1, "https://courrier.example/eau").removeprefix(settings.load().public_url)
    path, _, target = url.partition("?")
    changed = [f"{path}?{target}x", f"{path[:-1]}?{target}", path, tracked.CLICK_PATH + "x"]
    found = answers(app, [("GET", one) for one in [url, *changed]], {})
    assert [one.status_code for one in found.values()] == [302, 404, 404, 404, 404]


def test_ten_thousand_guesses_open_nothing(environment: None) -> None:
    # 144 bits are signed: at a million guesses a second the first hit is due in 10^29 years.
    chance = random.Random(5)
    for _ in range(GUESSES):
        guess = base64.urlsafe_b64encode((1).to_bytes(8, "big") + chance.randbytes(22)).decode("ascii")
        assert len(guess) == links.TOKEN_LENGTH
        for purpose in Purpose:
            with pytest.raises(links.TokenInvalid):
                links.read(purpose, guess)
