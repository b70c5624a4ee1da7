"""CSS as text: cut into rules and declarations that remember their place, so that what is kept is kept to the letter.

Knows nothing of HTML. Stricter than a browser, which skips what it does not understand: here that is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Rules inside these are ordinary ones under a condition. (Those of @layer have a weaker rank of their own.)
_GROUPS: Final = ("media", "supports", "container")
_STRING: Final = r""""(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'"""
_TOKEN: Final = re.compile(rf"/\*.*?\*/|{_STRING}|\\.|[{{}}()\[\];,:]|[^/\"'\\{{}}()\[\];,:]++|.", re.DOTALL)
_COMMENT: Final = re.compile(rf"({_STRING})|/\*.*?\*/", re.DOTALL)
_NAME: Final = re.compile(r"[*_]?-{0,2}[A-Za-z_][\w-]*\Z")
_IMPORTANT: Final = re.compile(r"\s*!\s*important\Z", re.IGNORECASE)
_URL: Final = re.compile(rf"url\(\s*({_STRING}|[^)]*)\s*\)", re.IGNORECASE)
_IMPORT: Final = re.compile(r"@import\b", re.IGNORECASE)
_SAFE_URL: Final = re.compile(r"(?:https:|data:|#)", re.IGNORECASE)


class StyleInvalid(ValueError):
    """The CSS is broken or asks for something outside the mail; the message names the line of the style block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """One `name:value`. `end` is the place in the style block where the value ends."""

    name: str
    value: str
    important: bool
    end: int = 0

    @property
    def text(self) -> str:
        """The declaration as it is written."""
        return f"{self.name}:{self.value}{'!important' if self.important else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """`prelude{…}` or an at-statement, standing at start:end of the style block.

    A style rule has declarations; a group such as @media has rules; any other at-rule has neither.
    """

    prelude: str
    start: int
    end: int
    declarations: tuple[Declaration, ...] = ()
    rules: tuple["Rule", ...] = ()

    @property
    def is_at_rule(self) -> bool:
        """True for @media, @font-face and the like."""
        return self.prelude.startswith("@")

    @property
    def selectors(self) -> tuple[str, ...]:
        """The comma-separated selectors of a style rule."""
        return tuple(split(self.prelude, ","))


def parse(css: str) -> tuple[Rule, ...]:
    """Cut a style block into its rules. Raises StyleInvalid, also for what check_addresses refuses."""
    check_addresses(css)
    # HTML comment marks mean nothing in a style block; blanks keep every place where it was.
    return _Reader(css.replace("<!--", "    ").replace("-->", "   ")).rules()


def parse_declarations(css: str) -> tuple[Declaration, ...]:
    """Cut the text of a style attribute into declarations. Raises StyleInvalid."""
    check_addresses(css)
    return _Reader(css).declarations(attribute=True)


def check_addresses(css: str) -> None:
    """Raise StyleInvalid if the CSS would load anything but pictures and fonts over https."""
    bare = _COMMENT.sub(lambda m: m[1] or " ", css)
    if _IMPORT.search(bare):
        raise StyleInvalid("@import is not allowed in a mail")
    for match in _URL.finditer(bare):
        address = match[1].strip().strip("\"'").strip()
        if not _SAFE_URL.match(address):
            raise StyleInvalid(f"url({address[:60]}) is not an https address")


def split(text: str, separator: str) -> Iterator[str]:
    """Cut at a separator that stands outside brackets and strings; the pieces are stripped."""
    depth, piece = 0, ""
    for part in _TOKEN.findall(text):
        depth += (part in "([") - (part in ")]")
        if part == separator and depth == 0:
            yield piece.strip()
            piece = ""
        else:
            piece += part
    yield piece.strip()


class _Reader:
    """Walks the tokens of one text once."""

    def __init__(self, css: str) -> None:
        self._css = css
        self._tokens = [match for match in _TOKEN.finditer(css) if not match[0].startswith("/*")]
        self._position = 0

    def rules(self, *, nested: bool = False) -> tuple[Rule, ...]:
        found: list[Rule] = []
        while (token := self._peek()) is not None:
            if token[0] == "}":
                if not nested:
                    raise self._error("a } has no {", token.start())
                return tuple(found)
            if token[0].isspace():
                self._position += 1
            else:
                found.append(self._rule())
        if nested:
            raise self._error("a { is never closed", len(self._css))
        return tuple(found)

    def declarations(self, *, attribute: bool = False) -> tuple[Declaration, ...]:
        found: list[Declaration] = []
        while True:
            start, end, stop = self._until(";}")
            if self._css[start:end].strip():
                found.append(self._declaration(start, end))
            if stop == ";":
                continue
            if attribute == (stop == "}"):
                raise self._error("a } has no {" if attribute else "a { is never closed", end)
            return tuple(found)

    def _rule(self) -> Rule:
        start, end, stop = self._until("{};")
        start += len(self._css[start:end]) - len(self._css[start:end].lstrip())
        prelude = " ".join(_COMMENT.sub(lambda m: m[1] or " ", self._css[start:end]).split())
        keyword = re.match(r"@([\w-]*)", prelude)
        if keyword and stop == ";":
            return Rule(prelude=prelude, start=start, end=end + 1)
        if stop != "{" or not prelude:
            raise self._error(f"“{prelude[:40]}” is not a rule", start)
        declarations: tuple[Declaration, ...] = ()
        rules: tuple[Rule, ...] = ()
        if keyword is None:
            declarations = self.declarations()
        elif keyword[1].lower() in _GROUPS:
            rules = self.rules(nested=True)
            self._position += 1
        else:
            self._skip_block()
        end = self._tokens[self._position - 1].end()
        return Rule(prelude=prelude, start=start, end=end, declarations=declarations, rules=rules)

    def _declaration(self, start: int, end: int) -> Declaration:
        name, colon, value = _COMMENT.sub(lambda m: m[1] or " ", self._css[start:end]).partition(":")
        name, value = name.strip(), " ".join(value.split())
        plain = _IMPORTANT.sub("", value)
        if not colon or not _NAME.match(name) or not plain:
            raise self._error(f"“{(name + colon + value)[:40]}” is not a declaration", start)
        if not name.startswith("--"):
            name = name.lower()
        end = start + len(self._css[start:end].rstrip())
        return Declaration(name=name, value=plain, important=plain != value, end=end)

    def _until(self, stops: str) -> tuple[int, int, str]:
        """Pass over tokens up to one of `stops` outside brackets; return the span before it, and it ("" at the end)."""
        start, brackets = self._here(), []
        while (token := self._peek()) is not None:
            self._position += 1
            text = token[0]
            if text in ("(", "["):
                brackets.append(text)
            elif text in (")", "]"):
                if not brackets or brackets.pop() + text not in ("()", "[]"):
                    raise self._error(f"a {text} has no counterpart", token.start())
            elif not brackets and text in stops:
                return start, token.start(), text
            elif text in ("{", "}"):
                raise self._error(f"a {text} stands where none can", token.start())
            elif text in ("'", '"') or (text == "/" and self._css.startswith("/*", token.start())):
                raise self._error("a string or comment is never closed", token.start())
        if brackets:
            raise self._error(f"a {brackets[-1]} is never closed", start)
        return start, len(self._css), ""

    def _skip_block(self) -> None:
        depth = 1
        while depth:
            token = self._peek()
            if token is None:
                raise self._error("a { is never closed", len(self._css))
            depth += (token[0] == "{") - (token[0] == "}")
            self._position += 1

    def _peek(self) -> re.Match[str] | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _here(self) -> int:
        token = self._peek()
        return token.start() if token else len(self._css)

    def _error(self, what: str, position: int) -> StyleInvalid:
        line = self._css.count("\n", 0, position) + 1
        return StyleInvalid(f"line {line}: {what}")
