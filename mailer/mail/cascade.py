"""Which declarations end up in a style attribute so that every element still looks as its rules say.

An attribute beats every rule of a style block that is not !important. So a rule that must stay in the block, because it
has a condition (@media, :hover), becomes !important where an attribute would now beat it, and whatever used to beat that
rule becomes !important in the attribute. What cannot be told apart in this way is refused.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cssutils

from mailer.mail.stylesheets import Declaration

# Style block and place in it, or None for a style attribute.
Source = tuple[int, int] | None


class Ambiguous(ValueError):
    """Two declarations cannot both keep their rank once one is inlined; the message names them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A declaration as one selector applies it.

    `rank` is specificity and place; a style attribute has none. `conditions` are what must hold besides the match:
    the at-rules around it and pseudo-classes.
    """

    declaration: Declaration
    selector: str
    source: Source
    rank: tuple[int, ...] = ()
    is_conditional: bool = False
    conditions: frozenset[str] = frozenset()

    @property
    def layer(self) -> int:
        """Block, attribute, !important in the block, !important in the attribute: the later ones win."""
        return 2 * self.declaration.important + (self.source is None)


def sort(uses: Iterable[Use]) -> list[Use]:
    """Put the uses that meet on one element, already in order of rank, into the order in which the last one wins."""
    return sorted(uses, key=lambda use: use.layer)


def promoted(elements: Sequence[Sequence[Use]]) -> frozenset[Source]:
    """Return the declarations of conditional rules that must become !important, given the sorted uses of every element."""
    found: set[Source] = set()
    mixed = [uses for uses in elements if any(use.is_conditional for use in uses)]
    grew = True
    while grew:
        before = len(found)
        for uses in mixed:
            for position, use in enumerate(uses):
                if use.is_conditional and not use.declaration.important and _is_beaten(use, position, uses, found):
                    found.add(use.source)
        grew = len(found) > before
    return frozenset(found)


def attribute(uses: Sequence[Use], promoted: frozenset[Source]) -> str:
    """Return the text of the style attribute for an element on which the sorted `uses` meet. Raises Ambiguous."""
    kept: list[tuple[str, str]] = []
    raised: list[Use] = []
    for position, use in enumerate(uses):
        if use.is_conditional:
            continue
        name, value = use.declaration.name, use.declaration.value
        rivals = raised + [other for other in uses[:position] if other.is_conditional and other.source in promoted]
        is_raised = _must_be_raised(use, rivals, uses[position + 1 :], promoted)
        raised += [use] if is_raised else []
        if _is_understood(name, value):
            # An older value is only a fallback for clients that do not understand the newer one.
            kept = [(other, text) for other, text in kept if other != name]
        flag = "!important" if is_raised or use.layer == 3 else ""
        kept.append((name, f"{name}:{value}{flag}"))
    for use in uses:
        if use.is_conditional and use.source in promoted:
            _refuse_if_overtaking(use, uses)
    return ";".join(text for _, text in kept)


def _must_be_raised(use: Use, rivals: Sequence[Use], after: Sequence[Use], promoted: frozenset[Source]) -> bool:
    """Tell whether an unconditional use has to be !important to keep beating its rivals, which are. Raises Ambiguous."""
    stronger = [
        other
        for other in after
        if other.is_conditional and (other.source in promoted or other.declaration.important) and _related(other, use)
    ]
    left = [
        other for other in rivals if _related(other, use) and not any(_covers(winner, other) for winner in stronger)
    ]
    if left and stronger and use.layer < 3:
        raise _ambiguous(left[0], stronger[0])
    return bool(left)


def _covers(winner: Use, loser: Use) -> bool:
    """Tell whether the winner holds, for all that the loser sets, whenever the loser holds."""
    sets_all = (loser.declaration.name + "-").startswith(winner.declaration.name + "-")
    return (
        sets_all
        and winner.conditions <= loser.conditions
        and _is_understood(winner.declaration.name, winner.declaration.value)
    )


def _is_beaten(use: Use, position: int, uses: Sequence[Use], found: set[Source]) -> bool:
    """Tell whether something that the use beats would beat it once inlined or promoted."""
    if any(other.is_conditional and other.declaration.important and _covers(other, use) for other in uses):
        return False
    weaker = uses[:position]
    return any(_related(other, use) and (not other.is_conditional or other.source in found) for other in weaker)


def _refuse_if_overtaking(use: Use, uses: Sequence[Use]) -> None:
    for other in uses:
        if other.is_conditional and other.declaration.important and _related(other, use) and use.rank > other.rank:
            raise _ambiguous(use, other)


def _ambiguous(one: Use, other: Use) -> Ambiguous:
    return Ambiguous(
        f"“{one.selector} {{{one.declaration.text}}}” and “{other.selector} {{{other.declaration.text}}}” cannot both "
        "keep their rank when styles are inlined: set the property in only one of them."
    )


def _related(one: Use, other: Use) -> bool:
    return _names_related(one.declaration.name, other.declaration.name)


@functools.lru_cache(maxsize=4096)
def _names_related(one: str, other: str) -> bool:
    if one == other or "all" in (one, other) or {one, other} == {"font", "line-height"}:
        return True
    if one.startswith(f"{other}-") or other.startswith(f"{one}-"):
        return True
    # border-top and border-color, margin-inline and margin-left share a longhand.
    family = one.partition("-")[0]
    return family in ("border", "margin", "padding") and family == other.partition("-")[0]


@functools.lru_cache(maxsize=4096)
def _is_understood(name: str, value: str) -> bool:
    return bool(cssutils.profile.validate(name, value))
