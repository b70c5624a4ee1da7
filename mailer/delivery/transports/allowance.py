"""How many messages may leave now: a handful at a time from the rates that all workers share."""

import math
import time
from typing import Final

from mailer.delivery.rates import Rates, RatesUnavailable
from mailer.mail_settings import Limits

ASK_SECONDS: Final = 0.5
AWAY_SECONDS: Final = 1.0
SMALLEST_HELPING: Final = 200


class Allowance:
    """One key's share for this process. Without limits it is asked for too, since a server's 421 sets one for all."""

    def __init__(self, key: str, limits: Limits, rates: Rates) -> None:
        self._key, self._limits, self._rates = key, limits, rates
        self._is_limited = any((limits.per_second, limits.per_hour, limits.per_day))
        self._left = 0
        self._helping = SMALLEST_HELPING
        self._asked_at = 0.0
        self.ready_at = 0.0  # on the monotonic clock

    def ready(self) -> bool:
        """Tell whether one more may leave now."""
        return self._left > 0 or self._ask()

    def use(self) -> None:
        """Count one that leaves. Only when ready."""
        self._left -= 1

    def wait_seconds(self) -> float:
        """Tell how long until it is worth asking again; 0 when ready."""
        return 0.0 if self._left > 0 else max(0.0, self.ready_at - time.monotonic())

    def slow_down(self) -> None:
        """Halve the rate for all workers: the server is asking for it."""
        self.give_back()  # what was not used would count as the rate to be halved
        try:
            self._rates.slow_down(self._key)
        except RatesUnavailable:
            self.ready_at = time.monotonic() + AWAY_SECONDS

    def give_back(self) -> None:
        """Return what was not used."""
        left, self._left = self._left, 0
        if left > 0:
            try:
                self._rates.give_back(self._key, left)
            except RatesUnavailable:
                return

    def _ask(self) -> bool:
        now = time.monotonic()
        if now < self.ready_at:
            return False
        wanted = self._wanted(now)
        try:
            grant = self._rates.take(self._key, self._limits, wanted)
        except RatesUnavailable:
            # Without Redis nobody knows what the other workers send: what has a limit waits, the rest goes on.
            if self._is_limited:
                self.ready_at = now + AWAY_SECONDS
                return False
            self._left = wanted
            return True
        self._left = grant.granted
        self.ready_at = 0.0 if grant.granted else now + grant.wait_seconds
        return grant.granted > 0

    def _wanted(self, now: float) -> int:
        if self._limits.per_second:
            return max(1, math.ceil(self._limits.per_second / 4))
        if self._is_limited:
            return 20
        # As much as half a second takes, so that Redis is asked twice a second however fast mail leaves.
        if now - self._asked_at < ASK_SECONDS:
            self._helping *= 2
        elif self._helping > SMALLEST_HELPING:
            self._helping //= 2
        self._asked_at = now
        return self._helping
