"""Markdown that the newsroom writes: read once into passages and article blocks, said as safe HTML and as text.

Raw HTML stays text, and what comes out passes sanitise.clean like a stranger's. No database, no network.
"""

import enum
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from mailer import i18n
from mailer.feeds import sanitise, urls
from mailer.mail import merge, rendering
from mailer.models.content import Layout

MOST_BYTES: Final = 200_000
MOST_BLOCKS: Final = 100
# A parser of Markdown looks from each for its counterpart, to the end of the paragraph.
MOST_BRACKETS: Final = 10_000
# Of quotes and lists in each other; what lies deeper is refused, not lost.
DEEPEST: Final = 20
_BLOCK: Final = re.compile(r"\[\[\s*article\b(?P<rest>.*)\]\]\s*\Z", re.IGNORECASE)
_REST: Final = re.compile(
    rf"\s+(?:(?P<number>[0-9]{{1,18}})|(?P<url>https?://\S+?))(?:\s+(?P<layout>{'|'.join(Layout)}))?\s*\Z",
    re.IGNORECASE,
)
_DEEP: Final = re.compile(r"^(?:[ \t]{0,3}(?:>|[-*+]|[0-9]{1,9}[.)])[ \t]?){21}", re.MULTILINE)


class Problem(enum.StrEnum):
    """What can be wrong with a text; WORDS has the sentences."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    TOO_MANY_BRACKETS = "too_many_brackets"
    TOO_MANY_BLOCKS = "too_many_blocks"
    TOO_DEEP = "too_deep"
    NOT_READ = "not_read"
    UNKNOWN = "unknown"
    NOT_READY = "not_ready"
    TWICE = "twice"
    UNREACHABLE = "unreachable"
    NO_TITLE = "no_title"
    NO_SUBJECT = "no_subject"
    NO_TEXT = "no_text"


# In English; the {names} are filled from BodyInvalid.values.
WORDS: Final = {
    Problem.EMPTY: "There is no text: write something, or an article block such as [[article 812]].",
    Problem.TOO_LONG: "The text has {count} bytes; there is room for {most}.",
    Problem.TOO_MANY_BRACKETS: "There are {count} square brackets; there is room for {most}.",
    Problem.TOO_MANY_BLOCKS: "There are {count} article blocks; an issue holds {most} at most.",
    Problem.TOO_DEEP: "Line {line}: more than {most} quotes or lists stand in each other.",
    Problem.NOT_READ: "Line {line}: an article block is written [[article 812]] or [[article https://… card]]; "
    "after it may come lead, card or brief.",
    Problem.UNKNOWN: "Line {line}: there is no article {article}.",
    Problem.NOT_READY: "Line {line}: the article {article} is held or withdrawn.",
    Problem.TWICE: "Line {line}: the article {article} stands in the text already.",
    Problem.UNREACHABLE: "Line {line}: {article} could not be read: {reason}",
    Problem.NO_TITLE: "Line {line}: the page of {article} has no title.",
    Problem.NO_SUBJECT: "The issue needs a subject.",
    Problem.NO_TEXT: "The file is no text in UTF-8.",
}


class BodyInvalid(ValueError):
    """A text can't be an issue; the message says what is wrong, and on which line."""

    def __init__(self, problem: Problem, **values: object) -> None:
        self.problem, self.values = problem, values
        super().__init__(i18n.fill(WORDS[problem], values))


@dataclass(frozen=True, kw_only=True)
class ArticleBlock:
    """A line that stands for an article: known by number, or by address. Lines count from 1."""

    line: int
    number: int | None
    url: str | None
    layout: Layout

    @property
    def name(self) -> str:
        """What the line calls the article."""
        return str(self.number) if self.number is not None else str(self.url)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Words between article blocks, parsed."""

    tokens: Sequence[Token]


@dataclass(frozen=True, kw_only=True)
class Image:
    """How a picture in the words is shown: its address, and CSS pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the words are said with: see merge.say for `reader`. Addresses are relative to `base`; other pictures vanish."""

    reader: Mapping[str, object] | None
    language: str
    base: str
    images: Mapping[str, Image]


def parse(source: str) -> list[Passage | ArticleBlock]:
    """Read a text. Raises BodyInvalid."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    if not source.strip():
        raise BodyInvalid(Problem.EMPTY)
    size = len(source.encode())
    if size > MOST_BYTES:
        raise BodyInvalid(Problem.TOO_LONG, count=size, most=MOST_BYTES)
    brackets = source.count("[")
    if brackets > MOST_BRACKETS:
        raise BodyInvalid(Problem.TOO_MANY_BRACKETS, count=brackets, most=MOST_BRACKETS)
    deep = _DEEP.search(source)
    if deep is not None:
        raise BodyInvalid(Problem.TOO_DEEP, line=source.count("\n", 0, deep.start()) + 1, most=DEEPEST)
    found = list(_parts(_parser().parse(source)))
    blocks = sum(1 for one in found if isinstance(one, ArticleBlock))
    if blocks > MOST_BLOCKS:
        raise BodyInvalid(Problem.TOO_MANY_BLOCKS, count=blocks, most=MOST_BLOCKS)
    return found


