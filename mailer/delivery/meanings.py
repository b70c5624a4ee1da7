"""What servers say while an issue is sent, in plain words: what a reply means, and what was done about it. English sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mailer.delivery.bounces import reasons
from mailer.delivery.bounces.reasons import Reason
from mailer.models.deliveries import Outcome

DEFERRED: Final = "deferred"
MEANINGS: Final = {
    Reason.USER_UNKNOWN: "The address does not exist.",
    Reason.HOST_UNKNOWN: "Nobody takes mail for this domain.",
    Reason.MOVED: "The reader has another address now.",
    Reason.DISABLED: "The mailbox is closed.",
    Reason.MAILBOX_FULL: "The mailbox is full.",
    Reason.TOO_BIG: "The mail is too big for this server.",
    Reason.EXPIRED: "A server behind it gave up trying.",
    Reason.NETWORK: "A server behind it can’t be reached.",
    Reason.SYSTEM: "The server has a problem of its own.",
    Reason.FILTERED: "A filter of the server’s did not let the mail through.",
    Reason.BLOCKED: "Our server is on a list of senders to be refused.",
    Reason.SPAM: "The server takes the mail for spam.",
    Reason.VIRUS: "The server thinks that the mail does harm.",
    Reason.AUTHENTICATION: "SPF, DKIM or DMARC does not vouch for the sender.",
    Reason.POLICY: "The server’s rules forbid it.",
    Reason.RELAYING: "The server does not pass mail on for us.",
    Reason.TOO_FAST: "The server asks us to send more slowly.",
    Reason.SENDER: "The server does not accept our sender address.",
}
UNKNOWN: Final = "The server does not say why."
NO_ANSWER: Final = "The connection broke before the answer came."
DEEDS: Final = {
    Outcome.REFUSED.value: "Not tried again in this issue.",
    DEFERRED: "Tried again by itself, less and less often.",
    Outcome.UNCERTAIN.value: "Left as it is: you decide below.",
}
SLOWED: Final = "We send more slowly and try again by itself."


@dataclass(frozen=True, kw_only=True)
class Said:
    """One kind of reply: `words` as one server put it, how often it came, what it means and what was done."""

    outcome: str
    words: str
    count: int
    meaning: str
    deed: str


def explain(replies: Mapping[str, int]) -> list[Said]:
    """Gather replies (as tallies.Sums has them) by code and cause, the most frequent first; what was skipped is no reply."""
    gathered: dict[tuple[str, str, Reason | None], list[tuple[int, str]]] = {}
    for said, count in replies.items():
        outcome, _, words = said.partition(" ")
        if outcome in DEEDS:
            gathered.setdefault((outcome, _code(words), _reason(words)), []).append((count, words))
    explained = [_said(outcome, reason, found) for (outcome, _, reason), found in gathered.items()]
    return sorted(explained, key=lambda one: (-one.count, one.words))


def _said(outcome: str, reason: Reason | None, found: list[tuple[int, str]]) -> Said:
    meaning = NO_ANSWER if outcome == Outcome.UNCERTAIN else MEANINGS.get(reason or Reason.UNKNOWN, UNKNOWN)
    is_slowed = outcome == DEFERRED and reason is Reason.TOO_FAST
    return Said(
        outcome=outcome,
        words=max(found)[1],
        count=sum(count for count, _ in found),
        meaning=meaning,
        deed=SLOWED if is_slowed else DEEDS[outcome],
    )


def _code(words: str) -> str:
    status = reasons.STATUS.search(words)
    return f"{reasons.reply_code(words) or ''} {status[1] if status else ''}"


def _reason(words: str) -> Reason | None:
    status = reasons.STATUS.search(words)
    return reasons.of_words(words) or reasons.of_status(status[1] if status else None)
