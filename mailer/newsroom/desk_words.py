"""What mails to the newsroom say of each DeskEvent: the English sentences, which the catalogues translate."""

from dataclasses import dataclass
from typing import Final

from mailer.models.desk import DeskEvent, ReviewAct


@dataclass(frozen=True, kw_only=True)
class Words:
    """A mail's title, which its subject begins with, and a sentence that says what it means."""

    title: str
    means: str


WORDS: Final = {
    DeskEvent.REVIEW: Words(
        title="For review",
        means="This issue leaves by itself unless you hold it.",
    ),
    DeskEvent.CHECKS_HELD: Words(
        title="Held back by the checks",
        means="The checks before sending found what readers must not get. Nobody was mailed.",
    ),
    DeskEvent.ISSUE_HELD: Words(
        title="Issue held",
        means="The issue is made and did not leave. Nobody was mailed.",
    ),
    DeskEvent.UNREVIEWED: Words(
        title="Sent without a review",
        means="There was no time left to show you this issue before it left. Look at it now; what has not left can be paused.",
    ),
    DeskEvent.NOT_MADE: Words(
        title="No issue was made",
        means="The issue that was due could not be made. Nobody was mailed.",
    ),
    DeskEvent.FEED_SILENT: Words(
        title="A feed fell silent",
        means="Nothing new has come from this feed for far longer than usual, although it can be read. Look whether the site "
        "still writes to it.",
    ),
    DeskEvent.ISSUE_PAUSED: Words(
        title="Sending stopped",
        means="The issue is paused: readers who have not had it yet wait.",
    ),
    DeskEvent.ISSUE_FAILED: Words(
        title="The issue could not leave",
        means="Nobody was mailed.",
    ),
    DeskEvent.WEBHOOK_OFF: Words(
        title="A webhook is switched off",
        means="Another program is told nothing any more. Switch it on again under Settings, Webhooks, once it answers; what it "
        "missed before that can be replayed there.",
    ),
    DeskEvent.BLOCKED: Words(
        title="Servers refuse our mail",
        means="Mails came back because servers refuse our sending, not because of the readers’ addresses. No reader was "
        "removed for it.",
    ),
    DeskEvent.COMPLAINTS: Words(
        title="Readers complain of spam",
        means="More readers than one in a thousand report this issue as spam. From three in a thousand on sending stops by "
        "itself, and providers begin to block all your mail.",
    ),
}
ACTS: Final = {
    ReviewAct.SEND: "Send it as it is",
    ReviewAct.HOLD: "Hold it",
    ReviewAct.DROP: "Drop it",
}
# Where the mail's button leads.
OPEN_ISSUE: Final = "Open the issue"
OPEN_NEWSLETTER: Final = "Open the newsletter"
GAVE_UP: Final = "It is not tried again by itself any more. Send it from its page when it may leave."
FEED: Final = "The feed {title} ({url}) has been silent since {day}."
WEBHOOK_FAILING: Final = "{url} has not answered with success for five days."
WEBHOOK_GONE: Final = "{url} answered that it is gone for good (410)."
SLOT: Final = "It was due on {moment}."
REFUSED: Final = (
    "{number} mails came back so within a day. Check SPF, DKIM and DMARC of the sender’s domain, and the reputation of your "
    "server."
)
COMPLAINED: Final = "{number} of {accepted} readers complained. They are unsubscribed."
