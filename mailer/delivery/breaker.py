"""When to stop by itself: too many refusals say that something is wrong with us or with the list, and going on hurts.

One window of results per issue and worker process; it is forgotten when the issue goes on.
"""

import collections
from typing import Final

from mailer.delivery.transports.verdicts import MAIL, SIZE, Result, Verdict

WINDOW: Final = 200
# More than a tenth of the window.
MOST_REFUSED: Final = WINDOW // 10


class Breaker:
    """The last results of one issue."""

    def __init__(self) -> None:
        self._last: collections.deque[Verdict] = collections.deque(maxlen=WINDOW)
        self._counts: collections.Counter[Verdict] = collections.Counter()

    def see(self, result: Result) -> str | None:
        """Take note of a result; return why the issue must be paused now (a PauseReason's value), else None."""
        verdict = result.verdict
        if len(self._last) == WINDOW:
            self._counts[self._last[0]] -= 1
        self._last.append(verdict)
        self._counts[verdict] += 1
        if verdict is Verdict.BLOCKED:
            if result.stage == SIZE or (result.stage == MAIL and _is_about_size(result.reply)):
                return "message_too_big"
            if result.stage == MAIL:
                return "sender_refused"
            # One in ten: a few servers refuse everybody's newsletters, and that says nothing about us.
            return "blocked" if 10 * self._counts[verdict] >= len(self._last) else None
        if verdict is Verdict.REFUSED and self._counts[verdict] > MOST_REFUSED:
            return "too_many_refused"
        return None


def _is_about_size(reply: str) -> bool:
    return reply.startswith("552") or " 5.3.4" in reply[:10] or " 5.2.3" in reply[:10]
