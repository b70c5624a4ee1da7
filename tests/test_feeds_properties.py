"""What must hold for every feed that could be written, tried on thousands that nobody would write."""

import datetime
import json
import time
import unicodedata
from html import escape

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mailer.feeds import page, text, urls
from mailer.feeds.dates import parse_date
from mailer.feeds.encoding import decode
from mailer.feeds.fetch import FeedUnreachable, fetch
from mailer.feeds.parse import FeedInvalid, ParsedArticle, canonical_url, parse

URL = "https://courrier.example/feed"
# The same examples every time: what a run finds must not depend on luck. Raise max_examples to look for more.
RELAXED = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)

# Text as people write it: one line, no control characters, any script.
LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"], exclude_characters="\ufeff")
WORDS = st.text(LETTERS, min_size=1, max_size=12)
LINES = st.lists(WORDS, min_size=1, max_size=8).map(" ".join).map(text.one_line).filter(bool)
MOMENTS = st.integers(631_152_000, 1_830_000_000).map(
    lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC)
)
OFFSETS = st.integers(-12 * 60, 14 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))


def only(document: str) -> ParsedArticle:
    (article,) = parse(document.encode(), content_type=None, url=URL).articles
    return article


def plain(words: str) -> str:
    """What HTML makes of text: U+000D and the like are gone already, so nothing but an escape."""
    return escape(words, quote=False)


@RELAXED
@given(title=LINES, words=LINES, moment=MOMENTS, zone=OFFSETS)
@example(title="]]>", words="]]>", moment=datetime.datetime(2025, 11, 24, tzinfo=datetime.UTC), zone=datetime.UTC)
@example(title="Â©Ã©", words="&amp;lt;", moment=datetime.datetime(2025, 11, 24, tzinfo=datetime.UTC), zone=datetime.UTC)
def test_rss_gives_back_what_was_put_in(
    title: str, words: str, moment: datetime.datetime, zone: datetime.timezone
) -> None:
    date = moment.astimezone(zone).strftime("%a, %d %b %Y %H:%M:%S %z")
    article = only(
        f"<rss><channel><item><title>{plain(plain(title))}</title><guid>1</guid><pubDate>{date}</pubDate>"
        f"<description>{plain(plain(f'{words} (fin du résumé)'))}</description></item></channel></rss>"
    )
    assert article.title == title
    assert article.excerpt == f"{words} (fin du résumé)"
    assert article.published_at == moment


@RELAXED
@given(title=LINES, words=LINES, moment=MOMENTS, zone=OFFSETS, topics=st.lists(LINES, max_size=4))
def test_atom_gives_back_what_was_put_in(
    title: str, words: str, moment: datetime.datetime, zone: datetime.timezone, topics: list[str]
) -> None:
    categories = "".join(f'<category term="{escape(topic)}"/>' for topic in topics)
    article = only(
        f'<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>1</id><title>{plain(title)}</title>{categories}'
        f"<published>{moment.astimezone(zone).isoformat()}</published><summary>{plain(words)} (fin)</summary>"
        "</entry></feed>"
    )
    assert (article.title, article.excerpt, article.published_at) == (title, f"{words} (fin)", moment)
    assert {topic.casefold() for topic in article.topics} == {topic.casefold() for topic in topics}


@RELAXED
@given(title=LINES, words=LINES, moment=MOMENTS, zone=OFFSETS)
def test_json_feed_gives_back_what_was_put_in(
    title: str, words: str, moment: datetime.datetime, zone: datetime.timezone
) -> None:
    item = {
        "id": "1",
        "title": title,
        "summary": f"{words} (fin)",
        "date_published": moment.astimezone(zone).isoformat(),
    }
    article = only(json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "", "items": [item]}))
    assert (article.title, article.excerpt, article.published_at) == (title, f"{words} (fin)", moment)


PIECES = st.sampled_from(
    ["<rss>", "</rss>", "<channel>", "</channel>", "<item>", "</item>", "<title>", "</title>", "<link>", "</link>", "<guid>",
     "<![CDATA[", "]]>", "<!--", "-->", "<?xml version='1.0' encoding='", "?>", "<!DOCTYPE rss [", "<!ENTITY a 'b'>", "]>",
     "&a;", "&", "&#0;", "&#x110000;", "&eacute;", "<feed xmlns='http://www.w3.org/2005/Atom'>", "</feed>", "<entry>",
     "<content type='xhtml'>", "</content>", "<media:content url='", "<x:y>", "<a href='", "'", '"', ">", "<", "/>", "{", "}",
     '{"version":"https://jsonfeed.org/version/1","items":[', "]", ",", '"id":1', "\ud800", "\x00", "<pubDate>", "2025-11-24",
     "<html>", "<link rel='alternate' type='application/rss+xml' href='//['>", "xml:base='//['", "<image>", "<author>", "@ (x)"]
)  # fmt: skip


