"""Who did not get a mail, and why, in words that follow no standard."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

_ADDRESS: Final = re.compile(
    r"(?<![\w.%+=&~-])(?P<address>\"[^\"\n]{1,64}\"@[\w.-]+|"
    r"[^\s<>()\[\]\",;:@'`]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z\w-]{2,63})",
    re.UNICODE,
)
# Lines that name the recipient after them.
_ANNOUNCES: Final = re.compile(
    r"following|recipient|address|undeliver|could ?n[o']t be (?:delivered|sent|completed)|did n[o']t reach|"
    r"not (?:be )?deliver|fail|unable to|unsuccessful|rejected|delivery to|non remis|destinataire|addressee|"
    r"was not|не (?:может|удалось|доставлен)|宛",
    re.IGNORECASE,
)
_NAMES_IT: Final = re.compile(
    r"(?:rcpt to|to|recipient|addressee|user unknown|unknown user|undeliverable to|delivery (?:to|failed to)|"
    r"addressed to|failed recipient|final-recipient|original-recipient|user|mailbox|"
    r"for)\b[^\w@\n]{0,12}(?:rfc822;)?[\s<:;'\"]*$",
    re.IGNORECASE,
)
_NOT_THIS_ONE: Final = re.compile(
    r"postmaster|contact|please|question|support|abuse|reply[- ]to|(?<!generated )\bfrom\b|sender|webmaster|help|"
    r"mailer-daemon|message-id|assistance|administrator|mailto:|http|in-reply-to|report|unsubscribe|"
    r"envelope-from|mail from|subject|queue id",
    re.IGNORECASE,
)
# What goes on after an address that stands by itself: a colon, a date, a bracket with the reason.
_SAYS_MORE: Final = re.compile(r"[\s>\])'\"]*(?:[(:;,\[]|\.\.\.|on [A-Z\d]|le \d|at \d)")
# "To: lea@example.org" in a summary of the mail that came back.
_OF_THE_ORIGINAL: Final = re.compile(
    r"\s*\*?\s*(?:to|cc|bcc|from|sender|reply-to|subject|de|an|von|à)\s*:\s", re.IGNORECASE
)
_OF_MACHINES: Final = (
    "mailer-daemon@",
    "postmaster@",
    "abuse@",
    "noreply@",
    "no-reply@",
    "support@",
    "helpdesk@",
    "hostmaster@",
)


@dataclass(frozen=True, kw_only=True)
class Named:
    """An address that a text says was not reached, and the words around it."""

    address: str
    words: str
    weight: int


def failed(prose: str, *, ours: Collection[str], theirs: Collection[str]) -> list[Named]:
    """List who was not reached by a server's words, best founded first; only the best founded ones.

    `ours` are addresses that can't be meant, in small letters: senders, the mailbox that the mail came to. `theirs` are
    ones that probably are: to whom the returned mail was addressed.
    """
    lines = prose.split("\n")
    found: dict[str, Named] = {}
    for index, line in enumerate(lines):
        for match in _ADDRESS.finditer(line):
            address = match["address"].strip(".'`-*").removeprefix("mailto:")
            key = address.lower()
            if key in ours or key.startswith(_OF_MACHINES):
                continue
            weight = _weight(lines, index, match) + (4 if key in theirs else 0)
            if key not in found or weight > found[key].weight:
                found[key] = Named(address=address, words=_around(lines, index), weight=weight)
    best = max((one.weight for one in found.values()), default=0)
    return [one for one in found.values() if best > 0 and one.weight >= max(best - 1, 1)]


def _weight(lines: list[str], index: int, match: re.Match[str]) -> int:
    line = lines[index]
    before, after = line[: match.start()], line[match.end() :]
    weight = 1
    starts = not before.strip(" \t<>*-:;|'\"([")
    ends = not after.strip(" \t<>:;,.*-|'\")]") or bool(_SAYS_MORE.match(after))
    if starts and ends:
        weight += 5
    elif starts or (ends and before.rstrip(" \t<'\"(").endswith(":")):
        weight += 3
    if _NAMES_IT.search(before):
        weight += 4
    if any(_ANNOUNCES.search(one) for one in lines[max(index - 5, 0) : index]):
        weight += 2
    if _ANNOUNCES.search(line):
        weight += 1
    if _NOT_THIS_ONE.search(before[-60:]):
        weight -= 6
    if _OF_THE_ORIGINAL.match(line):
        weight -= 8
    return weight


def _around(lines: list[str], index: int) -> str:
    """Return the words that go with an address: to the end of its paragraph, or the next one if there is no more."""
    passage = [lines[index].strip()]
    for line in lines[index + 1 : index + 12]:
        if not line.strip() and len(passage) > 1:
            break
        if _ADDRESS.match(line.strip(" <")) and line.strip().endswith(":"):
            break
        passage.append(line.strip())
    return " ".join(one for one in passage if one)
