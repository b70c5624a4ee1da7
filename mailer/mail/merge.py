"""Merge fields in an editor's texts: {name}, {name|dear reader}, {preferences_link}, {city} and the like.

A field becomes a placeholder, which message.py fills for each reader; here is only the reading of the texts.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from mailer import i18n, links
from mailer.mail import message

NAME: Final = "name"
PREFERENCES_LINK: Final = "preferences_link"
VALUE_LENGTH: Final = 200
# A name as Subscriber.attributes has them too.
FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
# A brace before or after, such as in {{name}}, makes it no field, and neither does a backslash.
_FIELD: Final = re.compile(
    r"\\\{[a-z]|(?<!\{)\{(?P<name>[a-z][a-z0-9_]{0,39})(?:\|(?P<fallback>[^{}\n]{0,200}))?\}(?!\})"
)
_ADDRESS: Final = re.compile(r"https?://[^\s<>\"«»“”]*[^\s<>\"«»“”.,;:!?)\]’']")
# Line ends, controls, and the marks that would turn round the text after them.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, kw_only=True)
class _Piece:
    text: str
    url: str | None = None


def names(text: str) -> frozenset[str]:
    """Return the names of the fields that stand in a text."""
    return frozenset(match["name"] for match in _FIELD.finditer(text) if match["name"])


def literal(text: str) -> str:
    """Write a text that may hold braces, such as an article's title, so that none of it is read as a field."""
    return _FIELD.sub(lambda match: f"\\{match[0]}", text)


def say(text: str, reader: Mapping[str, object] | None) -> str:
    """Put a value, or a placeholder for it, where each field stands.

    `reader` holds the values; with a "nonce", placeholders are made. None, for everybody's copy, leaves the fallbacks.
    """
    return _FIELD.sub(lambda match: _said(match, reader), text)


def paragraphs(text: str, reader: Mapping[str, object] | None, language: str) -> list[list[dict[str, str | None]]]:
    """Cut an introduction at its empty lines, and each paragraph into pieces, with the fields filled as by `say`.

    A piece is {"text", "url"}: words, in which "\\n" ends a line, and where they lead to, None if nowhere.
    {preferences_link|these words} is a link with these words; an address in the text is one too.
    """
    cut = [part.strip() for part in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))]
    return [[asdict(one) for one in _joined(_pieces(part, reader, language))] for part in cut if part]


def clean(value: object) -> str:
    """Make one line of a reader's value, at most VALUE_LENGTH characters, of what can be seen."""
    line = " ".join(_UNSEEN.sub(" ", unicodedata.normalize("NFC", str(value))).split())
    return line[:VALUE_LENGTH].rstrip()


def _pieces(text: str, reader: Mapping[str, object] | None, language: str) -> Iterator[_Piece]:
    position = 0
    for match in re.finditer(f"{_FIELD.pattern}|{_ADDRESS.pattern}", text):
        yield _Piece(text=text[position : match.start()])
        if match["name"] == PREFERENCES_LINK:
            label = match["fallback"] or i18n.gettext(language, "Change my preferences")
            url = reader["preferences_url"] if reader else links.url("/preferences")
            yield _Piece(text=label, url=str(url))
        elif match[0].startswith("http"):
            yield _Piece(text=match[0], url=match[0])
        else:
            yield _Piece(text=_said(match, reader))
        position = match.end()
    yield _Piece(text=text[position:])


def _joined(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """Make one piece of words that follow each other."""
    words = ""
    for piece in pieces:
        if piece.url is None:
            words += piece.text
            continue
        if words:
            yield _Piece(text=words)
            words = ""
        yield piece
    if words:
        yield _Piece(text=words)


def _said(match: re.Match[str], reader: Mapping[str, object] | None) -> str:
    if match[0].startswith("\\"):
        return match[0][1:]
    name, fallback = match["name"], (match["fallback"] or "").strip()
    if reader is None:
        return fallback
    nonce = reader.get("nonce")
    if nonce is not None:
        return message.field_placeholder(str(nonce), name, fallback)
    return clean(reader.get(name) or fallback)
