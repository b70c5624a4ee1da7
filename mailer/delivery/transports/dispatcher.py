"""One loop over all routes and all messages of a worker process: the right route, at the right rate, nobody in the way.

It is given messages, and tells its listener about each exactly once: its verdict, or that it did not leave and is handed
back. For one thread; not shared over a fork.
"""

import collections
import os
import selectors
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

from mailer import clock
from mailer.delivery.rates import Rates, RatesUnavailable, warm_up
from mailer.delivery.transports import stalls
from mailer.delivery.transports.allowance import Allowance
from mailer.delivery.transports.connection import Connection
from mailer.delivery.transports.lanes import Lane, domain_of
from mailer.delivery.transports.outgoing import Outgoing
from mailer.delivery.transports.pool import Opening, Pool, Trouble, matches
from mailer.delivery.transports.route import route_from_transport
from mailer.delivery.transports.verdicts import Result, Verdict
from mailer.mail_settings import DomainLimits, Limits, Transport

TEND_SECONDS: Final = 0.1
SEATS_SECONDS: Final = 4.0
IDLE_SECONDS: Final = 30.0
# A message that broke this many connections before its dot is deferred like one that the server put off.
MAX_TRIES: Final = 3
# A server that has not answered for this long is not waited for with everything.
SLOW_SECONDS: Final = 10.0
# Domains whose lane is remembered.
MOST_DOMAINS: Final = 20_000
# Longer between two turns, and the loop was kept from looking: by the database, or stopped as a process.
ABSENT_SECONDS: Final = 1.0
# Messages at hand: as many as leave in this time, so that little is claimed that has not begun.
AT_HAND_SECONDS: Final = 0.25
DEFERRALS_THAT_SLOW: Final = 5


class Listener(Protocol):
    """Who hears what becomes of messages."""

    def handed(self, key: int) -> None:
        """Hear that a message's content is about to leave."""

    def settled(self, key: int, result: Result) -> None:
        """Hear the verdict."""

    def held(self, key: int, seconds: float, trouble: Trouble | None) -> None:
        """Hear that a message did not leave, and in how many seconds it is worth another try."""


