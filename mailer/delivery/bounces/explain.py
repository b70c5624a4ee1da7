"""Explain a mail that came back: whom it is about, what it means for that address, and why."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import getaddresses
from typing import Final

from mailer.delivery.bounces import answers, parts, prose, reasons
from mailer.delivery.bounces.parts import Opened
from mailer.delivery.bounces.reasons import Kind, Reason

WORDS_LENGTH: Final = 400
# They say that it failed, and no more (RFC 3463 section 3).
_GENERAL: Final = (".0.0", ".3.0", ".5.0")
_VAGUE: Final = (None, Reason.FILTERED, Reason.SYSTEM)
_FROM_US: Final = ("from", "sender", "return-path", "reply-to", "errors-to", "x-sender", "list-post", "list-id")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What came back for one recipient. `status` is an enhanced status code (RFC 3463) or None; `words` the server's own."""

    recipient: str | None
    kind: Kind
    status: str | None
    reason: Reason
    words: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a mail that came back means. The first failure is the one that counts if only one can.

    `message_id` is that of the mail that came back, if it is told.
    """

    failures: tuple[Failure, ...]
    message_id: str | None

    @property
    def first(self) -> Failure:
        """The failure that counts if only one can."""
        return self.failures[0]


def explain(raw: bytes) -> Explanation:
    """Explain a raw mail. Never raises: what says nothing is "not a bounce"."""
    return explain_parts(parts.take_apart(raw))


def explain_reply(said: str) -> Failure:
    """Explain what a server said when it refused a mail that it was given, such as "550 5.1.1 no such user"."""
    status, reply = _status(said), reasons.reply_code(said)
    reason = reasons.of_words(said) or Reason.UNKNOWN
    if reason in (*_VAGUE, Reason.UNKNOWN):
        reason = reasons.of_status(status) or reason
    if status is None and reply:
        status = f"{reply[0]}.0.0"
    words = " ".join(said.split())[:WORDS_LENGTH]
    return Failure(recipient=None, kind=reasons.kind(reason, status), status=status, reason=reason, words=words)


def explain_parts(mail: Opened) -> Explanation:
    """Explain a mail that is taken apart already."""
    harmless = answers.not_a_failure(mail)
    failures = [_harmless(mail, harmless)] if harmless else list(_reported(mail)) or list(_told(mail))
    return Explanation(failures=tuple(failures), message_id=_message_id(mail))


def _reported(mail: Opened) -> Iterator[Failure]:
    """Read the failures of a standard report (RFC 3464)."""
    meant = _addressed(mail)
    for group in mail.report:
        action = group.get("action", "failed").split(" ")[0].lower()
        if "final-recipient" not in group and "original-recipient" not in group:
            continue
        if action in ("delayed", "delivered", "relayed", "expanded"):
            continue
        final, original = _typed(group.get("final-recipient", "")), _typed(group.get("original-recipient", ""))
        # Whom we wrote to, if the mail was forwarded.
        recipient = original if original and (original.lower() in meant or not _is_address(final)) else final
        if not _is_address(recipient):
            recipient = next(iter(meant.values()), recipient) if len(meant) == 1 else recipient
        said = " ".join(filter(None, (group.get("diagnostic-code", ""), group.get("x-original-diagnostic", ""))))
        said = re.sub(r"^\s*[\w-]{1,20}\s*;\s*", "", said)
        yield _judged(recipient or None, said, mail, status=_status(group.get("status", "")))


def _told(mail: Opened) -> Iterator[Failure]:
    """Read the failures that are told in words."""
    meant = _addressed(mail)
    listed = [value for _, value in getaddresses([mail.headers.get("x-failed-recipients", "")]) if _is_address(value)]
    named = {one.address.lower(): one for one in prose.failed(mail.prose, ours=_ours(mail, meant), theirs=set(meant))}
    chosen: list[tuple[str | None, str]]
    if listed:
        chosen = [(one, named[one.lower()].words if one.lower() in named else mail.prose) for one in listed]
    elif named:
        chosen = [(one.address, one.words) for one in named.values()]
    else:
        chosen = [(next(iter(meant.values()), None) if len(meant) == 1 else None, mail.prose)]
    for address, words in chosen:
        yield _judged(address, words, mail, status=None)


def _judged(recipient: str | None, said: str, mail: Opened, *, status: str | None) -> Failure:
    """Judge by the words about this recipient, then by the codes, then by all words of the mail."""
    spoken = _status(said)
    # A relay's general status is worth less than the server's own.
    if spoken and (status is None or status.endswith(_GENERAL) or status[0] == spoken[0]):
        status = spoken
    reply = reasons.reply_code(said)
    reason = reasons.of_words(_without(recipient, said))
    if reason in _VAGUE and recipient and status is not None:
        # The report may hold less than the words beside it: who refused, and whether before the mail was seen.
        exact = reasons.of_words(_beside(recipient, mail))
        reason = reason if exact in _VAGUE else exact
    if reason in _VAGUE:
        reason = reasons.of_status(status) or reason
    if reason is None:
        whole = f"{mail.headers.get('subject', '')}\n{mail.prose[:6000]}"
        status = status or _status(whole)
        reason = reasons.of_words(_without(recipient, whole)) or reasons.of_status(status) or Reason.UNKNOWN
    if status is None and reply:
        status = f"{reply[0]}.0.0"
    words = " ".join(said.split())[:WORDS_LENGTH]
    return Failure(recipient=recipient, kind=reasons.kind(reason, status), status=status, reason=reason, words=words)


def _beside(recipient: str, mail: Opened) -> str:
    """Return what the words of the mail say of a recipient."""
    named = prose.failed(mail.prose, ours=(), theirs=(recipient.lower(),))
    return _without(recipient, next((one.words for one in named if one.address.lower() == recipient.lower()), ""))


def _without(recipient: str | None, words: str) -> str:
    """Take the address out of the words: spam@example.org is no spam."""
    return words.replace(recipient, " ") if recipient else words


def _harmless(mail: Opened, reason: Reason) -> Failure:
    recipient = None
    if reason == Reason.COMPLAINT:
        told = mail.feedback.get("original-rcpt-to") or mail.original.get("x-hmxmroriginalrecipient", "")
        recipient = told.strip("<> ") or next(iter(_addressed(mail).values()), None)
    elif reason in (Reason.DELAYED, Reason.DELIVERED):
        reported = [_typed(group["final-recipient"]) for group in mail.report if "final-recipient" in group]
        recipient = reported[0] if reported else next(_told(mail)).recipient
    elif reason == Reason.AUTO_REPLY:
        senders = getaddresses([mail.headers.get("from", "")])
        recipient = next((address for _, address in senders if _is_address(address)), None)
    words = " ".join(mail.headers.get("subject", "").split())[:WORDS_LENGTH]
    return Failure(recipient=recipient, kind=Kind.NOT_A_BOUNCE, status=None, reason=reason, words=words)


def _addressed(mail: Opened) -> dict[str, str]:
    """Return to whom the returned mail was addressed, by the address in small letters."""
    named = [
        mail.original.get(name, "")
        for name in ("to", "x-rcpt-to", "x-original-to", "delivered-to", "envelope-to", "cc")
    ]
    return {address.lower(): address for _, address in getaddresses(named) if _is_address(address)}


def _ours(mail: Opened, meant: dict[str, str]) -> set[str]:
    """Return who can't be the one that was not reached: the returned mail's senders, and both ends of this one."""
    senders = [mail.original.get(name, "") for name in _FROM_US]
    ends = [
        mail.headers.get(name, "")
        for name in ("to", "delivered-to", "x-original-to", "from", "return-path", "reply-to", "cc")
    ]
    found = {address.lower() for _, address in getaddresses([*senders, *ends]) if "@" in address}
    return found - set(meant)


def _message_id(mail: Opened) -> str | None:
    told = mail.original.get("message-id") or re.sub(r"\s.*", "", mail.headers.get("in-reply-to", ""))
    found = re.search(r"<[^<>\s]{1,250}>", told)
    return found.group(0) if found else None


def _typed(value: str) -> str:
    """Return the address of "rfc822; lea@example.org"."""
    address = re.sub(r"^\s*[\w-]+\s*;\s*", "", value).strip().strip("<>").strip()
    found = re.search(r"[^\s<>]+@[^\s<>]+", address)
    return found.group(0) if found else address


def _status(text: str) -> str | None:
    found = reasons.STATUS.search(text)
    return None if found is None or found.group(1).startswith("2") else found.group(1)


def _is_address(value: str) -> bool:
    return re.fullmatch(r"[^\s<>@]+@[^\s<>@]+\.[^\s<>@]+", value) is not None
