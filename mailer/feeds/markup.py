"""A feed's text becomes an element tree: no DTD ever reaches the parser, and what is nearly XML is made XML first."""

import html
import io
import re
from collections.abc import Iterator
from typing import Final

from lxml import etree

from mailer.feeds.parsed import FeedInvalid
from mailer.feeds.text import one_line

_PROLOG: Final = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_FEED_START: Final = re.compile(r"<(?:[A-Za-z][\w.-]*:)?(?:rss|RDF|feed)(?=[\s>/])")
_ROOT: Final = re.compile(r"<([A-Za-z_][\w.:-]*)(?=[\s>/])(?:\"[^\"]*+\"|'[^']*+'|[^\"'>])*+>")
_DOCTYPE: Final = re.compile(r"<!DOCTYPE\b[^\[>]*+(>|\[)", re.IGNORECASE)
_ENTITY_DECLARATION: Final = re.compile(r"<!ENTITY\s+[^%\s]", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"&(?:#(?:(\d{1,7})|[xX]([0-9a-fA-F]{1,6}));|([A-Za-z][A-Za-z0-9]{0,31});)?")
_XML_NAMES: Final = ("amp", "lt", "gt", "quot", "apos")
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TOKEN: Final = re.compile(
    r"<(/?)([A-Za-z_][\w.:-]*+)((?:\s|/(?!>))(?:\"[^\"<]*+\"|'[^'<]*+'|[^\"'<>/]|/(?!>))*+)?\s*+(/?)>|<"
)
_VALUE: Final = re.compile(r"=\s*(?:\"[^\"]*+\"|'[^']*+'|([^\s\"'=<>]+))")
_SKIPPED: Final = (("<![CDATA[", "]]>"), ("<!--", "-->"), ("<?", "?>"))
_HTML_TYPE: Final = re.compile(r"<!DOCTYPE\s+html\b", re.IGNORECASE)
_HTML_ROOT: Final = re.compile(r"<(?:html|head|body)\b", re.IGNORECASE)
_BREAKS_OFF: Final = "The feed breaks off before its end."
# Where libxml2 gives up too.
_DEEPEST: Final = 256
_HEAD_LENGTH: Final = 20_000


def read_root(text: str, url: str) -> etree._Element:
    """Return the root of the feed in `text`; `url` is what its relative addresses are relative to.

    What surrounds the root is dropped. Unescaped "&", HTML's entities, stray "<", tags that are never or wrongly
    closed and undeclared prefixes are mended. Raises FeedInvalid: no XML, broken off before its end, or a document type
    that declares entities.
    """
    text = _NOT_XML.sub("", text)
    document = _only_root(text)
    document = "".join(
        section if is_cdata else _REFERENCE.sub(_mend_reference, section) for section, is_cdata in _sections(document)
    )
    try:
        return etree.fromstring(document.encode(), _parser(recover=False), base_url=url)
    except etree.XMLSyntaxError:
        pass
    try:
        root = etree.fromstring(_balanced(document).encode(), _parser(recover=True), base_url=url)
    except etree.XMLSyntaxError as error:
        raise FeedInvalid("This is XML too damaged to be read.") from error
    if root is None:
        raise FeedInvalid("This is XML too damaged to be read.")
    return root


def words(element: etree._Element) -> str:
    """Return all the text inside an element on one line."""
    return one_line("".join(map(str, element.itertext())))


def name(element: etree._Element) -> tuple[str, str]:
    """Return an element's namespace, "" for none, and its name without a prefix, declared or not."""
    namespace, _, local = str(element.tag).rpartition("}")
    return namespace.removeprefix("{"), local.rpartition(":")[2]


def is_web_page(text: str) -> bool:
    """Tell whether the document is HTML, and not a feed with HTML (a warning of PHP, say) in front."""
    end = _prolog_end(text)
    head = text[:end][-_HEAD_LENGTH:], text[end : end + _HEAD_LENGTH]
    if not (_HTML_TYPE.search(head[0]) or _HTML_ROOT.match(head[1])):
        return False
    return not (_FEED_START.search(head[1]) and "<?xml" in head[1])


