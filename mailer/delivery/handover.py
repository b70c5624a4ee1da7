"""A few messages handed over while somebody waits: by the same routes, rates and conversation as all mail.

Outside of ledger and journal: what becomes of them is told to the caller, and to nobody else.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mailer import settings
from mailer.delivery.rates import Rates
from mailer.delivery.transports.dispatcher import Dispatcher
from mailer.delivery.transports.outgoing import Outgoing
from mailer.delivery.transports.pool import Trouble
from mailer.delivery.transports.verdicts import Result
from mailer.mail_settings import Transport


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What became of one message; `result` is None if no server took or refused it, then `trouble` may say why.

    `server` is the host that was talked to, empty if there was none.
    """

    result: Result | None
    trouble: Trouble | None
    server: str
    seconds: float


def hand_over(messages: Sequence[Outgoing], routes: Sequence[Transport], *, seconds: float) -> dict[int, Heard]:
    """Hand messages over and return what became of each, by its key, after `seconds` at most. Talks to the servers.

    `routes` are normally those of servers.routes.
    One whose content is under way when the time is up is waited for no longer: its result is None.
    """
    chosen = settings.load()
    rates = Rates(chosen.redis_url)
    ear = _Ear()
    dispatcher = Dispatcher(
        routes,
        chosen.domains,
        helo_name=chosen.helo_name or chosen.public_host,
        timeout_seconds=min(chosen.smtp_timeout_seconds, seconds),
        rates=rates,
        listener=ear,
    )
    servers: dict[int, str] = {}
    try:
        dispatcher.turn(0)
        dispatcher.add(messages, urgent=True)
        while len(ear.heard) < len(messages) and time.monotonic() - ear.begun < seconds:
            dispatcher.turn(0.05)
            servers |= _under_way(dispatcher)
        dispatcher.hand_back()
        dispatcher.rest()
    finally:
        dispatcher.close()
        rates.close()
    told = next(iter(dispatcher.troubles.values()), None)
    return {
        one.key: Heard(
            result=ear.results.get(one.key),
            trouble=ear.troubles.get(one.key) or told,
            server=servers.get(one.key, ""),
            seconds=ear.heard.get(one.key, seconds),
        )
        for one in messages
    }


def _under_way(dispatcher: Dispatcher) -> dict[int, str]:
    """Tell which server each message is at."""
    return {
        message.key: pool.route.host
        for pool in dispatcher.pools
        for connection in pool.connections
        for message in (connection.envelope, connection.handed)
        if message is not None
    }


class _Ear:
    """Hears what becomes of the messages, and after how many seconds."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.heard: dict[int, float] = {}
        self.results: dict[int, Result] = {}
        self.troubles: dict[int, Trouble] = {}

    def handed(self, key: int) -> None:
        """Hear that a message's content is about to leave, which nothing depends on here."""

    def settled(self, key: int, result: Result) -> None:
        """Note the verdict."""
        self.results[key] = result
        self.heard.setdefault(key, time.monotonic() - self.begun)

    def held(self, key: int, seconds: float, trouble: Trouble | None) -> None:  # noqa: ARG002 - the protocol has it
        """Note that a message did not leave; it is not tried again after those `seconds`."""
        if trouble is not None:
            self.troubles[key] = trouble
        self.heard.setdefault(key, time.monotonic() - self.begun)
