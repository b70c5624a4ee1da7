"""The rules that are the same for every kind of feed: what a feed wrote becomes an article that can be mailed."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from mailer.feeds import dates, sanitise, text, urls
from mailer.feeds.parsed import ParsedArticle, ParsedFeed

MOST_ARTICLES: Final = 500
_LONGEST_TITLE: Final = 300
_LONGEST_EXCERPT: Final = 300
_LONGEST_GUID: Final = 500
_LONGEST_NAME: Final = 100
_MOST_TOPICS: Final = 20
_TITLE_FROM_TEXT: Final = 80
# A picture this narrow, in pixels, is an icon, an avatar or a button.
NARROW: Final = 200
# A description without a content element beside it is the article itself if it is this long.
_FULL_TEXT: Final = 1500
# How newsrooms mark in a feed what only paying readers may read, casefolded.
_LOCKED_TOPICS: Final = frozenset(
    {
        "abonnés",
        "réservé aux abonnés",
        "article réservé aux abonnés",
        "premium",
        "subscribers only",
        "subscriber-only",
        "subscriber only",
        "members only",
        "members-only",
        "paywall",
        "для подписчиков",
        "только для подписчиков",
    }
)
_NO_PICTURES: Final = (
    "gravatar.com/avatar",
    "feedburner.com/~",
    "/wp-includes/images/smilies/",
    "s.w.org/images/core/emoji",
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that a feed names beside an article; its address is absolute, `width` in pixels or None."""

    url: str
    alt: str = ""
    credit: str = ""
    width: int | None = None


@dataclass(frozen=True, kw_only=True)
class RawArticle:
    """An article as it stands in its feed. Title, summary, content and names are HTML, dates text; "" is missing."""

    guid: str = ""
    link: str = ""
    bases: tuple[str | None, ...] = ()
    title: str = ""
    summary: str = ""
    content: str = ""
    authors: Sequence[str] = ()
    topics: Sequence[str] = ()
    language: str = ""
    published: str = ""
    updated: str = ""
    pictures: Sequence[Picture] = ()
    is_locked: bool = False


@dataclass(frozen=True, kw_only=True)
class RawFeed:
    """A feed as it stands; `url` is where it was read."""

    url: str
    title: str
    home: str
    language: str
    articles: Sequence[RawArticle]
    kind: str = "RSS"
    withdrawn: Sequence[str] = ()


def finish(raw: RawFeed) -> ParsedFeed:
    """Apply every rule for identity, texts, pictures and dates. An article that says nothing at all is left out."""
    home = urls.absolute(raw.home, raw.url) or urls.origin(raw.url)
    language = _language(raw.language)
    articles = [_article(article, home, language) for article in raw.articles]
    return ParsedFeed(
        title=text.cut(text.title(raw.title), _LONGEST_TITLE),
        home_url=home,
        language=language,
        articles=_unique([article for article in articles if article is not None]),
        kind=raw.kind,
        withdrawn=tuple(_short(text.one_line(guid)) for guid in raw.withdrawn if guid.strip()),
    )


def has_address(raw: RawArticle) -> bool:
    """Tell whether an article has a web address of its own."""
    return bool(urls.absolute(raw.link, *raw.bases) or urls.absolute(text.one_line(raw.guid)))


def newest(candidates: Sequence[tuple[datetime | None, int]]) -> list[int]:
    """Return the numbers of the newest MOST_ARTICLES of (date, number), in the order given; the undated come last."""
    ranked = sorted(
        candidates, key=lambda candidate: (candidate[0] is None, -(candidate[0] or dates.EPOCH).timestamp())
    )
    return sorted(number for _, number in ranked[:MOST_ARTICLES])


def _article(raw: RawArticle, home: str, feed_language: str | None) -> ParsedArticle | None:
    guid = text.one_line(raw.guid)
    link = urls.absolute(raw.link, *raw.bases) or urls.absolute(guid)
    safe_summary = sanitise.clean(raw.summary, link, *raw.bases)
    summary = sanitise.plain(safe_summary)
    safe_content = sanitise.clean(raw.content, link, *raw.bases)
    topics = _names(raw.topics)[:_MOST_TOPICS]
    is_locked = raw.is_locked or any(says_locked(topic) for topic in topics)
    # Some feeds carry the whole text that the site sells; the summary, and its picture, is what it shows to everybody.
    pictures = [*sanitise.images("" if is_locked else safe_content), *sanitise.images(safe_summary)]
    if is_locked:
        safe_content, safe_summary = "", ""
    content = sanitise.plain(safe_content) if safe_content else summary
    title = text.cut(text.title(raw.title), _LONGEST_TITLE) or text.cut(content or summary, _TITLE_FROM_TEXT)
    if not (title or link):
        return None
    published, updated = dates.parse_date(raw.published), dates.parse_date(raw.updated)
    picture = _picture(raw.pictures, pictures)
    is_full_text = bool(safe_content) or (len(content) >= _FULL_TEXT and not is_locked)
    return ParsedArticle(
        guid=_identity(guid, link, title, published),
        url=link or home,
        title=title or (link or "").partition("//")[2][:_LONGEST_TITLE],
        excerpt=_excerpt(summary, content, title),
        html=safe_content or safe_summary,
        author=text.cut(", ".join(_names(raw.authors)), 2 * _LONGEST_NAME),
        topics=tuple(topics),
        language=_language(raw.language) or feed_language,
        image_url=picture.url if picture else None,
        image_alt=text.cut(text.one_line(picture.alt), _LONGEST_EXCERPT) if picture else "",
        image_credit=text.cut(text.one_line(picture.credit), 2 * _LONGEST_NAME) if picture else "",
        published_at=published or updated,
        updated_at=updated,
        minutes=text.minutes_to_read(content) if is_full_text and not text.is_shortened(content) else 0,
        is_locked=is_locked,
        is_image_in_text=picture is not None and picture.url not in [named.url for named in raw.pictures],
    )


