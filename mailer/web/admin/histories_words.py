"""What happened with a reader, in the words of the newsroom's language."""

from typing import Final

from mailer import i18n
from mailer.audience import histories
from mailer.models.choices import Rhythm
from mailer.web import pages, rhythm
from mailer.web.admin import words

_HAPPENED: Final = {
    "requested": "Asked for {newsletter}",
    "confirmed": "Confirmed {newsletter}",
    "imported": "Entered as a reader of {newsletter}, with a proof",
    "changed": "Changed the preferences for {newsletter}",
    "moved": "Moved to this address with {newsletter}",
    "ended": "{newsletter} ended",
    "resumed": "Came back to {newsletter}",
    histories.MOVE_ASKED: "Another address was asked by mail",
    histories.CLICKED: "Followed a link of {newsletter}",
    histories.OPENED: "Opened “{about}”",
}
# Of the mails: what the server said, or why none left.
_MAILED: Final = {
    "accepted": "“{about}” accepted by the mail server",
    "refused": "“{about}” refused by the mail server",
    "skipped": "“{about}” not sent",
    "uncertain": "“{about}” handed over, the answer was lost",
    histories.DEFERRED: "“{about}” put off by the mail server",
}
_BECAUSE: Final = {
    "too_many": "too many mails",
    "not_interested": "topics of no interest",
    "never_asked": "never asked for it",
    "other": "another reason",
}
_CHANGED: Final = {
    "language": "language: {value}",
    "topics": "topics: {value}",
    "rhythm": "frequency: {value}",
    "paused_until": "pause until {value}",
    "hour": "hour: {value}",
    "timezone": "time zone: {value}",
    "left_because": "why: {value}",
}


def happened(language: str, one: histories.Moment) -> str:
    """Say what a moment was."""
    values = {"newsletter": one.newsletter or "", "about": one.about or ""}
    if one.what in _MAILED and one.mail is not None:
        return i18n.gettext(language, _MAILED[one.what], **values)
    if one.what == "changed" and one.about == "tracking=yes":
        return i18n.gettext(language, "Agreed to opens and clicks being known")
    if one.what == "changed" and one.about == "tracking=no":
        return i18n.gettext(language, "Withdrew the consent to opens and clicks being known")
    return i18n.gettext(language, _HAPPENED.get(one.what, one.what), **values)


def details(language: str, one: histories.Moment, *, is_masked: bool) -> str:
    """Say what else is known of it: where it came from, what changed, the server's words unless they are masked."""
    said = [_about(language, one)]
    if one.words:
        said.append("" if is_masked else words.reason(language, one.words))
    if one.source:
        said.append(i18n.gettext(language, "from {place}", place=one.source))
    if one.form_version:
        said.append(i18n.gettext(language, "text of the form {version}", version=one.form_version))
    if one.network:
        said.append(i18n.gettext(language, "network {network}", network=one.network))
    return " · ".join(part for part in said if part)


def got(language: str, one: histories.Got) -> str:
    """Answer whether a reader got an issue."""
    return i18n.gettext(language, _got(one))


def _got(one: histories.Got) -> str:
    if one.delivery_id is None:
        if one.had_left:
            return "No: had left before."
        if not one.had_asked:
            return "No: was not subscribed yet."
        return "No: by frequency, pause or topics it was not for this reader."
    if one.outcome == "accepted":
        return "Yes: the mail server accepted it."
    if one.outcome == "refused":
        return "No: the mail server refused it."
    if one.outcome == "skipped":
        return "No: it was not sent."
    if one.outcome == "uncertain":
        return "Perhaps: the mail server’s answer was lost."
    if one.is_over:
        return "No: the rest of the issue was cancelled."
    return "Not yet: the mail server put it off." if one.is_put_off else "Not yet: it waits."


def _about(language: str, one: histories.Moment) -> str:
    about = one.about or ""
    if one.what == histories.CLICKED:
        return about
    if one.mail is not None or about.startswith("tracking="):
        return ""
    if one.what == "ended":
        return i18n.gettext(language, words.STATES.get(about, about))
    changes = [part.partition("=") for part in about.split(" ") if "=" in part]
    return ", ".join(_change(language, name, value) for name, _, value in changes) if changes else about


def _change(language: str, name: str, value: str) -> str:
    value = value or i18n.gettext(language, "usual")
    if name == "rhythm" and value in tuple(Rhythm):
        value = rhythm.choice(language, Rhythm(value))
    elif name == "language":
        value = pages.LANGUAGE_NAMES.get(value, value)
    elif name == "left_because":
        value = i18n.gettext(language, _BECAUSE.get(value, value))
    return i18n.gettext(language, _CHANGED.get(name, "{value}"), value=value.replace(",", ", "))
