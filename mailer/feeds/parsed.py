"""What reading a feed gives, or why it gives nothing."""

from dataclasses import dataclass, field
from datetime import datetime


class FeedInvalid(Exception):
    """The body is no feed that can be read; the message is one sentence for an editor.

    `suggestion`: the address of a feed that a web page names instead, else None.
    """

    def __init__(self, message: str, *, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True, kw_only=True)
class ParsedArticle:
    """One story as its feed tells it. A text is "" where the feed says nothing; `title` and `guid` never are.

    `guid` is what makes it the same article next time: the feed's own identifier, else the canonical address, else a
    hash of title and date. `title` and `excerpt` are plain text on one line, at most 300 characters; `html` is
    sanitised. `language` is the article's own or its feed's ("fr", "pt-BR"). `image_url` is None without a picture, the
    dates are aware, in UTC, and None when the feed has none. `is_image_in_text`: the feed names no picture, so it is the
    first in the text. `minutes` is 0 unless the feed carries the full text. `is_locked`: for paying readers, so `html`
    is "" and `excerpt` what the feed shows to everybody.
    """

    guid: str
    url: str
    title: str
    excerpt: str
    html: str = field(repr=False)
    author: str
    topics: tuple[str, ...]
    language: str | None
    image_url: str | None
    image_alt: str
    image_credit: str
    published_at: datetime | None
    updated_at: datetime | None
    minutes: int
    is_locked: bool = False
    is_image_in_text: bool = False


@dataclass(frozen=True, kw_only=True)
class ParsedFeed:
    """A feed's articles in its own order, newest 500 at most. `home_url` is the site's address, "" if none is known.

    `kind` is "RSS", "Atom" or "JSON Feed". `withdrawn` are the guids of articles that the feed says it took back (RFC 6721).
    """

    title: str
    home_url: str
    language: str | None
    articles: tuple[ParsedArticle, ...] = field(repr=False)
    kind: str = "RSS"
    withdrawn: tuple[str, ...] = ()
