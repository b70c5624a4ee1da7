"""Messages that wait, in lanes: one for most, and one for each provider that has limits, a route, or trouble of its own.

A lane that can't move stalls no other.
"""

import collections
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailer.delivery.transports.allowance import Allowance
from mailer.delivery.transports.outgoing import Outgoing
from mailer.mail_settings import DomainLimits

if TYPE_CHECKING:
    from mailer.delivery.transports.pool import Pool

# How far, in messages for a share of 1, a transport may run ahead of another that shares a lane with it.
SHARE_SLACK: Final = 10
MANY: Final = 1_000_000


def domain_of(address: str) -> str:
    """Return the part after the last @, in lower case."""
    return address.rpartition("@")[2].lower()


@dataclass(kw_only=True, eq=False)
class Lane:
    """Messages that share a fate. `tiers` are the routes it may take, best first; `active` those that serve it now."""

    name: str
    tiers: dict["Pool", tuple[bool, int]]
    allowance: Allowance | None = None
    limits: DomainLimits | None = None
    most_in_flight: int = MANY
    in_flight: int = 0
    moved_at: float = field(default_factory=time.monotonic)
    booked_until: float = 0.0
    urgent: collections.deque[Outgoing] = field(default_factory=collections.deque)
    normal: collections.deque[Outgoing] = field(default_factory=collections.deque)
    active: tuple["Pool", ...] = ()
    taken: dict["Pool", int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.urgent) + len(self.normal)

    def may_move(self) -> bool:
        """Tell whether the lane's own limits let one more go now."""
        return self.in_flight < self.most_in_flight and (self.allowance is None or self.allowance.ready())

    def is_free(self) -> bool:
        """Tell whether nothing but connections holds the lane up."""
        return bool(self.active) and self.most_in_flight == MANY and self.allowance is None

    def is_served_by(self, pool: "Pool") -> bool:
        """Tell whether `pool` is one of those in use and not ahead of its share."""
        if len(self.active) == 1:
            return self.active[0] is pool
        if pool not in self.active:
            return False
        behind = [self.taken[one] / one.share for one in self.active if one is not pool and one.can_send()]
        return not behind or self.taken[pool] / pool.share <= min(behind) + SHARE_SLACK

    def choose_pools(self) -> None:
        """Find the routes in use: of the first tier in which one is able, all that are able."""
        able = [pool for pool in self.tiers if pool.is_able()]
        chosen = tuple(pool for pool in able if self.tiers[pool] == self.tiers[able[0]])
        if chosen != self.active:
            self.active, self.taken = chosen, dict.fromkeys(chosen, 0)

    def pop(self, pool: "Pool", *, urgent: bool) -> Outgoing:
        """Take the next message for `pool`. Only when there is one."""
        message = self.urgent.popleft() if urgent else self.normal.popleft()
        self.in_flight += 1
        self.taken[pool] = self.taken.get(pool, 0) + 1
        if self.allowance is not None:
            self.allowance.use()
        return message

    def drain(self) -> Iterator[Outgoing]:
        """Take everything out, to be handed back."""
        for queue in (self.urgent, self.normal):
            while queue:
                yield queue.popleft()
