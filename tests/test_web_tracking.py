"""The pixel, counted links and one-click in front of all pages: quick, quiet, and without a database."""

import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mailer import links, settings
from mailer.counting import tracked
from mailer.links import Purpose
from mailer.web import middleware, tracking
from mailer.web.app import create_app
from tests.web_server import browser, listening, serving

TARGET = "https://courrier.example/naryn/%C3%A9t%C3%A9?a=1&b=2#fin"


@pytest.fixture
def client(environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser on a service whose database is nowhere."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with listening() as (listener, url):
        monkeypatch.setenv("MAILER_PUBLIC_URL", url)
        settings.load.cache_clear()
        with serving(create_app(), listener), browser(url) as client:
            yield client


def path_of(url: str) -> str:
    return url.removeprefix(links.url(""))


def spooled(tmp_path: Path) -> str:
    return "".join(path.read_text() for path in (tmp_path / "journal" / "web").rglob("*") if path.name.isdigit())


def test_a_counted_link_leads_where_the_mails_link_led(client: httpx.Client) -> None:
    answer = client.get(path_of(tracked.click_url(7, 3, TARGET)))
    assert (answer.status_code, answer.headers["location"], answer.content) == (302, TARGET, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers


def test_letters_beyond_ascii_are_encoded_on_the_way(client: httpx.Client) -> None:
    answer = client.get(path_of(tracked.click_url(7, 3, "https://courrier.example/қазақстан?q=été")))
    expected = "https://courrier.example/%D2%9B%D0%B0%D0%B7%D0%B0%D2%9B%D1%81%D1%82%D0%B0%D0%BD?q=%C3%A9t%C3%A9"
    assert answer.headers["location"] == expected


@pytest.mark.parametrize("change", ["token", "target"])
def test_a_changed_link_leads_to_a_page_that_helps(client: httpx.Client, change: str) -> None:
    path = path_of(tracked.click_url(7, 3, TARGET))
    changed = path.replace("/c/A", "/c/B") if change == "token" else path.replace("courrier.example", "evil.example")
    assert changed != path
    answer = client.get(changed, headers={"Accept-Language": "en"})
    assert answer.status_code == 404
    assert "Page not found" in answer.text
    assert "location" not in answer.headers


def test_the_pixel_is_a_point_that_nobody_keeps(client: httpx.Client) -> None:
    answer = client.get(f"/o/{links.sign(Purpose.OPEN, 7)}.gif")
    assert (answer.status_code, answer.content, len(answer.content)) == (200, tracking.PIXEL, 43)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/gif", "no-store")
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("name", ["", "x", "A" * 40 + ".gif", "é.gif", "../../etc/passwd"])
def test_a_pixel_of_another_name_is_the_same_point_and_notes_nothing(
    client: httpx.Client, name: str, tmp_path: Path
) -> None:
    assert client.get(f"/o/{name}").status_code in (200, 404)
    assert spooled(tmp_path) == ""


def test_head_is_answered_as_get_without_the_body(client: httpx.Client) -> None:
    pixel, link = f"/o/{links.sign(Purpose.OPEN, 7)}.gif", path_of(tracked.click_url(7, 3, TARGET))
    assert (client.head(pixel).content, client.head(pixel).headers["content-length"]) == (b"", "43")
    assert client.head(link).headers["location"] == TARGET


def test_one_click_is_on_the_disk_when_it_is_answered(client: httpx.Client, tmp_path: Path) -> None:
    answer = client.post(f"/u/{links.sign(Purpose.ONE_CLICK, 5, 12)}/one-click", data={"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert '"id":5' in spooled(tmp_path)
    assert '"source":"issue 12"' in spooled(tmp_path)


def test_one_click_with_a_token_of_something_else_changes_nothing(client: httpx.Client, tmp_path: Path) -> None:
    for token in ("x", links.sign(Purpose.UNSUBSCRIBE, 5), links.sign(Purpose.OPEN, 5)):
        assert client.post(f"/u/{token}/one-click").status_code == 200
    assert spooled(tmp_path) == ""


def test_a_one_click_with_a_body_of_megabytes_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    answer = client.post(f"/u/{links.sign(Purpose.ONE_CLICK, 5)}/one-click", content=b"x" * 1_000_000)
    assert answer.status_code == 413
    assert spooled(tmp_path) == ""


def test_what_is_asked_by_thousands_is_not_in_the_access_log() -> None:
    for path, is_logged in (("/c/AAAA?u=x", False), ("/o/AAAA.gif", False), ("/courrier", True)):
        arguments = ("203.0.113.9:5000", "GET", path, "1.1", 200)
        record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)
        assert middleware.without_secrets(record) == is_logged


def test_what_is_kept_of_a_client_is_its_network_and_program(client: httpx.Client, tmp_path: Path) -> None:
    client.get(
        path_of(tracked.click_url(7, 3, TARGET)), headers={"User-Agent": "A" * 1000, "X-Forwarded-For": "9.9.9.9"}
    )
    client.post(f"/u/{links.sign(Purpose.ONE_CLICK, 5)}/one-click")
    kept = spooled(tmp_path)
    assert '"network":"127.0.0.0/24"' in kept
    assert "127.0.0.1" not in kept
    assert "9.9.9" not in kept
    assert "A" * 201 not in kept
