"""Driving the transports as a worker does, to the end, and what they said."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mailer.delivery.rates import Rates
from mailer.delivery.transports.dispatcher import Dispatcher
from mailer.delivery.transports.outgoing import Outgoing
from mailer.delivery.transports.pool import Trouble
from mailer.delivery.transports.verdicts import Result, Verdict
from mailer.mail_settings import DomainLimits, Transport
from tests.smtp_server import ScriptedServer

PATIENCE_SECONDS = 15.0


class Heard:
    """What a dispatcher told about messages: each exactly once."""

    def __init__(self) -> None:
        self.handed_keys: list[int] = []
        self.results: dict[int, Result] = {}
        self.held_keys: dict[int, tuple[float, Trouble | None]] = {}
        self.at: dict[int, float] = {}

    def handed(self, key: int) -> None:
        self.handed_keys.append(key)

    def settled(self, key: int, result: Result) -> None:
        assert key not in self.results, "reported twice"
        self.results[key] = result
        self.at[key] = time.monotonic()

    def held(self, key: int, seconds: float, trouble: Trouble | None) -> None:
        assert key not in self.results, "held after its verdict"
        self.held_keys[key] = (seconds, trouble)

    @property
    def count(self) -> int:
        """How many have an end."""
        return len(self.results) + len(self.held_keys)

    def verdicts(self) -> list[Verdict]:
        """The verdicts in order of key."""
        return [self.results[key].verdict for key in sorted(self.results)]

    def trouble(self) -> Trouble:
        """The trouble for which all that were held were held."""
        found = {trouble for _, trouble in self.held_keys.values()}
        assert len(found) == 1, found
        one = found.pop()
        assert one is not None
        return one


def transport(server: ScriptedServer, name: str = "first", **values: object) -> Transport:
    """A transport to a scripted server, with one connection unless told otherwise."""
    return Transport(**{"name": name, "url": server.url, "connections": 1, **values})


def outgoing(count: int, *, domain: str = "example.org", first: int = 0) -> Iterator[Outgoing]:
    """Messages with keys first, first + 1, …"""
    for number in range(first, first + count):
        yield Outgoing(
            key=number,
            sender="lettre@courrier.example",
            recipient=f"r{number}@{domain}",
            content=lambda number=number: f"Subject: {number}\r\n\r\nHello {number}\r\n".encode(),
        )


@contextmanager
def dispatching(
    *transports: Transport,
    redis_url: str,
    domains: tuple[DomainLimits, ...] = (),
    timeout_seconds: float = 5,
    slow_seconds: float = 10,
) -> Iterator[tuple[Dispatcher, Heard]]:
    """A dispatcher and what is heard from it; its connections are closed at the end."""
    heard = Heard()
    rates = Rates(redis_url)
    dispatcher = Dispatcher(
        transports,
        domains,
        helo_name="lettre.example",
        timeout_seconds=timeout_seconds,
        rates=rates,
        listener=heard,
        slow_seconds=slow_seconds,
    )
    try:
        yield dispatcher, heard
    finally:
        dispatcher.close()
        rates.close()


def turn_until(dispatcher: Dispatcher, is_so: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Drive the dispatcher until something is so; fail if it never is."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        dispatcher.turn(0.05)


def send_all(dispatcher: Dispatcher, heard: Heard, messages: list[Outgoing]) -> None:
    """Add messages and drive the dispatcher until each has an end."""
    before = heard.count
    dispatcher.add(messages)
    turn_until(dispatcher, lambda: heard.count >= before + len(messages))
