"""What the entries of the audit log mean, by module and function of the route, or by the words of a command."""

from collections.abc import Mapping
from typing import Final

from mailer import i18n

# "module.function" of a route, and which of its buttons was pressed where that matters.
SENTENCES: Final[Mapping[str, str]] = {
    "account.change_language": "Changed their own language",
    "account.change_password": "Changed their own password",
    "account.end_session": "Ended one of their own sessions",
    "account.end_sessions": "Signed out everywhere",
    "account.change_keys": "Switched their own keyboard shortcuts",
    "amending.act": "Took an article out of an issue, or corrected it",
    "approving.approve": "Agreed to an issue being sent",
    "approving.withdraw": "Withdrew their consent to an issue",
    "articles.act": "Changed what becomes of an article",
    "articles.act.hold": "Held an article",
    "articles.act.picture": "Had pictures fetched again",
    "articles.act.release": "Released an article",
    "articles.act.release-all": "Released all held articles",
    "articles.act.unpin": "Took an article off the top",
    "articles.act.withdraw": "Withdrew an article",
    "articles.pin": "Put an article on top",
    "checking.check": "Had an issue checked",
    "choosing.choose.invitation": "Accepted the invitation",
    "choosing.choose.reset": "Chose a new password by a link",
    "composing.arrange": "Rearranged an issue",
    "composing.arrange_automatically": "Put an issue back in automatic order",
    "composing.edit_envelope": "Changed an issue’s subject or introduction",
    "feeds.add": "Added a feed",
    "feeds.choose": "Chose what counts as new in a feed",
    "feeds.read": "Had a feed read",
    "feeds.remove": "Removed a feed",
    "forms.edit": "Changed a sign-up form",
    "issues.draft": "Drafted an issue",
    "leaving.cancel": "Cancelled the rest of an issue",
    "leaving.pause": "Paused an issue",
    "leaving.reopen": "Made a failed issue a draft again",
    "leaving.resume": "Let an issue go on",
    "leaving.schedule": "Scheduled an issue",
    "leaving.send": "Sent an issue",
    "leaving.unschedule": "Took an issue off the schedule",
    "measuring.choose": "Changed what is counted",
    "newsletters.edit": "Changed a newsletter",
    "newsletters.schedule": "Changed a newsletter’s rhythm",
    "second_factor.confirm": "Switched on their second factor",
    "second_factor.remove": "Switched off their second factor",
    "second_factor.renew_codes": "Made new recovery codes",
    "settling.choose": "Chose what happens to mails whose answer is lost",
    "settling.settle": "Decided about uncertain mails",
    "signing_in.press_button": "Signed in by a link",
    "signing_in.sign_in": "Signed in",
    "signing_in.sign_out": "Signed out",
    "team.change": "Changed what somebody may do",
    "team.disable": "Locked somebody out",
    "team.enable": "Let somebody in again",
    "team.invite": "Invited somebody",
    "team.invite_again": "Invited somebody again",
    "team.remove": "Removed somebody",
    "team.require": "Changed whether a second factor is required",
    "team.reset_second_factor": "Took somebody’s second factor away",
    "topics.add": "Added a topic",
    "topics.change": "Changed a topic",
    "topics.delete": "Deleted a topic",
    "topics.move": "Ranked the topics anew",
    "writing.draft": "Wrote an issue by hand",
    "writing.rewrite": "Changed the text of an issue",
    "trying.send": "Sent a test of an issue",
    "undoing.undo": "Took an issue back before it left",
    "undoing.retry": "Had a failed issue leave once more",
    "undoing.duplicate": "Copied an issue",
    "undoing.draft_for_others": "Drafted a cancelled issue for those it did not reach",
    "settings_general.edit_brand": "Changed the publication’s colour",
    "settings_general.edit_general": "Changed the publication’s data",
    "settings_general.upload": "Changed the logo",
    "settings_sending.add": "Added a mail server",
    "settings_sending.edit": "Changed a mail server",
    "settings_sending.edit.remove": "Removed a mail server",
    "settings_sending.test": "Sent a test mail",
    "settings_sending.use_sandbox.on": "Switched the sandbox on",
    "settings_sending.use_sandbox.off": "Switched the sandbox off",
    "settings_system.choose": "Changed what a newsletter counts",
    "todo.dismiss": "Called something on the list done",
    "welcome.choose_rhythm": "Chose the rhythm at the first run",
    "welcome.choose_sending": "Chose how mail leaves at the first run",
    "welcome.correct": "Corrected what was found on the site",
    "welcome.read_site": "Had the site read",
    "welcome.send_test": "Sent a first test mail",
    "welcome.skip": "Skipped a first step",
}
# What a path's parameters are.
_OBJECTS: Final[Mapping[str, str]] = {
    "account_id": "Account {value}",
    "article_id": "Article {value}",
    "feed_id": "Feed {value}",
    "issue_id": "Issue {value}",
    "server_id": "Mail server {value}",
    "subscriber_id": "Reader {value}",
    "topic": "Topic {value}",
}


def sentence(language: str, action: str) -> str:
    """Say what an entry's action means; an action that has no words yet stands for itself."""
    known = SENTENCES.get(action) or SENTENCES.get(action.rpartition(".")[0])
    return i18n.gettext(language, known) if known else action


def objects(language: str, named: Mapping[str, str]) -> list[str]:
    """Say what an entry is about, beside its newsletter."""
    return [
        i18n.gettext(language, _OBJECTS[name], value=value) if name in _OBJECTS else f"{name} {value}"
        for name, value in named.items()
        if name != "slug"
    ]
