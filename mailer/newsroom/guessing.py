"""How often somebody may be wrong: passwords, codes, and asking for a new password, counted like sign-ups are (abuse.py).

What is typed counts, whether such an account exists or not, and nobody is locked out: who waits may try again, and a browser
that has signed in before does not wait for what strangers did elsewhere.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mailer.audience import abuse

# Windows and how many failures are allowed in each.
Windows = tuple[tuple[timedelta, int], ...]

MINUTE: Final = timedelta(minutes=1)
# Failures of one account from one network, or from one known browser: the more, the longer the wait.
HERE: Final[Windows] = ((MINUTE, 5), (10 * MINUTE, 10), (60 * MINUTE, 25), (1440 * MINUTE, 80))
# Of one account from everywhere, known browsers apart.
ANYWHERE: Final[Windows] = ((60 * MINUTE, 60), (1440 * MINUTE, 300))
# Of one network, whatever accounts.
NETWORK: Final[Windows] = ((10 * MINUTE, 60), (1440 * MINUTE, 600))
# Mails with a link to a new password.
MAILS: Final[Windows] = ((60 * MINUTE, 3), (1440 * MINUTE, 6))


class Guess(enum.StrEnum):
    """What can be wrong."""

    PASSWORD = "password"  # noqa: S105 - a word
    CODE = "code"
    MAIL = "mail"


@dataclass(frozen=True, kw_only=True)
class Guesser:
    """Who tries what. `account` is what was typed, or an id; `browser` the account that this browser was signed in as before."""

    guess: Guess
    account: str
    network: str | None
    browser: str | None = None


def wait(who: Guesser, *, now: datetime) -> timedelta | None:
    """Return how long somebody has to wait before the next try; None if not at all. Asks Redis; never raises."""
    limits = _limits(who, cost=0)
    beyond = abuse.counter().count(limits, now=now)
    if beyond is None:
        return None
    abuse.counter().warn(f"{who.guess} guesses limited", limit=f"{limits[beyond].most} in {limits[beyond].seconds} s")
    return timedelta(seconds=limits[beyond].seconds)


def note(who: Guesser, *, now: datetime) -> None:
    """Count a try that failed. Asks Redis; never raises."""
    abuse.counter().count([_as_note(one) for one in _limits(who, cost=1)], now=now)


def may_mail(who: Guesser, *, now: datetime) -> bool:
    """Count a mail to an account, unless it had enough of them; nobody may be told which."""
    limits = [_limit(f"mails:{who.account}", window, most, cost=1) for window, most in MAILS]
    return abuse.counter().count(limits, now=now) is None


def _limits(who: Guesser, *, cost: int) -> Sequence[abuse.Limit]:
    is_known = who.browser is not None and who.browser == who.account
    place = "known" if is_known else (who.network or "-")
    named: list[tuple[str, Windows]] = [(f"here:{who.guess}:{place}:{who.account}", HERE)]
    if not is_known:
        named += [
            (f"account:{who.guess}:{who.account}", ANYWHERE),
            (f"network:{who.guess}:{who.network or '-'}", NETWORK),
        ]
    # The longest first: it is the one that has to be waited for.
    return [
        _limit(f"{name}:{window}", window, most, cost=cost)
        for name, windows in named
        for window, most in reversed(windows)
    ]


def _limit(name: str, window: timedelta, most: int, *, cost: int) -> abuse.Limit:
    # A try that costs nothing is refused beyond the limit, one that costs something at it.
    return abuse.Limit(
        key=abuse.key_of(f"guess:{name}"),
        seconds=int(window.total_seconds()),
        most=most - 1 if cost == 0 else most,
        cost=cost,
    )


def _as_note(limit: abuse.Limit) -> abuse.Limit:
    """Count on beyond the limit too, or who is over the shortest window would never fill the longer ones."""
    return abuse.Limit(key=limit.key, seconds=limit.seconds, most=10**6, cost=limit.cost)
