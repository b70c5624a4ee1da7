"""Headers as RFC 5322, 2047, 2369, 2919 and 8058 want them, and as spam filters look at them."""

import re
from collections.abc import Iterator
from email.header import decode_header
from email.utils import parsedate_to_datetime
from typing import Final

from mailer.issues.checks.mail import Facts, Found, Mail, found
from mailer.issues.findings import Code, Phrase

LONGEST_LINE: Final = 998
ONCE: Final = ("from", "to", "date", "message-id", "subject", "mime-version", "content-type")
AT_MOST_ONCE: Final = ("reply-to", "sender", "list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id")
_WORD: Final = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=")
_MESSAGE_ID: Final = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+\.[A-Za-z0-9-]+>")
_OCCURS: Final = "it occurs {count} times"
_LONG_WORD: Final = "an encoded word of {count} characters"
_FOLD: Final = re.compile(r"\r\n(?=[ \t])")


def check(mail: Mail, facts: Facts) -> Iterator[Found]:
    """Look at how the message is made."""
    values: dict[str, list[str]] = {}
    for name, value in mail.headers:
        values.setdefault(name, []).append(value)
    yield from _occurrences(values)
    yield from _encoding(mail)
    yield from _lines(mail)
    yield from _identity(mail, {name: _FOLD.sub("", many[0]).strip() for name, many in values.items()}, facts)


def _occurrences(values: dict[str, list[str]]) -> Iterator[Found]:
    for name in ONCE:
        if len(values.get(name, ())) != 1:
            yield _wrong(name, Phrase(sentence=_OCCURS, values={"count": len(values.get(name, ()))}))
    for name in AT_MOST_ONCE:
        if len(values.get(name, ())) > 1:
            yield _wrong(name, Phrase(sentence=_OCCURS, values={"count": len(values[name])}))
    for name in ("bcc", "return-path"):
        if name in values:
            yield _wrong(name, Phrase(sentence="it does not belong on the way"))


def _encoding(mail: Mail) -> Iterator[Found]:
    for name, value in mail.headers:
        if not value.isascii():
            yield _wrong(name, Phrase(sentence="raw characters beyond ASCII"))
        for word in _WORD.findall(value):
            if len(word) > 75:
                yield _wrong(name, Phrase(sentence=_LONG_WORD, values={"count": len(word)}))
            try:
                octets, charset = decode_header(word)[0]
                if isinstance(octets, bytes):
                    octets.decode(charset or "ascii")
            except (ValueError, LookupError):
                yield _wrong(name, Phrase(sentence="an encoded word that splits a character"))


def _lines(mail: Mail) -> Iterator[Found]:
    longest = max(map(len, mail.raw.split(b"\r\n")))
    if longest > LONGEST_LINE:
        yield found(Code.LINE_LONG, "message", count=longest)
    if re.search(rb"(?<!\r)\n|\r(?!\n)", mail.raw):
        yield _wrong("*", Phrase(sentence="a bare CR or LF"))


def _identity(mail: Mail, values: dict[str, str], facts: Facts) -> Iterator[Found]:
    try:
        zone = parsedate_to_datetime(values.get("date", "")).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        yield _wrong("date", Phrase(sentence="no date with a zone"))
    if not _MESSAGE_ID.fullmatch(values.get("message-id", "")):
        yield _wrong("message-id", Phrase(sentence="not <…@host.domain>"))
    sender = mail.message.get("From")
    if sender is None or len(getattr(sender, "addresses", ())) != 1:
        yield _wrong("from", Phrase(sentence="not exactly one sender"))
    to = [one.addr_spec.lower() for one in getattr(mail.message.get("To"), "addresses", ())]
    if to != [facts.address.lower()]:
        yield _wrong("to", Phrase(sentence="not exactly the one reader"))
    kinds = [part.get_content_type() for part in mail.message.iter_parts()] if mail.message.is_multipart() else []
    if mail.message.get_content_type() != "multipart/alternative" or kinds != ["text/plain", "text/html"]:
        yield _wrong("content-type", Phrase(sentence="not multipart/alternative with text before HTML"))
    if facts.is_bulk:
        yield from _list(values)


def _list(values: dict[str, str]) -> Iterator[Found]:
    list_id = re.fullmatch(r".*<([^<>\s]+\.[^<>\s]+)>", values.get("list-id", ""))
    if list_id is None or len(list_id[1]) > 255:
        yield _wrong("list-id", Phrase(sentence="not <name.domain>"))
    addresses = re.findall(r"<([^<>]*)>", values.get("list-unsubscribe", ""))
    web = [one for one in addresses if one.startswith(("https://", "http://localhost", "http://127.0.0.1"))]
    if len(web) != 1 or any(re.search(r"\s", one) for one in addresses):
        yield found(Code.UNSUBSCRIBE_HEADER, "headers", found="List-Unsubscribe")
    if values.get("list-unsubscribe-post") != "List-Unsubscribe=One-Click":
        yield found(Code.UNSUBSCRIBE_HEADER, "headers", found="List-Unsubscribe-Post")
    if values.get("auto-submitted", "no").lower() != "no":
        yield _wrong("auto-submitted", Phrase(sentence="a newsletter is no automatic answer"))


def _wrong(name: str, why: Phrase) -> Found:
    return found(Code.HEADER_WRONG, "headers", name=name, found=why)
