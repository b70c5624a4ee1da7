"""CSS selectors as premailer can match them: without what depends on the client or the pointer, with the right weight."""

import functools
import re
from dataclasses import dataclass
from typing import Final

import cssselect
from cssselect.parser import SelectorSyntaxError

from mailer.mail.stylesheets import StyleInvalid

_PART: Final = re.compile(
    r"""(?P<literal>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[.\#](?:[-\w]|\\.)+|\[(?:[^\]"']|"[^"]*"|'[^']*')*\])
    |(?P<pseudo>::?[-\w]+(?:\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))?)
    |(?P<type>[-\w]+)
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selector:
    """`matchable` finds at least the elements of the original in a still document; None if nothing can be said of it.

    A conditional one (:hover, :first-child, *) is not for style attributes. `conditions` are its pseudo-classes, or all
    of it if one stands before the last element: two selectors with the same ones hold at the same time on one element.
    """

    matchable: str | None
    specificity: tuple[int, int, int]
    is_conditional: bool
    conditions: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=1024)
def read(text: str) -> Selector:
    """Read one selector, without commas. Raises StyleInvalid if it is none."""
    pieces: list[str] = []
    pseudos: list[str] = []
    is_about_others = False
    for match in _PART.finditer(text):
        if match["pseudo"]:
            pseudos.append(match["pseudo"].lower())
            if not pieces or pieces[-1] in " >+~":
                pieces.append("html" if match["pseudo"].lower() == ":root" else "*")
        else:
            is_about_others |= match[0] in " >+~" and bool(pseudos)
            pieces.append(match["type"].lower() if match["type"] else match[0])
    # premailer takes whatever follows a colon for a pseudo-class, also inside strings.
    bare = re.sub(r"\\?:", r"\\3a ", "".join(pieces))
    try:
        weight = _parse(bare).specificity()
    except SelectorSyntaxError as error:
        if not pseudos:
            raise StyleInvalid(f"“{text[:60]}” is not a selector") from error
        return Selector(matchable=None, specificity=(0, 0, 0), is_conditional=True)
    conditional = bool(pseudos) or "*" in pieces
    conditions = frozenset([text] if is_about_others else pseudos)
    try:
        full = _parse(text)
    except SelectorSyntaxError:
        a, b, c = weight
        return Selector(
            matchable=bare, specificity=(a, b + len(pseudos), c), is_conditional=conditional, conditions=conditions
        )
    # A pseudo-element has no style attribute that could beat it.
    matchable = None if full.pseudo_element is not None else bare
    return Selector(
        matchable=matchable, specificity=full.specificity(), is_conditional=conditional, conditions=conditions
    )


def _parse(text: str) -> cssselect.Selector:
    found = cssselect.parse(text)
    if len(found) != 1:
        raise SelectorSyntaxError("a comma")
    return found[0]