def images(parts: Sequence[Passage | ArticleBlock], base: str) -> list[str]:
    """List the absolute addresses of the pictures in the words, each once."""
    found: dict[str, None] = {}
    for part in parts:
        for token in _inline(part.tokens) if isinstance(part, Passage) else ():
            address = urls.absolute(str(token.attrs.get("src", "")), base) if token.type == "image" else None
            if address is not None:
                found[address] = None
    return list(found)


def addresses(parts: Sequence[Passage | ArticleBlock], base: str) -> list[str]:
    """List the absolute addresses that the words lead to, each once."""
    tokens = (token for part in parts if isinstance(part, Passage) for token in _inline(part.tokens))
    found = (urls.absolute(str(one.attrs.get("href", "")), base) for one in tokens if one.type == "link_open")
    return list(dict.fromkeys(filter(None, found)))


def fields(parts: Sequence[Passage | ArticleBlock]) -> frozenset[str]:
    """Return the names of the merge fields in the words."""
    texts = (token.content for part in parts if isinstance(part, Passage) for token in _inline(part.tokens))
    return frozenset().union(*(merge.names(one) for one in texts))


def without_headings(passage: Passage) -> Passage:
    """Return a passage's words below its headings."""
    kept: list[Token] = []
    is_inside = False
    for token in passage.tokens:
        is_inside = is_inside or token.type == "heading_open"
        if not is_inside:
            kept.append(token)
        is_inside = is_inside and token.type != "heading_close"
    return Passage(tokens=kept)


def html(passage: Passage, setting: Setting) -> str:
    """Say a passage as HTML that is safe in a mail."""
    tokens = [_lowered(_said(one, setting)) for one in passage.tokens]
    said = RendererHTML().render(tokens, _parser().options, {})
    return sanitise.clean(said, setting.base)


def text(passage: Passage, setting: Setting) -> str:
    """Say a passage as plain text, wrapped; the address of a link stands on a line of its own after its paragraph."""
    tokens = [_said(one, setting) for one in passage.tokens]
    said = ""
    for words, is_tight in _paragraphs(tokens, setting.base):
        if words:
            said += f"{'' if not said else chr(10) if is_tight else chr(10) * 2}{words}"
    return said


