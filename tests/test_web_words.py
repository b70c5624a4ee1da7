"""What readers' pages are called and how they answer, page by page, in French and English: the wording that was agreed on."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from mailer import clock, links
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.links import Purpose
from mailer.models.audience import EndedReason
from mailer.newsroom import newsletters
from mailer.web.app import create_app
from tests import web_site
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, readers
from tests.web_site import answers

# The subscriptions of `everybody`.
CONFIRMED, LEAVING, LEFT, PENDING, BACK = 1, 2, 3, 4, 5


def token(purpose: Purpose, number: int, *, ago: timedelta = timedelta()) -> str:
    """A token for subscription `number`, made `ago`."""
    return links.sign_now(purpose, number, clock.now() - ago)


# In this order: some change what the next ones show.
PAGES: Final[list[tuple[str, Callable[[], str], int, str, str]]] = [
    ("GET", lambda: "/", 200, "Nos newsletters", "Our newsletters"),
    (
        "GET",
        lambda: "/courrier",
        200,
        "Recevez Le Courrier d’Asie centrale par e-mail",
        "Get Le Courrier d’Asie centrale by e-mail",
    ),
    ("GET", lambda: "/check-inbox", 200, "Consultez votre messagerie", "Check your inbox"),
    ("GET", lambda: f"/confirm/{token(Purpose.CONFIRM, PENDING)}", 200, "Plus qu’un geste", "One last step"),
    (
        "GET",
        lambda: f"/confirm/{token(Purpose.CONFIRM, PENDING, ago=timedelta(days=8))}",
        410,
        "Ce lien a expiré",
        "This link has expired",
    ),
    ("POST", lambda: f"/confirm/{token(Purpose.CONFIRM, PENDING)}", 200, "Votre inscription est confirmée", ""),
    (
        "GET",
        lambda: f"/confirm/{token(Purpose.CONFIRM, PENDING)}",
        200,
        "Votre inscription est déjà confirmée",
        "You’re already subscribed",
    ),
    ("GET", lambda: "/confirm/cut", 404, "Ce lien ne fonctionne pas", "This link doesn’t work"),
    ("GET", lambda: "/preferences", 200, "Gérer mes inscriptions", "Manage your subscriptions"),
    ("GET", lambda: "/preferences/sent", 200, "Consultez votre messagerie", "Check your inbox"),
    ("GET", lambda: f"/p/{token(Purpose.PREFERENCES, CONFIRMED)}", 200, "Vos préférences", "Your preferences"),
    (
        "GET",
        lambda: f"/u/{token(Purpose.UNSUBSCRIBE, LEAVING)}",
        200,
        "Se désinscrire de la newsletter ?",
        "Unsubscribe from the newsletter?",
    ),
    (
        "POST",
        lambda: f"/u/{token(Purpose.UNSUBSCRIBE, LEAVING)}",
        200,
        "C’est fait, vous ne recevrez plus la newsletter",
        "You’re unsubscribed",
    ),
    (
        "GET",
        lambda: f"/u/{token(Purpose.UNSUBSCRIBE, LEFT)}",
        200,
        "Cette adresse est déjà désinscrite",
        "You’re already unsubscribed",
    ),
    (
        "POST",
        lambda: f"/u/{token(Purpose.UNSUBSCRIBE, BACK)}/undo",
        200,
        "Vous recevrez de nouveau la newsletter",
        "Welcome back",
    ),
    ("GET", lambda: "/courrier/archive", 200, "Tous les numéros", "All issues"),
    ("GET", lambda: f"/account/{token(Purpose.MANAGE, CONFIRMED)}", 200, "Vos inscriptions", "Your subscriptions"),
    (
        "GET",
        lambda: f"/account/{token(Purpose.MANAGE, CONFIRMED)}/erase",
        200,
        "Effacer toutes vos données ?",
        "Erase all your data?",
    ),
    ("GET", lambda: "/no/such/page", 404, "Page introuvable", "Page not found"),
]
OPEN: Final = ("/", "/courrier")


@pytest.fixture
def everybody(installation: SmtpInbox) -> None:
    """A newsletter, and a reader in each state."""
    with transaction() as session:
        newsletter = a_newsletter(session, cron="0 7 * * FRI")
        readers(session, newsletter, 3)
        subscriptions.end(session, LEFT, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())
    web_site.pending_reader()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        subscriptions.add(session, newsletter, "bek@example.org", language="fr", proof="test", now=clock.now())
        subscriptions.end(session, BACK, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())


def test_pages_say_what_was_agreed_and_stay_out_of_search_engines_and_caches(everybody: None) -> None:
    app, wrong = create_app(), []
    for method, path, status, *titles in PAGES:
        for language, title in zip(("fr", "en"), titles, strict=True):
            request = (method, f"{path()}?lang={language}")
            if not title:
                continue
            answer = answers(app, [request], {})[request]
            found = [unescaped(one) for one in re.findall(r"<h1>(.*?)</h1>", answer.text, re.DOTALL)]
            is_open = path() in OPEN
            told = {
                "status": answer.status_code == status,
                "h1": found == [title],
                "title": f"<title>{title}" in unescaped(answer.text) or is_open,
                "lang": f'<html lang="{language}" dir="ltr">' in answer.text,
                "no-store": answer.headers["cache-control"] == "no-store",
                "referrer": answer.headers["referrer-policy"] == "no-referrer",
                "robots": (answer.headers.get("x-robots-tag"), answer.text.count('name="robots"'))
                == ((None, 0) if is_open else ("noindex", 1)),
                "one primary button": answer.text.count('class="primary"') <= 1,
                "other languages": answer.text.count(" hreflang=") == 3,
            }
            wrong += [(path(), language, name, found) for name, is_right in told.items() if not is_right]
    assert wrong == []


def unescaped(text: str) -> str:
    """Text as it is read; French has a no-break space before a question mark."""
    return text.replace("&#39;", "'").replace("\u00a0?", " ?")
