"""The proof after a run: the ledger's word on each recipient beside the SMTP server's own log."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.sinks import Taken
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import issues
from mailer.models.content import IssueState
from mailer.models.deliveries import Outcome

_NO_MAIL_EXPECTED = (Outcome.UNCERTAIN, Outcome.REFUSED, Outcome.SKIPPED)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the comparison found."""

    lost: int  # neither taken by the server nor uncertain, refused or skipped in the ledger
    doubled: int  # taken more than once
    ghosts: int  # accepted says the ledger, but the server has not seen them
    unrecorded: int  # taken, but neither accepted nor uncertain says the ledger
    uncertain: int
    equation: str
    state: IssueState
    holds: bool
    longest_pause_seconds: float

    @property
    def is_flawless(self) -> bool:
        """Tell whether everybody got one mail at most, and the ledger says of everybody what is true."""
        wrong = self.lost + self.doubled + self.ghosts + self.unrecorded
        return wrong == 0 and self.holds and self.state == IssueState.SENT


def compare(issue_id: int, taken: Sequence[Taken]) -> Proof:
    """Compare the ledger of an issue with all that the server took. Talks to the database."""
    with transaction() as session:
        state = issues.get(session, issue_id).state
        found = ledger.count_ledger(session, issue_id)
        counted = ledger.equation(session, issue_id)
        lines = ledger.log(session, issue_id, outcome=None, after_id=0, limit=found.recipients + 1)
    copies = Counter(one.recipient for one in taken)
    outcomes = {line.address or "": line.outcome for line in lines}
    arrived = {address for address in outcomes if address in copies}
    claimed = {address for address, outcome in outcomes.items() if outcome == Outcome.ACCEPTED}
    return Proof(
        lost=sum(1 for one, outcome in outcomes.items() if one not in arrived and outcome not in _NO_MAIL_EXPECTED),
        doubled=sum(1 for copy in copies.values() if copy > 1),
        ghosts=len(claimed - arrived),
        unrecorded=sum(1 for one in copies if outcomes.get(one) not in (Outcome.ACCEPTED, Outcome.UNCERTAIN)),
        uncertain=found.uncertain,
        equation=f"{found.recipients} = {found.accepted} + {found.refused} + {found.skipped} + {found.uncertain}",
        state=state,
        holds=found.holds and found == counted,
        longest_pause_seconds=round(max((b.at - a.at for a, b in pairwise(taken)), default=0.0), 1),
    )
