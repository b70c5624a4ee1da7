"""States, moments and reasons in the words of the newsroom's language."""

import re
from datetime import datetime, timedelta
from typing import Final

from mailer import explanations, i18n, schedules, selection
from mailer.models.deliveries import Settlement
from mailer.models.intake import STATUS_REASONS

STATES: Final = {
    "draft": "Draft",
    "scheduled": "Scheduled",
    "sending": "Sending",
    "paused": "Paused",
    "sent": "Sent",
    "cancelled": "Cancelled",
    "failed": "Failed",
    "accepted": "Accepted",
    "deferred": "Deferred",
    "refused": "Refused",
    "skipped": "Skipped",
    "uncertain": "Uncertain",
    "waiting": "Waiting",
    "pending": "Pending",
    "confirmed": "Confirmed",
    "ended": "Ended",
    "issued": "Issued",
    "empty": "Empty",
    "missed": "Missed",
    "held": "Held back",
    "unsubscribed": "unsubscribed",
    "one_click": "unsubscribed by the mail program’s button",
    "complained": "complained of spam",
    "bounced": "the address does not work",
    "removed": "removed by the newsroom",
    "lead": "Lead",
    "card": "Card",
    "brief": "Brief",
}
# The colour that goes with a state; the word is always there too.
COLORS: Final = {
    "scheduled": "info",
    "sending": "info",
    "paused": "warn",
    "sent": "ok",
    "failed": "bad",
    "accepted": "ok",
    "deferred": "warn",
    "refused": "bad",
    "uncertain": "warn",
    "confirmed": "ok",
    "pending": "warn",
    "issued": "ok",
    "missed": "warn",
    "held": "warn",
}
# What somebody decided about uncertain deliveries.
_DECISIONS: Final = {
    "resend": "{count} sent again, as {by} decided on {moment}",
    "accepted": "{count} counted as accepted, as {by} decided on {moment}",
    "refused": "{count} counted as refused, as {by} decided on {moment}",
}
# What the domain says in English, so that it can be said in another language too.
_REASONS: Final = (
    *(why.value for why in selection.Why if why != selection.Why.STATUS),
    *(aside.value for aside in explanations.Aside),
    *STATUS_REASONS.values(),
    "no new article",
    "{found} new articles of at least {wanted}; they wait for the next issue",
    "caught up by the slot of {moment} UTC",
    "found {late} late; the grace is {grace}",
    "“{newsletter}” has no confirmed readers yet.",
    "“{newsletter}” has no reader who is due and has not had all of it.",
    "paused by {name}",
    "paused from the command line",
    "the command line",
)
_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(sentence))), sentence) for sentence in _REASONS
)


def reason(language: str, text: str) -> str:
    """Say a reason of the domain in the language; what is not known stays as it is, such as a server's own words."""
    for pattern, sentence in _PATTERNS:
        if match := pattern.fullmatch(text):
            return i18n.gettext(language, sentence, **match.groupdict())
    return text


def decision(language: str, made: Settlement, timezone: str) -> str:
    """Say what somebody decided about uncertain deliveries, who and when."""
    values = {
        "count": i18n.format_number(language, made.count),
        "by": reason(language, made.by),
        "moment": moment(language, made.at, timezone),
    }
    return i18n.gettext(language, _DECISIONS[made.how], **values)


def moment(language: str, value: datetime, timezone: str, *, is_long: bool = False) -> str:
    """Write a moment in a newsletter's zone: "28 Nov 2025, 07:00", or "Friday 28 November 2025, 07:00"."""
    local = value.astimezone(schedules.zone(timezone))
    day = i18n.format_date(language, local, "full" if is_long else "medium", starts_line=is_long)
    return f"{day}, {i18n.format_time(language, local)}"


def distance(language: str, value: datetime, now: datetime) -> str:
    """Say how far a moment is from now: "in 2 d 4 h", "4 min ago"."""
    length = _length(language, abs(value - now))
    if value >= now:
        return i18n.gettext(language, "in {length}", length=length)
    return i18n.gettext(language, "{length} ago", length=length)


def _length(language: str, value: timedelta) -> str:
    minutes = int(value.total_seconds()) // 60
    if minutes >= 24 * 60:
        days, hours = divmod(minutes // 60, 24)
        return i18n.gettext(language, "{days} d {hours} h", days=days, hours=hours)
    if minutes >= 60:
        return i18n.gettext(language, "{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)
    if minutes:
        return i18n.gettext(language, "{minutes} min", minutes=minutes)
    return i18n.gettext(language, "{seconds} s", seconds=int(value.total_seconds()))
