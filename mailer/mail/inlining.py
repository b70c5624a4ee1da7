"""Turn a mail's style blocks into style attributes, with premailer, changing nothing else of the document.

premailer works on a copy and says which declarations meet on which element, in which order: each is handed to it as a
number. Its own reading and writing of HTML and CSS, which loses doctypes, conditional comments and whole rules and
follows @import into the network, is not used: the style attributes are written into the original text.
"""

import html as html_escape
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree
from premailer import Premailer

from mailer.mail import cascade, selectors, stylesheets
from mailer.mail.cascade import Source, Use
from mailer.mail.stylesheets import Declaration, Rule

_ATTRIBUTES: Final = r"""(?:[^>"']++|"[^"]*+"|'[^']*+')*+"""
_MARKUP: Final = re.compile(
    rf"""<!--(?:>|->|.*?-->)|<!\[[^>]*>
    |<(?P<raw>style|script|title|textarea)(?=[\s/>])(?P<raw_attributes>{_ATTRIBUTES})>(?P<content>.*?)</(?P=raw)\s*>
    |<(?P<name>[a-z][^\s/>]*)(?P<attributes>{_ATTRIBUTES})>""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_ATTRIBUTE: Final = re.compile(r"""\s*([^\s"'>/=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_MARK: Final = "data-mailer-tag"
_NUMBER: Final = re.compile(r"-d(\d+):")
# cssutils and premailer share logs, serialisers and caches between threads.
_LOCK: Final = threading.Lock()


class InliningFailed(Exception):
    """The document's CSS cannot be inlined without changing what it means; the message says what to change."""


def inline(html: str) -> str:
    """Return the document with its style rules as style attributes; everything else stays byte for byte.

    Kept in the style blocks, to the letter: what no attribute can say (@media, :hover, *, !important) and what matches
    nothing here, unless the block says `data-premailer="drop"`. One that says `data-premailer="ignore"` is kept whole.
    Raises InliningFailed. Reads no network or file.
    """
    tags = list(_MARKUP.finditer(html))
    _refuse_stylesheet_links(tags)
    if not any(tag["name"] for tag in tags):
        return html
    sheets = [_sheet(number, tag) for number, tag in enumerate(tags) if _is_style(tag)]
    try:
        elements = _match(_copy(html, tags), sheets)
        promoted = cascade.promoted([uses for mark, uses in elements if mark is not None])
        attributes = {mark: cascade.attribute(uses, promoted) for mark, uses in elements if mark is not None}
    except (stylesheets.StyleInvalid, cascade.Ambiguous) as error:
        raise InliningFailed(str(error)) from error
    done = _Done(
        attributes=attributes,
        promoted=promoted,
        # An element without a tag of its own (an implied tbody) has nowhere to carry a style.
        inlined=frozenset(
            (use.source, use.selector)
            for mark, uses in elements
            for use in uses
            if mark is not None and not use.is_conditional
        )
        - frozenset((use.source, use.selector) for mark, uses in elements for use in uses if mark is None),
        matched=frozenset((use.source, use.selector) for _, uses in elements for use in uses),
    )
    return _write(html, tags, {sheet.number: sheet for sheet in sheets}, done)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """One style block: `number` is that of its tag; a media attribute makes all of it conditional."""

    number: int
    css: str
    rules: tuple[Rule, ...]
    is_conditional: bool
    is_ignored: bool
    drops_unused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Done:
    """What was worked out: style attributes by tag number, what to make !important, what is inlined, what matched."""

    attributes: dict[int, str]
    promoted: frozenset[Source]
    inlined: frozenset[tuple[Source, str]]
    matched: frozenset[tuple[Source, str]]


class _Matcher(Premailer):
    """premailer with ready-made rules instead of its own reading of CSS, and without its extra HTML attributes."""

    def __init__(self, rules: list[tuple[tuple[int, ...], str, str]]) -> None:
        super().__init__(
            css_text="-",
            keep_style_tags=True,
            strip_important=False,
            include_star_selectors=True,
            disable_leftover_css=True,
            align_floating_images=False,
            remove_unset_properties=False,
            disable_validation=True,
            allow_network=False,
            allow_loading_external_files=False,
            cssutils_logging_level=logging.CRITICAL,
        )
        self._rules = rules

    def _parse_style_rules(self, css_body: str, ruleset_index: int) -> tuple[list[Any], list[Any]]:  # noqa: ARG002
        return list(self._rules), []

    def _style_to_basic_html_attributes(self, element: Any, style_content: str, force: bool = False) -> None:
        """Add no width="calc(…)" or height="auto"."""


def _is_style(tag: re.Match[str]) -> bool:
    return (tag["raw"] or "").lower() == "style"


def _sheet(number: int, tag: re.Match[str]) -> _Sheet:
    attributes = {name: value for name, value, _ in _attributes(tag["raw_attributes"])}
    wish = attributes.get("data-premailer")
    is_ignored = wish == "ignore"
    try:
        if is_ignored:
            stylesheets.check_addresses(tag["content"])
        rules = () if is_ignored else stylesheets.parse(tag["content"])
    except stylesheets.StyleInvalid as error:
        raise InliningFailed(f"The style block that begins “{tag['content'].strip()[:30]}”: {error}.") from error
    media = attributes.get("media", "").strip().lower()
    return _Sheet(
        number=number,
        css=tag["content"],
        rules=rules,
        is_conditional=media not in ("", "all", "screen"),
        is_ignored=is_ignored,
        drops_unused=wish == "drop",
    )


def _refuse_stylesheet_links(tags: Sequence[re.Match[str]]) -> None:
    for tag in tags:
        if (tag["name"] or "").lower() == "link":
            rel = {name: value for name, value, _ in _attributes(tag["attributes"])}.get("rel", "")
            if "stylesheet" in rel.lower().split():
                raise InliningFailed("A mail cannot load a style sheet: put its rules into a style block.")


def _copy(html: str, tags: Sequence[re.Match[str]]) -> etree._Element:
    """Parse a copy in which every start tag carries its number and that has no comments and no styles."""
    pieces, position = [], 0
    for number, tag in enumerate(tags):
        pieces.append(html[position : tag.start()])
        position = tag.end()
        if tag["name"]:
            after_name = tag.end("name")
            pieces.append(f'{html[tag.start() : after_name]} {_MARK}="{number}"{html[after_name : tag.end()]}')
        elif tag["raw"]:
            pieces.append(f'<{tag["raw"]} data-premailer="ignore" {tag["raw_attributes"]}></{tag["raw"]}>')
    pieces.append(html[position:])
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True)
    root = etree.fromstring("".join(pieces).encode("utf-8", "replace"), parser)
    _imply_tbody(root)
    return root


def _imply_tbody(root: etree._Element) -> None:
    """Give every table the tbody that browsers give it, so that `table > tr` matches what it matches there."""
    for table in list(root.iter("table")):
        body = None
        for child in list(table):
            if child.tag == "tr":
                if body is None:
                    body = etree.Element("tbody")
                    child.addprevious(body)
                body.append(child)
            else:
                body = None


def _match(root: etree._Element, sheets: Sequence[_Sheet]) -> list[tuple[int | None, list[Use]]]:
    """Let premailer find what meets on every element: its tag's number (None if it has none) and its sorted uses."""
    uses: list[Use] = []
    rules = [
        (rank, matchable, numbers)
        for order, (rule, sheet, conditions) in enumerate(_style_rules(sheets))
        for rank, matchable, numbers in _numbered(rule, sheet, conditions, order, uses)
    ]
    for element in root.iter("*"):
        style = element.attrib.pop("style", "")
        if style and _MARK in element.attrib:
            declarations = stylesheets.parse_declarations(str(style))
            own = [Use(declaration=each, selector=f"<{element.tag} style>", source=None) for each in declarations]
            if own:
                element.attrib["style"] = _register(own, uses)
    with _LOCK:
        _Matcher(rules).transform(root)
    found = []
    for element in root.iter("*"):
        numbers = _NUMBER.findall(element.attrib.get("style", ""))
        if numbers:
            mark = element.attrib.get(_MARK)
            found.append((None if mark is None else int(mark), cascade.sort(uses[int(number)] for number in numbers)))
    return found


def _style_rules(sheets: Sequence[_Sheet]) -> Iterator[tuple[Rule, _Sheet, frozenset[str]]]:
    """Yield every style rule in order, with its block and the conditions that it stands under."""

    def walk(
        rules: Sequence[Rule], sheet: _Sheet, outer: frozenset[str]
    ) -> Iterator[tuple[Rule, _Sheet, frozenset[str]]]:
        for rule in rules:
            if rule.is_at_rule:
                yield from walk(rule.rules, sheet, outer | {rule.prelude})
            else:
                yield rule, sheet, outer

    for sheet in sheets:
        yield from walk(sheet.rules, sheet, frozenset([f"block {sheet.number}"] if sheet.is_conditional else ()))


def _numbered(
    rule: Rule, sheet: _Sheet, conditions: frozenset[str], order: int, uses: list[Use]
) -> Iterator[tuple[tuple[int, ...], str, str]]:
    for text in rule.selectors:
        selector = selectors.read(text)
        if selector.matchable is None or not rule.declarations:
            continue
        rank = (*selector.specificity, order)
        own = [
            Use(
                declaration=declaration,
                selector=text,
                source=(sheet.number, declaration.end),
                rank=(*rank, declaration.end),
                is_conditional=bool(conditions) or selector.is_conditional,
                conditions=conditions | selector.conditions,
            )
            for declaration in rule.declarations
        ]
        yield rank, selector.matchable, _register(own, uses)


def _register(own: Sequence[Use], uses: list[Use]) -> str:
    numbers = range(len(uses), len(uses) + len(own))
    uses.extend(own)
    return ";".join(f"-d{number}:0" for number in numbers)


def _write(html: str, tags: Sequence[re.Match[str]], sheets: dict[int, _Sheet], done: _Done) -> str:
    pieces, position = [], 0
    for number, tag in enumerate(tags):
        if number in sheets:
            pieces += [html[position : tag.start()], _written_block(tag, sheets[number], done)]
            position = tag.end()
        elif number in done.attributes:
            pieces += [
                html[position : tag.end("name")],
                _written_attributes(tag["attributes"], done.attributes[number]),
            ]
            position = tag.end("attributes")
    pieces.append(html[position:])
    return "".join(pieces)


def _written_block(tag: re.Match[str], sheet: _Sheet, done: _Done) -> str:
    opening = tag[0][: tag.start("content") - tag.start()]
    opening = re.sub(r"""\s+data-premailer\s*=\s*["']?(?:ignore|drop)["']?""", "", opening, count=1)
    if sheet.is_ignored:
        return opening + tag[0][tag.start("content") - tag.start() :]
    kept = [text for rule in sheet.rules if (text := _kept(rule, sheet, done))]
    if not kept:
        return ""
    closing = tag[0][tag.end("content") - tag.start() :]
    return "\n".join((opening, *kept, closing))


def _kept(rule: Rule, sheet: _Sheet, done: _Done) -> str:
    """Return what of a top-level rule stays in its style block, "" if nothing."""
    if rule.is_at_rule or sheet.is_conditional:
        return _verbatim(rule, sheet, done)
    if not rule.declarations:
        return ""
    # A selector's fate is the same for all declarations of its rule; the first one's source stands for them.
    source = (sheet.number, rule.declarations[0].end)
    inlined = [text for text in rule.selectors if (source, text) in done.inlined]
    unused = [text for text in rule.selectors if (source, text) not in done.matched and sheet.drops_unused]
    whole = [text for text in rule.selectors if text not in inlined and not _is_droppable(text, unused)]
    important = [each for each in rule.declarations if each.important]
    if len(whole) == len(rule.selectors) or (len(important) == len(rule.declarations) and not unused):
        return _verbatim(rule, sheet, done)
    parts = [",".join(whole) + _block(rule.declarations, sheet, done)] if whole else []
    if inlined and important:
        parts.append(",".join(inlined) + _block(important, sheet, done))
    return "\n".join(parts)


def _is_droppable(selector: str, unused: Sequence[str]) -> bool:
    return selector in unused and not selectors.read(selector).is_conditional


def _block(declarations: Sequence[Declaration], sheet: _Sheet, done: _Done) -> str:
    texts = (each.text + ("!important" if (sheet.number, each.end) in done.promoted else "") for each in declarations)
    return "{" + ";".join(texts) + "}"


def _verbatim(rule: Rule, sheet: _Sheet, done: _Done) -> str:
    pieces, position = [], rule.start
    for end in sorted(source[1] for source in done.promoted if source and source[0] == sheet.number):
        if rule.start <= end <= rule.end:
            pieces.append(sheet.css[position:end] + "!important")
            position = end
    pieces.append(sheet.css[position : rule.end])
    return "".join(pieces)


def _written_attributes(text: str, style: str) -> str:
    quoted = html_escape.escape(style, quote=False).replace('"', "&quot;")
    for name, _, (start, end) in _attributes(text):
        if name == "style":
            return f'{text[:start]} style="{quoted}"{text[end:]}' if style else text[:start] + text[end:]
    if not style:
        return text
    body = text.rstrip()
    slash = "/" if body.endswith("/") else ""
    return f'{body.removesuffix("/").rstrip()} style="{quoted}"{" /" if slash else ""}'


def _attributes(text: str) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Yield name, value and place of every attribute of a start tag."""
    for match in _ATTRIBUTE.finditer(text):
        value = match[2] or ""
        if value[:1] in ("'", '"'):
            value = value[1:-1]
        yield match[1].lower(), html_escape.unescape(value), match.span()