class Dispatcher:
    """All routes of one process, and the messages that wait for them."""

    def __init__(
        self,
        transports: Sequence[Transport],
        domains: Sequence[DomainLimits],
        *,
        helo_name: str,
        timeout_seconds: float,
        rates: Rates,
        listener: Listener,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Make the routes; connections are opened when there are messages. `slow_seconds`: see stalls."""
        self.listener, self.rates, self.slow_seconds = listener, rates, slow_seconds
        self.opened = Opening()
        self.troubles: dict[str, Trouble] = {}
        self._domains = domains
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.opened.wakes, selectors.EVENT_READ, None)
        self.pools = [
            Pool(
                transport=one,
                route=route_from_transport(one, helo_name=helo_name, timeout_seconds=timeout_seconds),
                allowance=Allowance(f"transport:{one.name}", _limits_today(one), rates),
                dispatcher=self,
            )
            for one in transports
        ]
        self._watched: set[Connection] = set()
        self.lanes: collections.deque[Lane] = collections.deque()
        self.common = self._new_lane("", None)
        self._special: dict[str, Lane] = {}
        self._lane_of: dict[int, Lane] = {}
        self._tries: collections.Counter[int] = collections.Counter()
        self._deferrals: collections.Counter[str] = collections.Counter()
        self._has_special = bool(domains) or any(one.domains for one in transports)
        self._turned_at = time.monotonic()
        self._count = self._per_second = 0
        self._tended_at = self._looked_at = self._seated_at = 0.0
        self._holder = f"{os.uname().nodename}.{os.getpid()}"
        self.is_stopped = False

    def add(self, messages: Iterable[Outgoing], *, urgent: bool = False) -> None:
        """Queue messages; urgent ones overtake all others."""
        for message in messages:
            lane = self._lane_for(domain_of(message.recipient)) if self._has_special else self.common
            if not lane:
                lane.moved_at = time.monotonic()
            (lane.urgent if urgent else lane.normal).append(message)
        self._tended_at = 0.0

    def count_waiting(self) -> int:
        """Count the messages that no connection has taken."""
        return sum(map(len, self.lanes))

    def count_under_way(self) -> int:
        """Count the messages that a connection has taken and that have no verdict."""
        return len(self._lane_of)

    def is_usable(self) -> bool:
        """Tell whether any route serves, as far as we know."""
        return any(pool.is_able() and not pool.is_silent for pool in self.pools)

    def wants_more(self) -> bool:
        """Tell whether the connections could soon run out of messages."""
        ready = sum(len(lane) for lane in self.lanes if lane.is_free())
        connections = sum(min(pool.route.connections, int(pool.window)) for pool in self.pools)
        return ready < max(2 * connections, int(AT_HAND_SECONDS * self._per_second))

    def turn(self, seconds: float) -> None:
        """Do what can be done now; wait at most `seconds` for something to do."""
        for key, events in self._selector.select(timeout=min(seconds, TEND_SECONDS)):
            connection: Connection | None = key.data
            if connection is None:
                self.opened.adopt_all()
                continue
            if events & selectors.EVENT_WRITE and connection.is_open:
                connection.writable()
            if events & selectors.EVENT_READ and connection.is_open:
                connection.readable()
        self._tend()

    def withdraw(self, keys: Collection[int]) -> set[int]:
        """Take back messages that wait; return those that did. The listener hears nothing about them."""
        found: set[int] = set()
        for lane in self.lanes if keys else ():
            for waiting in (lane.urgent, lane.normal):
                kept = [message for message in waiting if message.key not in keys]
                if len(kept) < len(waiting):
                    found |= {message.key for message in waiting if message.key in keys}
                    waiting.clear()
                    waiting.extend(kept)
        return found

    def drop(self, keys: Collection[int]) -> None:
        """Have nothing more to do with messages, also those whose envelope is under way."""
        for pool in self.pools:
            for connection in list(pool.connections):
                if connection.envelope is not None and connection.envelope.key in keys:
                    connection.close("no longer ours")
        self.withdraw(keys)

    def hand_back(self, *, seconds: float = 0.0) -> None:
        """Hand back everything that waits."""
        for lane in list(self.lanes):
            for message in lane.drain():
                self.listener.held(message.key, seconds, None)

    def break_off(self, *, after_seconds: float, content_too: bool) -> None:
        """Close connections that have waited this long for a reply; with `content_too` also after the final dot."""
        now = time.monotonic()
        for pool in self.pools:
            for connection in list(pool.connections):
                if connection.is_idle or now - connection.since < after_seconds:
                    continue
                if content_too or connection.handed is None:
                    connection.close("broken off by us")

    def rest(self) -> None:
        """End a round of sending: return what was taken from the rates and not used. Connections stay open."""
        for pool in self.pools:
            pool.allowance.give_back()
        for lane in self.lanes:
            if lane.allowance is not None:
                lane.allowance.give_back()

    def close(self) -> None:
        """Close every connection."""
        for pool in self.pools:
            pool.close()
        self._selector.close()
        self.opened.close()

    # What pools and connections ask and tell.

    def take(self, pool: Pool) -> Outgoing | None:
        """Give a connection of `pool` its next message, if one may leave now."""
        if self.is_stopped:
            return None
        for urgent in (True, False):
            for lane in self.lanes:
                if not (lane.urgent if urgent else lane.normal):
                    continue
                if lane.is_served_by(pool) and lane.may_move():
                    if not pool.allowance.ready():
                        return None
                    pool.allowance.use()
                    message = lane.pop(pool, urgent=urgent)
                    self._lane_of[message.key] = lane
                    if len(self.lanes) > 1:
                        self.lanes.rotate(-1)
                    return message
        return None

    def answered(self, message: Outgoing, result: Result) -> None:
        """Hear a verdict from a connection."""
        lane = self._lane_of.pop(message.key)
        lane.in_flight -= 1
        self._count += 1
        if self._tries:
            self._tries.pop(message.key, None)
        if result.verdict is not Verdict.UNCERTAIN:
            lane.moved_at = time.monotonic()
        if result.verdict is Verdict.DEFERRED and result.reply[4:6] not in ("4.1", "4.2"):
            self._deferrals[domain_of(message.recipient)] += 1
        self.listener.settled(message.key, result)

    def again(self, pool: Pool, message: Outgoing, reason: str) -> None:
        """Take back a message whose connection was lost before its content left."""
        lane = self._lane_of.pop(message.key)
        lane.in_flight -= 1
        self._tries[message.key] += 1
        if self._tries[message.key] >= MAX_TRIES:
            del self._tries[message.key]
            words = f"{pool.route} broke off {MAX_TRIES} times: {reason}"
            self.listener.settled(message.key, Result(verdict=Verdict.DEFERRED, reply=words))
        else:
            back = self._lane_for(domain_of(message.recipient)) if self._has_special else self.common
            back.urgent.appendleft(message)

    def note(self, trouble: Trouble) -> None:
        """Remember a trouble to be shown."""
        self.troubles[trouble.code] = trouble

    def watch(self, connection: Connection, *, write: bool = False) -> None:
        """Have the loop look after a connection's socket."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        if connection in self._watched:
            self._selector.modify(connection.sock, events, connection)
        else:
            self._watched.add(connection)
            self._selector.register(connection.sock, events, connection)

    def unwatch(self, connection: Connection) -> None:
        """Forget a connection."""
        if connection in self._watched:
            self._watched.discard(connection)
            self._selector.unregister(connection.sock)

    # Lanes.

    def single_out(self, domain: str, *, most_in_flight: int | None = None) -> Lane:
        """Give a domain in trouble a lane of its own, with what waits for it."""
        lane = self._special.get(domain, self.common)
        if lane is self.common:
            self._has_special = True
            lane = self._special[domain] = self._new_lane(domain, Allowance(f"domain:{domain}", Limits(), self.rates))
            for old, new in ((self.common.urgent, lane.urgent), (self.common.normal, lane.normal)):
                waiting = list(old)
                old.clear()
                for message in waiting:
                    (new if domain_of(message.recipient) == domain else old).append(message)
            self._count_under_way(lane, domain)
        if most_in_flight is not None:
            lane.most_in_flight = min(lane.most_in_flight, most_in_flight)
        return lane

    def _count_under_way(self, lane: Lane, domain: str) -> None:
        for connection in [one for pool in self.pools for one in pool.connections]:
            for message in (connection.handed, connection.envelope):
                if message is not None and domain_of(message.recipient) == domain:
                    self._lane_of[message.key].in_flight -= 1
                    self._lane_of[message.key] = lane
                    lane.in_flight += 1

    def _lane_for(self, domain: str) -> Lane:
        """Return the lane that recipients of a domain wait in."""
        lane = self._special.get(domain)
        if lane is None:
            if len(self._special) >= MOST_DOMAINS:
                self._special = {name: one for name, one in self._special.items() if one is not self.common}
            lane = self._special[domain] = self._find_lane(domain)
        return lane

    def _find_lane(self, domain: str) -> Lane:
        limits = next((one for one in self._domains if any(matches(name, domain) for name in one.names)), None)
        tiers = self._tiers(domain)
        if limits is None and tiers == self.common.tiers:
            return self.common
        name = limits.names[0] if limits else domain
        for lane in self.lanes:
            if lane.limits is limits and lane.tiers == tiers and lane is not self.common:
                return lane
        lane = self._new_lane(domain, Allowance(f"domain:{name}", limits, self.rates) if limits else None)
        lane.limits = limits
        return lane

    def _new_lane(self, domain: str, allowance: Allowance | None) -> Lane:
        lane = Lane(name=domain, tiers=self._tiers(domain), allowance=allowance)
        lane.choose_pools()
        self.lanes.append(lane)
        return lane

    def _tiers(self, domain: str) -> dict[Pool, tuple[bool, int]]:
        tiers = {pool: pool.tier() for pool in self.pools if pool.serves(domain)}
        return dict(sorted(tiers.items(), key=lambda one: one[1]))

    # What is looked after ten times a second.

    def _tend(self) -> None:
        now = time.monotonic()
        self._forgive(now)
        if now - self._tended_at < TEND_SECONDS:
            return
        self._tended_at = now
        if now - self._looked_at > 1:
            self._per_second, self._count = int(self._count / (now - self._looked_at)), 0
            self._looked_at = now
            stalls.free_connections(self, now)
            self._slow_domains()
            self._end_idle(now)
        if now - self._seated_at > SEATS_SECONDS:
            self._seated_at = now
            self._take_seats()
        for lane in self.lanes:
            lane.choose_pools()
        stalls.hold_what_cannot_move(self, now)
        self._feed(now)

    def _forgive(self, now: float) -> None:
        """Not hold against the servers the time in which we did not look at them, or were stopped."""
        away, self._turned_at = now - self._turned_at, now
        if away > ABSENT_SECONDS:
            for connection in [one for pool in self.pools for one in pool.connections if not one.is_idle]:
                connection.since += away
                connection.deadline += away
        if away > ABSENT_SECONDS or self.is_stopped:
            for lane in self.lanes:
                lane.moved_at += away

    def _feed(self, now: float) -> None:
        """Open connections that are needed, break off those that wait too long, and let resting ones look again."""
        for pool in self.pools:
            for connection in [one for one in pool.connections if not one.is_idle and one.deadline < now]:
                connection.close("no reply in time")
            waiting = sum(len(lane) for lane in self.lanes if pool in lane.active)
            if waiting and not self.is_stopped:
                busy = len(pool.connections) - len(pool.resting)
                pool.open_more(busy + (waiting + 1) // 2)
                pool.wake()

    def _end_idle(self, now: float) -> None:
        for pool in self.pools:
            for connection in [one for one in pool.resting if now - one.since > IDLE_SECONDS]:
                connection.quit()

    def _slow_domains(self) -> None:
        for domain, count in self._deferrals.items():
            if count >= DEFERRALS_THAT_SLOW:
                lane = self.single_out(domain)
                if lane.allowance is not None:
                    lane.allowance.slow_down()
        self._deferrals.clear()

    def _take_seats(self) -> None:
        for pool in self.pools:
            most = pool.transport.connections_in_all
            if most is not None:
                pool.seats = self._seats(f"transport:{pool.transport.name}", pool.route.connections, most)
        for lane in self.lanes:
            if lane.limits is not None and lane.limits.connections_in_all is not None:
                most = lane.limits.connections_in_all
                lane.most_in_flight = self._seats(f"domain:{lane.limits.names[0]}", most, most)

    def _seats(self, key: str, wanted: int, most: int) -> int:
        try:
            return self.rates.seats(key, self._holder, wanted, most)
        except RatesUnavailable:
            return 1


def _limits_today(transport: Transport) -> Limits:
    ramp = warm_up(transport, clock.now().date())
    allowed = [one for one in (transport.per_day, ramp) if one is not None]
    return Limits(
        per_second=transport.per_second, per_hour=transport.per_hour, per_day=min(allowed) if allowed else None
    )
