"""Readers of the demo: they use the pages and mails as a person does, by HTTP and through the inbox."""

import email
import email.policy
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar

import httpx
from lxml import html

from mailer.cli.demo_installation import Installation

Found = TypeVar("Found")

PATIENCE_SECONDS = 30
LINK = re.compile(r"https?://\S+")


class CheckFailed(Exception):
    """Something that the demo promises did not happen; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One mail that arrived, byte for byte as it came over the wire."""

    id: str
    recipient: str
    content: bytes

    @property
    def parsed(self) -> EmailMessage:
        """The message, parsed."""
        return email.message_from_bytes(self.content, policy=email.policy.default)

    def part(self, subtype: str) -> str:
        """Return the text or HTML of the message."""
        found = self.parsed.get_body((subtype,))
        return str(found.get_content()) if found is not None else ""

    @property
    def is_issue(self) -> bool:
        """Tell an issue from a confirmation."""
        return self.parsed["List-Id"] is not None


@dataclass
class Inbox:
    """The local inbox, read through its JSON."""

    client: httpx.Client
    url: str
    known: dict[str, Mail] = field(default_factory=dict)

    def mails(self) -> list[Mail]:
        """Read every mail that arrived so far, oldest first."""
        listed = self.client.get(f"{self.url}/messages.json").json()
        for one in reversed(listed):
            if one["id"] not in self.known:
                content = self.client.get(f"{self.url}/messages/{one['id']}.eml").content
                self.known[one["id"]] = Mail(id=one["id"], recipient=one["recipients"][0], content=content)
        return list(self.known.values())

    def wait_for(self, what: str, wanted: Callable[[Mail], bool], count: int) -> list[Mail]:
        """Wait until `count` mails are as wanted. Raises CheckFailed."""
        return wait_until(what, lambda: _at_least(count, [mail for mail in self.mails() if wanted(mail)]))


@dataclass
class Reader:
    """A person with a browser (a cookie jar) of their own."""

    name: str
    address: str
    open_browser: Callable[[], httpx.Client]

    def __post_init__(self) -> None:
        self.browser = self.open_browser()

    def subscribe(self, url: str) -> None:
        """Fill in the form on the subscribe page and send it."""
        page = self.browser.get(url)
        _expect(page.status_code == 200, f"the subscribe page answered {page.status_code}")
        answer = self._submit(page, email=self.address)
        told = answer.status_code == 200 and self.address in answer.text
        _expect(told, f"after the form {self.name} was not told to check the inbox ({answer.status_code})")

    def confirm(self, mail: Mail, *, same_browser: bool) -> None:
        """Follow the link of a confirmation mail; on another device, press the button there."""
        link = first([one for one in LINK.findall(mail.part("plain")) if "/confirm/" in one], "a link to confirm")
        browser = self.browser if same_browser else self.open_browser()
        page = browser.get(link)
        _expect(page.status_code == 200, f"the confirmation link answered {page.status_code}")
        has_button = any("/confirm/" in (form.action or "") for form in _forms(page))
        if same_browser:
            _expect(not has_button, "the browser that filled in the form was asked to press a button again")
        else:
            _expect(has_button, "a link opened elsewhere confirmed without a button")
            answer = self._submit(page, browser=browser, action_part="/confirm/")
            _expect(answer.status_code == 200, f"the confirmation answered {answer.status_code}")

    def unsubscribe_with_one_click(self, mail: Mail) -> None:
        """Do what a mail program does (RFC 8058): POST, without cookies, to the address in the header."""
        header = str(mail.parsed["List-Unsubscribe"])
        link = header.strip("<> ")
        answer = self.open_browser().post(link, data={"List-Unsubscribe": "One-Click"}, follow_redirects=False)
        _expect(answer.status_code == 200, f"the one-click unsubscribe answered {answer.status_code}")

    def _submit(
        self, page: httpx.Response, *, browser: httpx.Client | None = None, action_part: str = "", **fields: str
    ) -> httpx.Response:
        form = first([one for one in _forms(page) if action_part in (one.action or "")], "the form on the page")
        values = {**dict(form.form_values()), **fields}
        return (browser or self.browser).post(page.url.join(form.action or ""), data=values)


def browser(installation: Installation) -> httpx.Client:
    """Open a browser that trusts the demo's own authority."""
    context = ssl.create_default_context(cafile=_path(installation.ca_file))
    return httpx.Client(verify=context, follow_redirects=True, timeout=20, trust_env=False)


def wait_until(what: str, look: Callable[[], Found | None], *, seconds: float = PATIENCE_SECONDS) -> Found:
    """Look again and again until there is something. Raises CheckFailed naming what did not come."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise CheckFailed(f"{what}: not within {seconds:.0f} seconds")
        time.sleep(0.1)


def first(found: Sequence[Found], what: str) -> Found:
    """Return the first of what was found. Raises CheckFailed naming what is not there."""
    _expect(bool(found), f"{what} is missing")
    return found[0]


def _forms(page: httpx.Response) -> list[html.FormElement]:
    document = html.document_fromstring(page.content)
    return [form for form in document.iter("form") if isinstance(form, html.FormElement)]


def _at_least(count: int, mails: list[Mail]) -> list[Mail] | None:
    return mails if len(mails) >= count else None


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise CheckFailed(otherwise)


def _path(path: Path | None) -> str | None:
    return str(path) if path else None
