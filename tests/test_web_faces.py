"""Error pages carry the name and colour of the newsletter that their address means, or the publisher's."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from mailer import clock, links, settings
from mailer.db import transaction
from mailer.links import Purpose
from mailer.web.app import create_app
from tests.conftest import SmtpInbox, forget
from tests.factories import a_newsletter, readers
from tests.web_site import answers

RED = "A3211A"


@pytest.fixture
def app(installation: SmtpInbox) -> FastAPI:
    """Two newsletters of one publisher; hebdo is red, and has reader number 1."""
    with transaction() as session:
        a_newsletter(session)
        hebdo = a_newsletter(
            session, "hebdo", name="Hebdo", brand_color=f"#{RED}", reply_to="redaction@courrier.example"
        )
        readers(session, hebdo, 1)
    return create_app()


def sign(purpose: Purpose) -> str:
    return links.sign_now(purpose, 1, clock.now())


def masthead(text: str) -> str:
    (name,) = re.findall(r'<header class="masthead">\s*<a[^>]*>([^<]*)</a>', text)
    return str(name)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", lambda: "/hebdo", 405),
        ("GET", lambda: "/hebdo/999", 404),
        ("GET", lambda: "/hebdo/no/such/page", 404),
        ("PUT", lambda: f"/u/{sign(Purpose.UNSUBSCRIBE)}", 405),
        ("PUT", lambda: f"/p/{sign(Purpose.PREFERENCES)}", 405),
        ("POST", lambda: f"/p/{sign(Purpose.PREFERENCES)}", 422),
        ("PUT", lambda: f"/confirm/{sign(Purpose.CONFIRM)}", 405),
        ("PUT", lambda: f"/confirm/{links.sign_confirmation(99, 2, clock.now())}", 405),
        ("PUT", lambda: f"/account/{sign(Purpose.MANAGE)}", 405),
    ],
)
def test_a_page_that_can_not_be_shown_looks_like_the_newsletter_that_its_address_names(
    app: FastAPI, method: str, path: Callable[[], str], status: int
) -> None:
    (answer,) = answers(app, [(method, path())], {}).values()
    assert (answer.status_code, masthead(answer.text)) == (status, "Hebdo")
    assert f"/static/brand/{RED}-" in answer.text
    assert '<a href="mailto:redaction@courrier.example">' in answer.text
    assert '<html lang="fr"' in answer.text


@pytest.mark.parametrize("path", ["/nope", "/u/cut", f"/u/{'A' * 40}", "/confirm/cut", "/i/999", "/preferences", "/"])
def test_a_page_that_belongs_to_no_newsletter_is_the_publishers(app: FastAPI, path: str) -> None:
    (answer,) = answers(app, [("GET", path)], {}).values()
    assert masthead(answer.text) == "Association Le Courrier"
    assert settings.load().public_host not in answer.text
    assert "12 rue des Caravanes" in answer.text


def test_a_network_that_asks_too_often_sees_the_publisher(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "1")
    settings.load.cache_clear()
    form = {"email": "lea@example.org"}
    answers(app, [("POST", "/s/hebdo"), ("POST", "/preferences")], form)
    found = answers(app, [("POST", "/s/hebdo"), ("POST", "/preferences")], form)
    assert [(one.status_code, masthead(one.text)) for one in found.values()] == [
        (429, "Hebdo"),
        (429, "Association Le Courrier"),
    ]


def test_what_nobody_foresaw_has_a_contact_and_an_incident_under_the_newsletters_name(app: FastAPI) -> None:
    def fail() -> None:
        raise RuntimeError("nobody foresaw this")

    app.router.routes.insert(0, APIRoute("/hebdo/fail", fail))
    (answer,) = answers(app, [("GET", "/hebdo/fail")], {}).values()
    assert (answer.status_code, masthead(answer.text)) == (500, "Hebdo")
    assert re.search(r"redaction@courrier\.example</a> en citant l’incident <b>[0-9a-f]{8}</b>", answer.text)


def test_without_a_newsletter_nobody_is_named(installation: SmtpInbox) -> None:
    (answer,) = answers(create_app(), [("GET", "/nope?lang=fr")], {}).values()
    assert masthead(answer.text) == "Nos newsletters"


def test_while_the_database_is_away_pages_keep_the_name_that_they_had(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(app, [("GET", "/hebdo")], {})
    app.state.faces.all()
    forget()
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    (answer,) = answers(app, [("GET", "/hebdo")], {}).values()
    assert (answer.status_code, masthead(answer.text)) == (503, "Hebdo")
