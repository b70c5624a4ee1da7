"""How an issue is getting on, in the words of the newsroom's language."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from mailer import i18n
from mailer.delivery import remedies
from mailer.delivery.progress import Progress
from mailer.issues import schedules
from mailer.models.content import IssueState
from mailer.models.progress import IssueEvent
from mailer.newsroom import reasons

_EVENTS: Final = {
    IssueState.DRAFT: "It is a draft again.",
    IssueState.SCHEDULED: "It is scheduled.",
    IssueState.SENDING: "Sending goes on.",
    IssueState.PAUSED: "Sending is paused.",
    IssueState.SENT: "Every delivery has ended.",
    IssueState.CANCELLED: "The rest is cancelled.",
    IssueState.FAILED: "It could not be sent; nothing left.",
}
_BEGAN: Final = "Sending began."


def rate(language: str, per_second: float) -> str:
    """Write messages a second: "18.4/s"."""
    shown = round(per_second, 1) if per_second < 100 else round(per_second)
    return i18n.gettext(language, "{number}/s", number=i18n.format_number(language, shown))


def left(language: str, seen: Progress, timezone: str) -> str:
    """Say how long the rest takes and when it is done; that this can't be told yet; or how much is paused."""
    seconds = seen.pace.left_seconds
    if seen.issue.finished_at is not None or not seen.equation.waiting:
        return ""
    if seconds is None:
        return i18n.gettext(language, "paused") if seen.is_paused else i18n.gettext(language, "estimating…")
    if seen.is_paused:
        return i18n.gettext(language, "paused, about {length} left", length=_length(language, seconds))
    if not seconds:
        return i18n.gettext(language, "only waiting to try again") if seen.deferred else ""
    moment = _time(language, seen.done_at or seen.at, timezone)
    return i18n.gettext(
        language, "about {length} left · done around {time}", length=_length(language, seconds), time=moment
    )


def retry(language: str, seen: Progress, timezone: str) -> str:
    """Say when what was put off is tried again; empty if nothing was."""
    if not seen.deferred or seen.retry_at is None or seen.retry_at <= seen.at:
        return ""
    return i18n.gettext(language, "The next are tried again at {time}.", time=_time(language, seen.retry_at, timezone))


def spoken(language: str, seen: Progress, timezone: str) -> str:
    """Say it in one sentence for those who listen to the page."""
    values = {
        "accepted": i18n.format_number(language, seen.equation.accepted),
        "recipients": i18n.format_number(language, seen.equation.recipients),
    }
    sentence = i18n.gettext(language, "{accepted} of {recipients} sent", **values)
    rest = left(language, seen, timezone)
    return f"{sentence}, {rest}" if rest else sentence


def stalled(language: str, seen: Progress, timezone: str) -> str:
    """Say since when no server has taken anything, and what was said last; empty while it moves."""
    if seen.stalled_since is None:
        return ""
    sentence = i18n.gettext(
        language,
        "No server has accepted anything since {time}; we keep trying.",
        time=_time(language, seen.stalled_since, timezone, has_seconds=True),
    )
    last = seen.issue.state_reason or (seen.said[0].words if seen.said else "")
    if not last:
        return f"{sentence} {i18n.gettext(language, 'No server has answered. Check that a worker runs.')}"
    return f"{sentence} {i18n.gettext(language, 'The last reply: {reply}', reply=reasons.say(language, last))}"


def events(language: str, found: Sequence[IssueEvent]) -> list[tuple[datetime, str, str]]:
    """Say what happened to an issue, newest first: when, what, and the words that go with it."""
    sendings = [one for one in found if one.state == IssueState.SENDING]
    first = min((one.id for one in sendings), default=None)
    return [(one.at, _event(language, one, is_first=one.id == first), _words(language, one)) for one in found]


def line_label(language: str, seen: Progress, timezone: str) -> str:
    """Say what the line over time shows, for those who don't see it."""
    if not seen.line:
        return i18n.gettext(language, "Send rate: nothing was sent yet.")
    highest = max(seen.line, key=lambda one: one[1])
    values = {
        "highest": rate(language, highest[1]),
        "time": _time(language, highest[0], timezone),
        "last": rate(language, seen.line[-1][1]),
    }
    return i18n.gettext(language, "Send rate: highest {highest} at {time}, last {last}.", **values)


def steps(language: str, line: Sequence[tuple[datetime, float]], timezone: str) -> list[tuple[int, str]]:
    """Return what stands under the line: the time of its first, middle and last step."""
    places = sorted({0, len(line) // 2, len(line) - 1}) if len(line) > 2 else range(len(line))
    return [(at, _time(language, line[at][0], timezone)) for at in places]


def _event(language: str, one: IssueEvent, *, is_first: bool) -> str:
    if one.code is not None and one.code in remedies.EXPLANATIONS:
        said = i18n.gettext(language, remedies.EXPLANATIONS[one.code].happened)
        return f"{i18n.gettext(language, _EVENTS[one.state])} {said}"
    return i18n.gettext(language, _BEGAN if is_first else _EVENTS[one.state])


def _words(language: str, one: IssueEvent) -> str:
    return reasons.say(language, one.words) if one.words else ""


def _time(language: str, value: datetime, timezone: str, *, has_seconds: bool = False) -> str:
    local = value.astimezone(schedules.zone(timezone))
    said = i18n.format_time(language, local)
    return f"{local:%H:%M:%S}" if has_seconds else said


def _length(language: str, seconds: float) -> str:
    """Write a length as far as it can be known: whole minutes, then tens of them."""
    if seconds < 50:
        return i18n.gettext(language, "{seconds} s", seconds=max(5, 5 * math.ceil(seconds / 5)))
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return i18n.gettext(language, "{minutes} min", minutes=minutes)
    hours, rest = divmod(10 * round(minutes / 10), 60)
    return i18n.gettext(language, "{hours} h {minutes} min", hours=hours, minutes=rest)
