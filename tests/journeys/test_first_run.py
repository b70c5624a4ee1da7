"""From the link that `mailer up` prints to a test mail in the inbox and an issue that was sent, in a browser without scripts."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from mailer.embedded.processes import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PASSPHRASE = "a long enough passphrase"


@dataclass(frozen=True, kw_only=True)
class Up:
    """`mailer up` in a folder of its own: where it answers, and what it said."""

    url: str
    said: Path


def started(arguments: list[str], folder: Path, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program of ours."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


@contextlib.contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop it at the end."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The sample publication's site."""
    address = f"http://localhost:{(port := free_port())}"
    arguments = ["mailer.embedded.site", "--port", str(port), "--base-url", address]
    arguments += ["--subscribe-url", "http://localhost/", "--state-dir", str(tmp_path / "site")]
    with stopping(started(arguments, tmp_path, dict(os.environ), tmp_path / "site.log")):
        yield address


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A new installation with its own PostgreSQL and Valkey, whose settings name no mail server."""
    port, said = free_port(), tmp_path / "up.log"
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAILER_", "DATABASE_", "REDIS_"))
    }
    environment = kept | {
        "DATABASE_URL": "postgresql://replaced/by-embedded",
        "REDIS_URL": "redis://replaced",
        "MAILER_SECRET_KEY": "a secret for a journey that is long enough",
        "MAILER_PUBLIC_URL": f"http://localhost:{port}",
        "MAILER_FEED_PRIVATE_NETWORKS": "127.0.0.0/8,::1/128",
        "MAILER_TICK_SECONDS": "1",
        "MAILER_UNDO_SECONDS": "1",
        "MAILER_FORM_SECONDS": "0",
    }
    process = started(
        ["mailer", "up", "--embedded", "--port", str(port), "--workers", "1"], tmp_path, environment, said
    )
    with stopping(process):
        deadline = time.monotonic() + 90
        while "Ready at" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        yield Up(url=environment["MAILER_PUBLIC_URL"], said=said)


@pytest.fixture
def page() -> Iterator[Page]:
    """A browser that runs no scripts."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched.new_context(locale="en", java_script_enabled=False).new_page()
        launched.close()


def mails(inbox: str, recipient: str) -> list[str]:
    """The mails that the inbox caught for somebody, oldest first, as their text."""
    listed = httpx.get(f"{inbox}/messages.json").json()
    wanted = [one["id"] for one in reversed(listed) if recipient in one["recipients"]]
    return [httpx.get(f"{inbox}/messages/{one}.eml").text.replace("=\r\n", "").replace("=3D", "=") for one in wanted]


def wait_for_mail(inbox: str, recipient: str, count: int = 1) -> str:
    """The newest mail to somebody, once there are so many."""
    deadline = time.monotonic() + 60
    while len(found := mails(inbox, recipient)) < count:
        assert time.monotonic() < deadline, f"{len(found)} mails to {recipient}"
        time.sleep(0.2)
    return found[-1]


def test_from_the_printed_link_to_a_test_mail_and_a_sent_issue(up: Up, site: str, page: Page) -> None:
    (link,) = re.findall(r"http://\S+/admin/setup/\S+", up.said.read_text())
    began = time.monotonic()
    page.goto(link)
    page.fill("#name", "Camille Ferrand")
    page.fill("#email", "camille@courrier.example")
    page.fill("#password", PASSPHRASE)
    page.click("text=Create the account")
    page.fill("#site_url", site)
    page.click("text=Show my newsletter")
    page.wait_for_selector("h1:has-text('This is your newsletter')", timeout=60_000)
    phone = page.frame_locator("iframe[title='The newsletter on a phone']")
    phone.get_by_role("heading", name="Le Kazakhstan rouvre").wait_for()
    assert page.input_value("#name") == "Le Courrier d’Asie centrale"
    page.fill("#postal_address", "12 rue des Caravanes, 67000 Strasbourg")
    page.click("main button.primary")
    page.click("main button.primary")
    page.click("text=Try it here >> nth=-1")
    page.click("text=Send the test")
    page.wait_for_selector("text=Accepted by 127.0.0.1")
    inbox = page.get_attribute(".ribbon a", "href") or ""
    assert "Le Kazakhstan rouvre" in wait_for_mail(inbox, "camille@courrier.example")
    assert time.monotonic() - began < 300
    page.click("text=To the overview")
    assert "Choose a mail server" in page.inner_text("#todo")
    assert page.goto(link).status == 410

    a_reader_subscribes(up, inbox)
    page.goto(f"{up.url}/admin/issues/1/review")
    page.click("text=Send to 1 reader")
    assert "Le Kazakhstan rouvre" in wait_for_mail(inbox, "lea@example.org", count=2)


def a_reader_subscribes(up: Up, inbox: str) -> None:
    """Léa fills in the form and presses the button of the mail."""
    with httpx.Client(base_url=up.url, follow_redirects=True) as lea:
        slug = "localhost"
        assert lea.post(f"/s/{slug}", data={"email": "lea@example.org"}).status_code == 200
        (path,) = set(re.findall(r"/confirm/[\w-]{40}", wait_for_mail(inbox, "lea@example.org")))
        assert lea.get(path).status_code == 200