def _identity(guid: str, link: str | None, title: str, published: datetime | None) -> str:
    identity = guid or (urls.canonical_url(link) if link else "")
    if not identity:
        return _hash(f"{title}\n{published.isoformat() if published else ''}")
    return _short(identity)


def _short(identity: str) -> str:
    return identity if len(identity) <= _LONGEST_GUID else _hash(identity)


def _hash(words: str) -> str:
    return "sha256:" + hashlib.sha256(words.encode()).hexdigest()[:40]


def _unique(articles: Sequence[ParsedArticle]) -> tuple[ParsedArticle, ...]:
    """Drop repetitions. A guid that stands for several addresses in one feed identifies nothing: the address does."""
    addresses = Counter(guid for guid, _ in {(article.guid, urls.canonical_url(article.url)) for article in articles})
    kept: dict[str, ParsedArticle] = {}
    for article in articles:
        guid = article.guid if addresses[article.guid] == 1 else urls.canonical_url(article.url)[:_LONGEST_GUID]
        kept.setdefault(guid, article if guid == article.guid else replace(article, guid=guid))
    return tuple(kept.values())


def _excerpt(summary: str, content: str, title: str) -> str:
    for words in (summary, content):
        # Some systems repeat the title as the summary, or as the first line of the text.
        repeats = words.startswith(f"{title} ") and 20 <= len(title) < len(words) - 40
        without_title = words.removeprefix(title).lstrip() if repeats else words
        excerpt = text.excerpt(without_title, _LONGEST_EXCERPT)
        if excerpt and excerpt != title:
            return excerpt
    return ""


def _picture(named: Sequence[Picture], inside: Sequence[sanitise.Image]) -> Picture | None:
    """Choose the picture: those that the feed names come first, then those in the text; narrow ones only if named."""
    pictures = [picture for picture in named if may_show(picture.url)]
    shown = [image for image in inside if may_show(image.url) and (image.width is None or image.width > NARROW)]
    wide = [picture for picture in pictures if picture.width is None or picture.width > NARROW]
    wide += [Picture(url=image.url, alt=image.alt, width=image.width) for image in shown]
    chosen = next(iter(wide or pictures), None)
    if chosen is None or chosen.alt:
        return chosen
    alt = next((image.alt for image in inside if image.alt and _file(image.url) == _file(chosen.url)), "")
    return replace(chosen, alt=alt)


def may_show(url: str) -> bool:
    """Tell whether an address may be an article's picture: no drawing that mail programs refuse, no avatar, no smiley."""
    return not _file(url).endswith((".svg", ".svgz")) and not any(part in url for part in _NO_PICTURES)


def says_locked(topic: str) -> bool:
    """Tell whether a category is how a newsroom marks what is for paying readers, and no subject matter."""
    return topic.casefold() in _LOCKED_TOPICS


def _file(url: str) -> str:
    """Return what the sizes of one picture share in their addresses, which is all but the query."""
    return urls.canonical_url(url).partition("?")[0].lower()


def _names(raw: Sequence[str]) -> list[str]:
    """Return names or topics as text, each once whatever its case."""
    once: dict[str, str] = {}
    for name in raw:
        words = text.cut(text.title(name), _LONGEST_NAME)
        if words:
            once.setdefault(words.casefold(), words)
    return list(once.values())


def _language(tag: str) -> str | None:
    """Return a language tag as RFC 5646 writes it, "fr" or "pt-BR"; None for what is none."""
    first, *rest = tag.strip().replace("_", "-").split("-")
    if not (first.isascii() and first.isalpha() and 2 <= len(first) <= 3) or len(tag) > 35:
        return None
    if not all(part.isascii() and part.isalnum() and len(part) <= 8 for part in rest):
        return None
    return "-".join([first.lower(), *(part.upper() if len(part) == 2 else part for part in rest)])