@settings(RELAXED, max_examples=400)
@given(
    body=st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, LINES), max_size=40).map("".join)),
    closed=st.booleans(),
)
def test_any_bytes_are_a_feed_or_invalid(body: bytes | str, closed: bool) -> None:
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    if closed:
        raw = b"<rss><channel>" + raw + b"</channel></rss>"
    started = time.process_time()
    try:
        feed = parse(raw, content_type="text/xml; charset=\x00", url=URL)
    except FeedInvalid:
        return
    finally:
        assert time.process_time() - started < 1
    assert len({article.guid for article in feed.articles}) == len(feed.articles)
    for article in feed.articles:
        assert_storable(article)


def assert_storable(article: ParsedArticle) -> None:
    texts = [article.guid, article.url, article.title, article.excerpt, article.html, article.author, *article.topics]
    for value in (*texts, article.image_url or "", article.image_alt, article.image_credit):
        assert "\x00" not in value
        value.encode()
    assert article.guid
    assert article.title
    assert len(article.title) <= 300
    assert len(article.excerpt) <= 300
    assert not any(unicodedata.category(character) == "Cc" for character in article.title + article.excerpt)
    assert article.url.startswith(("http://", "https://"))


JSON_NAMES = st.sampled_from(
    ["id", "url", "title", "authors", "author", "name", "tags", "image", "content_html", "date_published", "items"]
)  # fmt: skip
JSON_LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | LINES
JSON_VALUES = st.recursive(JSON_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(JSON_NAMES, inner))


@settings(RELAXED, max_examples=300)
@given(value=JSON_VALUES, item=st.dictionaries(JSON_NAMES, JSON_VALUES))
def test_any_json_is_a_feed_or_invalid(value: object, item: dict[str, object]) -> None:
    feed = {"version": "https://jsonfeed.org/version/1", "title": value, "language": value, "items": [value, item]}
    for article in parse(json.dumps(feed).encode(), content_type=None, url=URL).articles:
        assert_storable(article)


@RELAXED
@given(body=st.binary(max_size=400), content_type=st.none() | st.text(max_size=40))
def test_any_bytes_have_a_text(body: bytes, content_type: str | None) -> None:
    assert isinstance(decode(body, content_type), str)


@RELAXED
@given(words=st.text(max_size=400), limit=st.integers(5, 100))
def test_a_cut_is_a_beginning_of_at_most_its_limit(words: str, limit: int) -> None:
    cut = text.cut(words, limit)
    assert len(cut) <= limit
    assert words.startswith(cut.removesuffix("…"))


@RELAXED
@given(words=st.text(max_size=400) | st.lists(LINES).map(". ".join), limit=st.integers(5, 100))
def test_a_shortened_text_is_a_beginning_too(words: str, limit: int) -> None:
    short = text.shorten(words, limit)
    assert len(short) <= limit
    assert words.startswith(short.removesuffix("…"))
    assert bool(short.strip()) == bool(words.strip()) or words[:limit].strip() == ""


@RELAXED
@given(words=st.text(max_size=60))
def test_reading_a_date_never_fails(words: str) -> None:
    moment = parse_date(words)
    assert moment is None or moment.utcoffset() == datetime.timedelta(0)


@RELAXED
@given(address=st.text(max_size=60) | st.text(max_size=60).map("https://c.example/".__add__), base=st.text(max_size=30))
def test_addresses_are_absolute_or_none_and_canonical_once_and_for_all(address: str, base: str) -> None:
    absolute = urls.absolute(address, base, URL)
    assert absolute is None or absolute.startswith(("http://", "https://"))
    if absolute:
        assert absolute.isascii()
        assert urls.absolute(absolute) == absolute
        assert canonical_url(canonical_url(absolute)) == canonical_url(absolute)


@RELAXED
@given(rest=st.text(max_size=60), start=st.sampled_from(["", "http://127.0.0.1/", "http://[::1]:", "//", "ftp://"]))
def test_fetching_anything_is_refused_and_never_fails_otherwise(rest: str, start: str) -> None:
    # What would name a host elsewhere is left out: no test asks the network for it.
    assume(start.startswith("http") or not rest.strip().lower().startswith("http"))
    with pytest.raises(FeedUnreachable):
        fetch(start + rest)


@RELAXED
@given(start=st.text(max_size=80), inside=st.text(max_size=80))
def test_reading_a_page_never_fails(start: str, inside: str) -> None:
    document = f'{start}<link rel="canonical" href="{inside}"><meta property="og:image" content="{inside}"><h1>{inside}'
    found = page.read(document, URL)
    for address in (found.canonical_url, found.picture and found.picture.url):
        assert address is None or address.startswith(("http://", "https://"))
