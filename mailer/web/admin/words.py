"""States, moments and reasons in the words of the newsroom's language."""

from datetime import datetime, timedelta
from typing import Final

from mailer import i18n
from mailer.issues import amending, explanations, schedules, selection
from mailer.models.accounts import Role
from mailer.models.content import Article, Slot
from mailer.models.deliveries import Settlement
from mailer.models.intake import STATUS_REASONS
from mailer.models.pictures import PictureState
from mailer.newsroom import reasons, slot_words
from mailer.web import zones

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
    "blocked": "Blocked",
    "pending": "Pending",
    "confirmed": "Confirmed",
    "ended": "Ended",
    "issued": "Issued",
    "empty": "Empty",
    "missed": "Missed",
    "held": "Held back",
    "review": "In review",
    "dropped": "Dropped",
    "unsubscribed": "unsubscribed",
    "one_click": "unsubscribed by the mail program’s button",
    "complained": "complained of spam",
    "bounced": "the address does not work",
    "removed": "removed by the newsroom",
    "moved": "goes to another address",
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
    "review": "info",
}
# What somebody decided about uncertain deliveries.
_DECISIONS: Final = {
    "resend": "{count} sent again, as {by} decided on {moment}",
    "accepted": "{count} counted as accepted, as {by} decided on {moment}",
    "refused": "{count} counted as refused, as {by} decided on {moment}",
}

ROLES: Final = {
    Role.OWNER: "Owner",
    Role.ADMIN: "Admin",
    Role.EDITOR: "Editor",
    Role.WRITER: "Writer",
    Role.VIEWER: "Viewer",
}
ROLE_MEANINGS: Final = {
    Role.OWNER: "may everything, also change owners",
    Role.ADMIN: "also settings, the team, readers’ data",
    Role.EDITOR: "also sends, schedules, pauses",
    Role.WRITER: "changes content, sends nothing",
    Role.VIEWER: "looks, changes nothing",
}
# What somebody is told who may not do what they tried.
LACKING: Final = {
    Role.WRITER: "Viewers may look but change nothing. Ask an owner or an admin for the role Writer.",
    Role.EDITOR: "Only those who may send can do this. Ask an owner or an admin for the role Editor.",
    Role.ADMIN: "Only owners and admins can do this.",
    Role.OWNER: "Only owners can do this.",
}
_CHANGES: Final = {
    "pulled": "{by} took out:",
    "replaced": "{by} put in corrected:",
    "corrected": "{by} corrected:",
}


def choice(language: str, made: selection.Choice, timezone: str) -> str:
    """Say why an article is in an issue or out; moments are those of the newsletter's zone."""
    if made.why == selection.Why.STATUS:
        return status(language, made.article)
    values = {
        name: moment(language, value, timezone) if isinstance(value, datetime) else value
        for name, value in made.values.items()
    }
    return i18n.gettext(language, selection.WORDS[made.why], **values)


def status(language: str, article: Article) -> str:
    """Say why an article is held or withdrawn; empty if it is ready."""
    code = article.status_code
    return i18n.gettext(language, STATUS_REASONS[code]) if code else ""


def slot(language: str, decided: Slot) -> str:
    """Say what became of a moment of the schedule."""
    if decided.code is None:
        return reason(language, decided.note)
    values = {name: reason(language, value) for name, value in decided.values.items()}
    return i18n.gettext(language, slot_words.SENTENCES[decided.code], **values)


def no_picture(language: str, article: Article) -> str:
    """Say why mails show no picture with an article; empty if they do."""
    picture = article.picture
    if article.image_url is None:
        return i18n.gettext(language, "Neither the feed nor its page names a picture.")
    if picture is None or (picture.state == PictureState.WAITING and picture.reason is None):
        return i18n.gettext(language, "Its picture is not fetched yet.")
    if picture.state == PictureState.READY or picture.reason is None:
        return ""
    sentence = (
        "No picture: {why}" if picture.state == PictureState.REFUSED else "No picture yet: {why} It is tried again."
    )
    return i18n.gettext(language, sentence, why=reason(language, picture.reason))


def aside(language: str, told: explanations.Explanation, timezone: str) -> str:
    """Say why the reader of an explanation would get no issue; empty if they would."""
    if told.aside is None:
        return ""
    zone = schedules.zone(timezone)
    day = i18n.format_date(language, told.until.astimezone(zone)) if told.until else ""
    return i18n.gettext(language, told.aside.value, day=day)


def reason(language: str, text: str) -> str:
    """Say a sentence that the database keeps in the language; what is not known stays, such as a server's own words."""
    return reasons.say(language, text)


def decision(language: str, made: Settlement, timezone: str) -> str:
    """Say what somebody decided about uncertain deliveries, who and when."""
    values = {
        "count": i18n.format_number(language, made.count),
        "by": reason(language, made.by),
        "moment": moment(language, made.at, timezone),
    }
    return i18n.gettext(language, _DECISIONS[made.how], **values)


def change(language: str, made: amending.Change) -> str:
    """Say what was done to an article of an issue that had left, and by whom; the article's title follows."""
    return i18n.gettext(language, _CHANGES[made.kind], by=reason(language, made.by))


def moment(language: str, value: datetime, timezone: str, *, is_long: bool = False) -> str:
    """Write a moment in a newsletter's zone: "28 Nov 2025, 07:00", or "Friday 28 November 2025, 07:00"."""
    local = value.astimezone(schedules.zone(timezone))
    day = i18n.format_date(language, local, "full" if is_long else "medium", starts_line=is_long)
    return f"{day}, {i18n.format_time(language, local)}"


def day(language: str, value: datetime, timezone: str) -> str:
    """Write the day of a moment in a newsletter's zone: "28 Nov 2025"."""
    return i18n.format_date(language, value.astimezone(schedules.zone(timezone)), "medium")


def zoned(language: str, value: datetime, timezone: str) -> str:
    """Write a moment and say whose time it is: "23 Nov 2026, 21:00 (Paris time)"."""
    return f"{moment(language, value, timezone)} ({zones.spoken(language, timezone)})"


def distance(language: str, value: datetime, now: datetime) -> str:
    """Say how far a moment is from now: "in 2 d 4 h", "4 min ago"."""
    length = _length(language, abs(value - now))
    if value > now:
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