@functools.cache
def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 4 * DEEPEST}).disable(["html_block", "html_inline"])
    made.enable("strikethrough")
    made.block.ruler.before("fence", "article", _article, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return made


def _article(state: StateBlock, start: int, _end: int, silent: bool) -> bool:
    """Read a line that stands for an article; inside quotes and lists it is text."""
    if state.level or state.is_code_block(start):
        return False
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    match = _BLOCK.match(line)
    if match is None:
        return False
    if not silent:
        token = state.push("article", "", 0)
        token.map, token.content = [start, start + 1], match["rest"]
        state.line = start + 1
    return True


def _parts(tokens: Sequence[Token]) -> Iterator[Passage | ArticleBlock]:
    passage: list[Token] = []
    for token in tokens:
        if token.type != "article":
            passage.append(token)
            continue
        if passage:
            yield Passage(tokens=passage)
        passage = []
        yield _read(token)
    if passage:
        yield Passage(tokens=passage)


def _read(token: Token) -> ArticleBlock:
    line = (token.map or [0])[0] + 1
    match = _REST.match(token.content)
    if match is None:
        raise BodyInvalid(Problem.NOT_READ, line=line)
    return ArticleBlock(
        line=line,
        number=int(match["number"]) if match["number"] else None,
        url=match["url"],
        layout=Layout((match["layout"] or Layout.CARD).lower()),
    )


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


def _said(token: Token, setting: Setting) -> Token:
    """Fill the fields in a block's words, and put our own pictures into it."""
    if not token.children:
        return token
    children: list[Token] = []
    in_link = 0
    for child in token.children:
        in_link += child.nesting if child.type.startswith("link_") else 0
        if child.type == "text":
            children.extend(_filled(child, setting, may_link=not in_link))
        elif child.type == "image":
            children.extend(_pictured(child, setting))
        else:
            children.append(child)
    return replace(token, children=children)


def _lowered(token: Token) -> Token:
    """Make a heading one level lower: the first level is the mail's own title."""
    if not token.type.startswith("heading_"):
        return token
    return replace(token, tag=f"h{min(int(token.tag[1:]) + 1, 4)}")


def _filled(token: Token, setting: Setting, *, may_link: bool) -> Iterator[Token]:
    """Yield the words of a text with its fields filled; an address in them, or the preferences link, becomes a link."""
    if not may_link:
        yield replace(token, content=merge.say(token.content, setting.reader))
        return
    for paragraph in merge.paragraphs(f"\x00{token.content}\x00", setting.reader, setting.language):
        for piece in paragraph:
            words = (piece["text"] or "").replace("\x00", "")
            if piece["url"]:
                yield Token("link_open", "a", 1, attrs={"href": piece["url"]})
            if words:
                yield Token("text", "", 0, content=words)
            if piece["url"]:
                yield Token("link_close", "a", -1)


def _pictured(token: Token, setting: Setting) -> list[Token]:
    address = urls.absolute(str(token.attrs.get("src", "")), setting.base)
    shown = setting.images.get(address or "")
    if shown is None:
        return []
    attributes: dict[str, str | int | float] = {
        "src": shown.url,
        "alt": "",
        "width": shown.width,
        "height": shown.height,
    }
    return [replace(token, attrs=attributes)]


def _paragraphs(tokens: Sequence[Token], base: str) -> Iterator[tuple[str, bool]]:
    """Yield the paragraphs of a passage as text, and whether each stands close below the one before.

    With them comes what stands before their lines in lists and quotes.
    """
    signs = _Signs()
    was_tight = is_tight = False
    for token in tokens:
        if token.type == "hr":
            yield "* * *", False
        elif token.type in ("fence", "code_block"):
            yield _prefixed(token.content.rstrip("\n"), signs.prefixes), False
        elif token.type == "paragraph_open":
            was_tight, is_tight = is_tight, token.hidden
        elif token.type == "inline":
            yield _prefixed(_words(token, base), signs.prefixes), was_tight and is_tight
            signs.are_said()
        else:
            signs.see(token)


class _Signs:
    """What stands before the lines at a place: the signs of the lists and quotes that are open there."""

    def __init__(self) -> None:
        self.prefixes: list[str] = []
        self._numbers: list[int | None] = []

    def see(self, token: Token) -> None:
        """Open or close a list, an item or a quote."""
        if token.type in ("bullet_list_open", "ordered_list_open"):
            self._numbers.append(int(token.attrs.get("start", 1)) if token.type[0] == "o" else None)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self._numbers.pop()
        elif token.type == "list_item_open":
            number = self._numbers[-1]
            self.prefixes.append("- " if number is None else f"{number}. ")
            self._numbers[-1] = None if number is None else number + 1
        elif token.type == "blockquote_open":
            self.prefixes.append("> ")
        elif token.type in ("list_item_close", "blockquote_close"):
            self.prefixes.pop()

    def are_said(self) -> None:
        """Let an item's sign stand before its first paragraph only."""
        self.prefixes = [_continued(one) for one in self.prefixes]


def _prefixed(words: str, prefixes: Sequence[str]) -> str:
    """Put what stands before a paragraph into its lines: a list's sign before the first only."""
    if not words:
        return ""
    first = "".join(prefixes)
    others = "".join(map(_continued, prefixes))
    return "\n".join(
        f"{first if index == 0 else others}{line}".rstrip() for index, line in enumerate(words.splitlines())
    )


def _continued(prefix: str) -> str:
    return prefix if prefix == "> " else " " * len(prefix)


def _words(token: Token, base: str) -> str:
    """Return a paragraph's words, wrapped, and below them where its links lead."""
    words, leads_to = "", []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            words += child.content
        elif child.type == "hardbreak":
            words += "\n"
        elif child.type == "softbreak":
            words += " "
        elif child.type == "link_open":
            leads_to.append(urls.absolute(str(child.attrs.get("href", "")), base) or "")
    below = [one for one in dict.fromkeys(leads_to) if one and one not in words]
    return "\n".join([*([rendering.wrap(words)] if words.strip() else []), *below])
