"""One more newsletter, from the desk."""

from collections.abc import Iterator

import httpx
import pytest

from mailer.db import transaction
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.desk import field, press, running_desk, sign_in

PATH = "/admin/newsletters/new"
TYPED = {
    "name": "Le Quotidien",
    "slug": "quotidien",
    "language": "fr",
    "site_url": "https://courrier.example",
    "sender_address": "quotidien@courrier.example",
    "publisher": "Association Le Courrier",
    "postal_address": "12 rue des Caravanes",
}


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        site.client.follow_redirects = True
        yield site.client


def slugs() -> list[str]:
    with transaction() as session:
        return sorted(one.slug for one in newsletters.all_newsletters(session))


def test_a_newsletter_is_created_and_asks_for_its_feeds(desk: httpx.Client) -> None:
    page = press(desk, PATH, PATH, **TYPED)
    assert page.url.path == "/admin/newsletters/quotidien/feeds"
    with transaction() as session:
        made = newsletters.get(session, "quotidien")
        assert (made.sender_name, made.cron, made.timezone) == ("Le Quotidien", None, "Europe/Paris")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "x" * 301),
        ("slug", "Quotidien"),
        ("slug", "courrier"),
        ("slug", "new"),
        ("slug", "x" * 64),
        ("language", "xx"),
        ("site_url", "javascript:alert(1)"),
        ("sender_address", "nobody"),
        ("postal_address", ""),
    ],
)
def test_what_cannot_be_one_keeps_what_was_typed(desk: httpx.Client, name: str, value: str) -> None:
    page = press(desk, PATH, PATH, **TYPED | {name: value})
    assert page.status_code == 422
    assert f'id="{name}-error"' in page.text
    assert field(page, "publisher") == TYPED["publisher"]
    assert slugs() == ["courrier"]