def _parser(*, recover: bool) -> etree.XMLParser:
    # A parser each: lxml's keep state. resolve_entities and no_network are belts to the braces of dropping every DTD.
    return etree.XMLParser(
        recover=recover,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        remove_comments=True,
        remove_pis=True,
        encoding="utf-8",
    )


def _only_root(text: str) -> str:
    """Cut the root element out, from its start tag to its last end tag."""
    start = _prolog_end(text)
    root = _ROOT.match(text, start)
    if root is None or not _FEED_START.match(text, start):
        found = _FEED_START.search(text, start)
        root = _ROOT.match(text, found.start()) if found else root
    if root is None:
        breaks_off = text.find(">", start) < 0 and text.startswith("<", start)
        raise FeedInvalid(_BREAKS_OFF if breaks_off else "This is not a feed: it is neither XML nor JSON.")
    if root[0].endswith("/>"):
        return root[0]
    end = text.rfind(f"</{root[1]}", root.end())
    closed = text.find(">", end) if end >= 0 else -1
    if closed < 0:
        raise FeedInvalid(_BREAKS_OFF)
    return text[root.start() : closed + 1]


def _prolog_end(text: str) -> int:
    at = 0
    while found := _PROLOG.match(text, at) or _DOCTYPE.match(text, at):
        at = found.end()
        if found.re is _DOCTYPE and found[1] == "[":
            end = re.compile(r"\]\s*>").search(text, at)
            at = end.end() if end else len(text)
            if _ENTITY_DECLARATION.search(text, found.end(), at):
                raise FeedInvalid("The feed declares entities of its own (<!ENTITY …>), which is refused for safety.")
    return at


def _sections(document: str) -> Iterator[tuple[str, bool]]:
    at = 0
    while (start := document.find("<![CDATA[", at)) >= 0 and (end := document.find("]]>", start)) >= 0:
        yield document[at:start], False
        yield document[start : end + 3], True
        at = end + 3
    yield document[at:], False


def _mend_reference(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        if name in _XML_NAMES:
            return reference[0]
        character = html.unescape(reference[0])
        return character if character != reference[0] else f"&amp;{name};"
    if decimal or hexadecimal:
        # As browsers do it: numbers from 128 to 159 mean windows-1252, impossible ones nothing.
        character = _NOT_XML.sub("", html.unescape(reference[0]))
        return f"&#{ord(character)};" if len(character) == 1 else ""
    return "&amp;"


def _balanced(document: str) -> str:
    """Close what was left open, drop end tags of nothing, and escape "<" that begins no tag."""
    mended = io.StringIO()
    open_tags: list[str] = []
    for before, token in _tokens(document):
        mended.write(before)
        if token is None:
            continue
        closing, name, attributes, empty = token.groups()
        if name is None:
            mended.write("&lt;")
        elif not closing:
            mended.write(f"<{name}{_VALUE.sub(_quote, attributes or '')}{empty}>")
            if not empty:
                open_tags.append(name)
        elif name in open_tags:
            while (last := open_tags.pop()) != name:
                mended.write(f"</{last}>")
            mended.write(f"</{name}>")
        if len(open_tags) > _DEEPEST:
            raise FeedInvalid("This is XML too damaged to be read.")
    mended.writelines(f"</{name}>" for name in reversed(open_tags))
    return mended.getvalue()


def _quote(value: re.Match[str]) -> str:
    return f'="{value[1]}"' if value[1] else value[0]


def _tokens(document: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield the text before each tag and the tag; CDATA sections, comments and instructions count as text."""
    at = written = 0
    # Once an end marker is not found it never will be: without this, unclosed sections would cost quadratic time.
    missing: set[str] = set()
    while (at := document.find("<", at)) >= 0:
        section = next((pair for pair in _SKIPPED if document.startswith(pair[0], at)), None)
        if section and section[1] not in missing:
            end = document.find(section[1], at)
            if end >= 0:
                at = end + len(section[1])
                continue
            missing.add(section[1])
        token = _TOKEN.match(document, at)
        if token is None:
            raise AssertionError("The token pattern matches every “<”.")
        yield document[written:at], token
        at = written = token.end()
    yield document[written:], None
