"""What one attempt to hand a message over came to."""

import enum
from dataclasses import dataclass
from typing import Final

from mailer.delivery.transports.replies import Reply

# Where in the conversation a reply was given.
MAIL: Final = "MAIL"
RCPT: Final = "RCPT"
DATA: Final = "DATA"
CONTENT: Final = "CONTENT"
# Not a stage: the server said in EHLO that it takes no message of this size.
SIZE: Final = "SIZE"


class Verdict(enum.StrEnum):
    """ACCEPTED, DEFERRED (try again), REFUSED (never), or UNCERTAIN: no answer came after the final dot (RFC 1047).

    BLOCKED is a refusal of us and not of the recipient: it says nothing about the address.
    """

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The verdict on one message, the server's words or ours, and where in the conversation it fell ("" for ours)."""

    verdict: Verdict
    reply: str
    stage: str = ""


def judge(reply: Reply, stage: str) -> Verdict:
    """Sort a reply by its first digit (RFC 5321 4.2.1), and a permanent refusal by whom it is about.

    A 5yz to MAIL is about the sender, and x.7.y about policy (RFC 3463 3.8): both are ours to mend. A 552 to RCPT means
    too many recipients for now (RFC 5321 4.5.3.1.10).
    """
    if reply.code // 100 == 2:
        return Verdict.ACCEPTED
    if reply.code // 100 != 5:
        return Verdict.DEFERRED
    if stage == MAIL or reply.enhanced.startswith("5.7."):
        return Verdict.BLOCKED
    if stage == RCPT and reply.code == 552 and reply.enhanced in ("", "5.5.3"):
        return Verdict.DEFERRED
    return Verdict.REFUSED
