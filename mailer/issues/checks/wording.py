"""What a reader reads: subject, preview, both bodies, what must be in them and what was left over in them."""

import re
from collections.abc import Iterator
from typing import Final

from mailer.issues.checks.mail import Facts, Found, Mail, found, visible_text
from mailer.issues.findings import Code

MOST_SUBJECT: Final = 90
LEAST_ALIKE: Final = 0.6
FEWEST_WORDS: Final = 15
# "None" and "undefined" are words too: only where a value was to stand, before a comma or at the end of a line.
LEFT_OVER: Final = re.compile(
    r"\{\{|\{%|%7B%7B|%%[a-z_]+%%|\*\|[A-Z]|\[object Object\]|\ufffd|q[0-9a-f]{12}[a-z]+q"
    r"|(?<=[,:;] )(?:None|undefined|NaN)(?=[,.!;]|\s*$)|^(?:None|undefined)$",
    re.MULTILINE,
)
_REPLY: Final = re.compile(r"\s*(?:re|fwd?|tr|réf|aw|wg)\s*:", re.IGNORECASE)
_WORDS: Final = re.compile(r"\w{4,}")
_NO_WORD: Final = re.compile(r"\W+")


def check(mail: Mail, facts: Facts) -> Iterator[Found]:
    """Look at what is written."""
    yield from _subject(mail.subject)
    if facts.preview_text is not None and not facts.preview_text.strip():
        yield found(Code.PREVIEW_MISSING, "subject")
    seen = visible_text(mail)
    attributes = " \n".join(value for one in mail.elements() for value in map(str, one.attrib.values()))
    sender = str(mail.message.get("From", ""))
    for where, text in (
        ("subject", mail.subject),
        ("from", sender),
        ("html", seen),
        ("html", attributes),
        ("text", mail.text),
    ):
        if left := LEFT_OVER.search(text):
            yield found(Code.LEFT_OVER, where, found=text[left.start() : left.end() + 20])
    yield from _both_parts(mail, seen)
    if facts.is_bulk:
        yield from _obligations(mail, seen, facts)


def _subject(subject: str) -> Iterator[Found]:
    letters = [one for one in subject if one.isalpha()]
    if not subject.strip():
        yield found(Code.SUBJECT_EMPTY, "subject")
    if len(subject) > MOST_SUBJECT:
        yield found(Code.SUBJECT_LONG, "subject", count=len(subject))
    has_case = any(one.upper() != one.lower() for one in letters)
    if re.search(r"[!?]{2}|!.*!", subject) or (has_case and len(letters) > 8 and subject.upper() == subject):
        yield found(Code.SUBJECT_SHOUTS, "subject")
    if reply := _REPLY.match(subject):
        yield found(Code.SUBJECT_REPLY, "subject", found=reply[0].strip())


def _both_parts(mail: Mail, seen: str) -> Iterator[Found]:
    if not mail.text.strip():
        yield found(Code.TEXT_MISSING, "text")
        return
    html_words = set(_WORDS.findall(seen.lower()))
    share = len(html_words & set(_WORDS.findall(mail.text.lower()))) / max(1, len(html_words))
    if len(html_words) > FEWEST_WORDS and share < LEAST_ALIKE:
        yield found(Code.TEXT_DIFFERS, "text", percent=round(100 * share))


def _obligations(mail: Mail, seen: str, facts: Facts) -> Iterator[Found]:
    if facts.unsubscribe_url is not None:
        links = {one.get("href") for one in mail.elements("a")}
        if facts.unsubscribe_url not in links:
            yield found(Code.UNSUBSCRIBE_MISSING, "html")
        if mail.text.strip() and facts.unsubscribe_url not in mail.text:
            yield found(Code.UNSUBSCRIBE_MISSING, "text")
    wanted = _letters(facts.postal_address)
    if not wanted:
        yield found(Code.POSTAL_MISSING, "newsletter")
    for where, text in (("html", seen), ("text", mail.text)):
        if wanted not in _letters(text) and text.strip():
            yield found(Code.POSTAL_MISSING, where)


def _letters(text: str) -> str:
    return _NO_WORD.sub("", text.lower())
