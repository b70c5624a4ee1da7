"""What can't move is handed back, and what is stuck is taken out of the way, so that the rest goes on.

RFC 5321 4.5.3.2 lets a server think for minutes, and it gets them; but not on all connections at once.
"""

import collections
from typing import TYPE_CHECKING, Final

from mailer.delivery.transports.connection import Connection
from mailer.delivery.transports.lanes import Lane, domain_of
from mailer.delivery.transports.pool import SHORT_WAIT, Pool, Trouble

if TYPE_CHECKING:
    from mailer.delivery.transports.dispatcher import Dispatcher

HANDED_BACK_SECONDS: Final = 60.0
ASIDE_SECONDS: Final = 60.0
# How many messages of a limited lane are kept at hand: as many as leave in this time.
AT_HAND_SECONDS: Final = 5.0
AT_HAND: Final = 20
# Messages per second taken for granted where no limit says how many.
UNKNOWN_RATE: Final = 20.0


def free_connections(dispatcher: "Dispatcher", now: float) -> None:
    """Look for connections whose server has not answered for long, and free them where something else could use them.

    Only those whose content has not left: closing the others would make their message uncertain.
    """
    for pool in dispatcher.pools:
        busy = [one for one in pool.connections if not one.is_idle]
        stuck = [one for one in busy if now - one.since > dispatcher.slow_seconds]
        never_opened = pool.opening and not pool.connections and now - pool.opening_since > dispatcher.slow_seconds
        pool.is_silent = bool(never_opened) or (bool(busy) and len(stuck) == len(busy))
        if stuck or never_opened:
            _free(dispatcher, pool, stuck)


def _free(dispatcher: "Dispatcher", pool: Pool, stuck: list[Connection]) -> None:
    domains = collections.Counter(_domain(one) for one in stuck)
    worst = max(domains.values(), default=0)
    if pool.is_silent and any(
        other.is_able() and not other.is_silent for other in dispatcher.pools if other is not pool
    ):
        pool.set_aside(Trouble(code="server_slow", words=f"{pool.route} does not answer"), ASIDE_SECONDS)
        _close(stuck, keep=0)
        return
    if pool.is_silent and (len(domains) != 1 or len(stuck) == 1):
        # The server itself, as far as we can tell; it has its minutes.
        dispatcher.note(
            Trouble(code="server_slow", words=f"{pool.route} has not answered for {dispatcher.slow_seconds:.0f} s")
        )
        if worst <= len(stuck) / 2 or len(stuck) == 1:
            return
    for domain, count in domains.items():
        if count == worst or not pool.is_silent:
            dispatcher.single_out(domain, most_in_flight=1)
            _close([one for one in stuck if _domain(one) == domain], keep=1)


def _close(stuck: list[Connection], *, keep: int) -> None:
    unsent = [one for one in stuck if one.handed is None]
    for connection in unsent[max(0, keep - (len(stuck) - len(unsent))) :]:
        connection.close("no reply for long")


def _domain(connection: Connection) -> str:
    message = connection.handed or connection.envelope
    return domain_of(message.recipient) if message is not None else ""


def hold_what_cannot_move(dispatcher: "Dispatcher", now: float) -> None:
    """Hand back messages that can't leave within seconds, so that their batch is not held up by them."""
    for lane in list(dispatcher.lanes):
        if not lane:
            continue
        if not lane.active:
            seconds, trouble = _why_no_route(lane, now)
        elif lane.allowance is not None and lane.allowance.wait_seconds() > SHORT_WAIT:
            seconds = lane.allowance.wait_seconds()
            trouble = Trouble(code="quota_reached", words=f"the limit for {lane.name} is reached")
        elif now - lane.moved_at > 2 * dispatcher.slow_seconds and not any(
            pool.allowance.wait_seconds() for pool in lane.active
        ):
            words = f"no answer for {dispatcher.slow_seconds:.0f} s" + (f" about {lane.name}" if lane.name else "")
            seconds, trouble = HANDED_BACK_SECONDS, Trouble(code="server_slow", words=words)
        else:
            _trim(dispatcher, lane, now)
            continue
        for message in lane.drain():
            dispatcher.listener.held(message.key, seconds, trouble)


def _why_no_route(lane: Lane, now: float) -> tuple[float, Trouble]:
    waits = []
    for pool in lane.tiers:
        if pool.closed_until > now:
            waits.append((pool.closed_until - now, pool.trouble))
        else:
            words = f"{pool.transport.name} has reached its limit"
            waits.append((pool.allowance.wait_seconds(), Trouble(code="quota_reached", words=words)))
    # An operator is asked to act only if no route will come back by itself.
    by_itself = [one for one in waits if one[1] is not None and not one[1].is_ours]
    seconds, trouble = min(by_itself or waits, key=lambda one: one[0])
    return max(1.0, seconds), trouble or Trouble(code="server_unreachable", words="no route")


def _trim(dispatcher: "Dispatcher", lane: Lane, now: float) -> None:
    """Keep of a limited lane what can leave soon; the rest comes back when its turn may be, one after the other."""
    if lane.is_free():
        return
    per_second = (lane.limits.per_second if lane.limits else None) or UNKNOWN_RATE
    keep = max(AT_HAND, int(AT_HAND_SECONDS * per_second))
    while len(lane.normal) > keep:
        lane.booked_until = max(lane.booked_until, now + AT_HAND_SECONDS) + 1 / per_second
        dispatcher.listener.held(lane.normal.pop().key, lane.booked_until - now, None)
