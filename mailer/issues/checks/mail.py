"""One copy of a mail, taken apart for the checks."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final

from lxml import etree
from lxml import html as lxml_html

from mailer.issues.findings import BLOCKING, Code, Value

_UNSEEN: Final = ("style", "script", "title", "head", "noscript")
_HIDDEN: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_COMMENT: Final = re.compile(r"<!--.*?-->|<!\[[^\]]*\]>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a copy should hold. `address` is its reader's, `unsubscribe_url` that reader's link.

    Confirmations and notices are not `is_bulk`. The preview text is None where the mail has none by its nature.
    `own_pictures` are the bytes of ours by their addresses.
    """

    address: str
    unsubscribe_url: str | None = None
    postal_address: str = ""
    preview_text: str | None = None
    own_pictures: Mapping[str, int] = field(default_factory=dict)
    is_bulk: bool = True
    blocking: frozenset[Code] = frozenset(BLOCKING)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one check found, before its severity is known."""

    code: Code
    where: str
    values: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A message and its parts. `headers` are as written, folded; `document` is None without an HTML part."""

    raw: bytes
    headers: tuple[tuple[str, str], ...]
    message: EmailMessage
    subject: str
    html: str
    text: str
    document: etree._Element | None

    @property
    def markup(self) -> str:
        """The HTML without comments, which only Outlook for Windows reads."""
        return _COMMENT.sub("", self.html)

    def elements(self, *names: str) -> Iterator[etree._Element]:
        """Yield the elements of these names, or all, in order."""
        if self.document is not None:
            yield from self.document.iter(*(names or ("*",)))


def found(code: Code, where: str, **values: Value) -> Found:
    """Note what a check found; long texts are cut."""
    kept = {name: short(value) if isinstance(value, str) else value for name, value in values.items()}
    return Found(code=code, where=where, values=kept)


def short(text: str, length: int = 120) -> str:
    """Cut a text for a sentence."""
    return text if len(text) <= length else text[: length - 1] + "…"


def parse(raw: bytes) -> Mail:
    """Take a message apart; whatever is missing is empty."""
    message = message_from_bytes(raw, policy=policy.default)
    html, text = (_content(message, f"text/{kind}") for kind in ("html", "plain"))
    return Mail(
        raw=raw,
        headers=tuple(_headers(raw)),
        message=message,
        subject=str(message.get("Subject", "")),
        html=html,
        text=text,
        document=_document(html),
    )


def visible(element: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Yield each piece of text that a reader sees, with the element that it stands in."""
    if not isinstance(element.tag, str) or element.tag in _UNSEEN or _HIDDEN.search(element.get("style", "")):
        return
    if element.text and element.text.strip():
        yield element, element.text
    for child in element:
        yield from visible(child)
        if child.tail and child.tail.strip():
            yield element, child.tail


def visible_text(mail: Mail) -> str:
    """Return all that a reader of the HTML sees, each piece on lines of its own."""
    return "" if mail.document is None else "\n".join(piece for _, piece in visible(mail.document))


def _document(html: str) -> etree._Element | None:
    try:
        return lxml_html.document_fromstring(html.encode(), parser=_parser())
    except etree.ParserError:
        return None


def _parser() -> lxml_html.HTMLParser:
    return lxml_html.HTMLParser(encoding="utf-8", huge_tree=True)


def _content(message: EmailMessage, kind: str) -> str:
    part = next((one for one in message.walk() if one.get_content_type() == kind), None)
    if part is None:
        return ""
    payload = part.get_payload(decode=True)
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""


def _headers(raw: bytes) -> Iterator[tuple[str, str]]:
    head = raw.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape")
    for header in re.split(r"\r\n(?![ \t])", head):
        name, _, value = header.partition(":")
        yield name.lower(), value.strip(" \t")
