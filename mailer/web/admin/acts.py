"""What can be done with an issue in each of its states: the buttons, on one page (briefs: the table of states)."""

from dataclasses import dataclass
from typing import Final

from mailer.models.accounts import Role
from mailer.models.content import Issue, IssueState


@dataclass(frozen=True, kw_only=True)
class Act:
    """A button: a form that is posted to `path` below the issue's, or a link to a page that asks first."""

    label: str
    path: str
    is_form: bool = False
    kind: str = ""
    role: Role = Role.EDITOR


# An issue that was sent a moment ago and can still be taken back.
LEAVING: Final = "leaving"

ACTS: Final = {
    "test": Act(label="Send test…", path="/test", role=Role.WRITER),
    "schedule": Act(label="Schedule…", path="/schedule"),
    "unschedule": Act(label="Unschedule", path="/unschedule", is_form=True),
    "review": Act(label="Review and send…", path="/review", kind="primary"),
    "undo": Act(label="Undo", path="/undo", is_form=True, kind="primary"),
    "pause": Act(label="Pause", path="/pause", is_form=True),
    "resume": Act(label="Resume", path="/resume", is_form=True, kind="primary"),
    "cancel": Act(label="Cancel the rest…", path="/cancel", kind="danger"),
    "discard": Act(label="Discard this issue…", path="/cancel", kind="quiet"),
    "duplicate": Act(label="Duplicate", path="/duplicate", is_form=True, role=Role.WRITER),
    "others": Act(label="Send to the others…", path="/others"),
    "correction": Act(label="Send a correction…", path="#articles"),
    "retry": Act(label="Retry", path="/retry", is_form=True, kind="primary"),
    "reopen": Act(label="Back to draft", path="/reopen", is_form=True),
}
# Editing and the report are the issue's page itself.
BUTTONS: Final[dict[str, tuple[str, ...]]] = {
    IssueState.DRAFT: ("test", "schedule", "review", "discard"),
    IssueState.SCHEDULED: ("unschedule", "test", "schedule", "review", "discard"),
    LEAVING: ("undo",),
    IssueState.SENDING: ("pause", "cancel"),
    IssueState.PAUSED: ("resume", "cancel"),
    IssueState.SENT: ("duplicate", "correction"),
    IssueState.CANCELLED: ("correction", "others"),
    IssueState.FAILED: ("retry", "reopen"),
}


def state(issue: Issue) -> str:
    """Return the state that pages show: of an issue about to leave, LEAVING."""
    return LEAVING if issue.is_leaving else issue.state


def of(issue: Issue) -> list[Act]:
    """Return the buttons of an issue, in order."""
    chosen = BUTTONS[state(issue)]
    # One that was cancelled before it began reached nobody, so there is nothing to correct.
    return [ACTS[name] for name in chosen if name != "correction" or issue.started_at is not None]
