"""The desk: search, keys, light and dark."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mailer.web import pages
from tests.conftest import SmtpInbox
from tests.desk import drafted, press, running_desk, sign_in, speak

# htmx.org 2.0.11 from the npm registry, as it was published: dist/htmx.min.js.
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
STATIC = pages.FOLDER / "static"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def test_search_finds_pages_issues_and_a_reader_by_the_exact_address(desk: httpx.Client) -> None:
    issue_id = drafted("eau")
    assert f'href="/admin/issues/{issue_id}"' in desk.get("/admin/search?q=titre").text
    assert 'href="/admin/newsletters/courrier/feeds"' in desk.get("/admin/search?q=feeds").text
    assert 'href="/admin/subscribers/1"' in desk.get("/admin/search?q=R0@example.org").text
    assert "Nothing was found" in desk.get("/admin/search?q=r0@example").text


def test_search_knows_the_words_of_the_language(desk: httpx.Client) -> None:
    speak("fr")
    assert 'href="/admin/newsletters/courrier/feeds"' in desk.get("/admin/search?q=flux").text


@pytest.mark.parametrize(("theme", "dark"), [("dark", "dark.css?"), ("light", None)])
def test_the_server_renders_the_theme_that_was_chosen(desk: httpx.Client, theme: str, dark: str | None) -> None:
    assert 'media="(prefers-color-scheme:dark)"' in desk.get("/admin/keys").text
    press(desk, "/admin/keys", "/admin/theme", theme=theme)
    page = desk.get("/admin/keys").text
    assert f'data-theme="{theme}"' in page
    assert "prefers-color-scheme" not in page
    assert ("admin-dark.css" in page) == (dark is not None)


def test_the_theme_leads_back_to_no_other_site(desk: httpx.Client) -> None:
    answer = press(desk, "/admin/keys", "/admin/theme", theme="dark", **{"from": "//evil.example"})
    assert answer.headers["location"] == "/admin"


def test_every_page_lets_scripts_of_ours_run_and_no_others(desk: httpx.Client) -> None:
    policy = desk.get("/admin/keys").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_htmx_is_the_file_that_was_published_with_its_licence() -> None:
    assert hashlib.sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE.txt").read_text()


def test_our_script_and_stylesheets_stay_small() -> None:
    assert _bytes(STATIC / "desk.js") < 7000
    assert _bytes(STATIC / "admin.css") + _bytes(STATIC / "admin-dark.css") < 15_000


def _bytes(path: Path) -> int:
    return len(path.read_bytes())
