"""An issue as programs see it: the same words and states as the pages."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy.orm import Session

from mailer.delivery import ledger
from mailer.issues import issues, selection
from mailer.issues.findings import Finding
from mailer.models.content import Article, Issue, IssueState, Layout, PauseReason, WhenUncertain
from mailer.web.api.shapes import Shape


class IssueBrief(Shape):
    """An issue in a list. `state` is draft, scheduled, sending, paused, sent, cancelled or failed.

    While `is_leaving`, sending it can still be undone until `scheduled_at`.
    """

    id: int
    newsletter: str
    number: int | None
    state: IssueState
    is_leaving: bool
    state_code: PauseReason | None
    state_reason: str | None
    subject: str
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    recipients: int
    created_at: datetime
    updated_at: datetime


class PlacedArticle(Shape):
    """An article’s place in an issue; `why` tells why the next issue would hold it, null in one that exists."""

    id: int
    layout: Layout
    title: str
    url: str
    why: str | None = None


class IssueWhole(IssueBrief):
    """An issue with its words and articles. Send `version` along with a change, so as not to undo somebody else’s."""

    preview_text: str
    introduction: str
    body: str | None = Field(description="Markdown of an issue written by hand; null for one made of articles.")
    respects_rhythm: bool
    when_uncertain: WhenUncertain
    version: str
    articles: list[PlacedArticle]


class NextIssue(Shape):
    """What the next issue would hold, and why; `left_out` tells why not. `aside` says why a reader would get none."""

    newsletter: str
    due_at: datetime | None
    is_enough: bool
    aside: str | None
    articles: list[PlacedArticle]
    left_out: list["LeftOut"]


class LeftOut(Shape):
    """An article that is not in it."""

    id: int
    title: str
    url: str
    why: str


class MailPreview(Shape):
    """The mail as it would leave, by the renderer that sends it."""

    subject: str
    preview_text: str
    html: str
    text: str


class Found(Shape):
    """What a check found; severity `block` holds the issue back until it is mended or its code is allowed."""

    code: str
    severity: str
    where: str
    words: str


class Checked(Shape):
    """What the checks before sending find. `blocks` tells whether the issue would be held back."""

    blocks: bool
    findings: list[Found]
    asked_at: datetime | None = Field(description="When links and pictures were asked last.")


class IssueFigures(Shape):
    """What became of the recipients: recipients = accepted + refused + skipped + uncertain + waiting."""

    recipients: int
    accepted: int
    refused: int
    skipped: int
    uncertain: int
    waiting: int
    deferred: int = Field(description="Of those waiting, whom a server put off.")
    clicks: int | None = Field(description="Clicks by people; null where they are not counted.")
    opens: int | None = Field(description="Opens by people; null where they are not counted.")


def brief(issue: Issue) -> IssueBrief:
    """Describe an issue that was read with its newsletter."""
    return IssueBrief(newsletter=issue.newsletter.slug, **_kept(issue, IssueBrief))


def whole(session: Session, issue: Issue) -> IssueWhole:
    """Describe an issue with its articles."""
    placed = [_placed(article, layout) for article, layout in issues.placed(session, issue.id)]
    kept = _kept(issue, IssueWhole)
    return IssueWhole(newsletter=issue.newsletter.slug, version=issue.updated_at.isoformat(), articles=placed, **kept)


def coming(slug: str, chosen: selection.Selection, *, due_at: datetime | None, aside: str | None) -> NextIssue:
    """Describe what an issue would hold."""
    return NextIssue(
        newsletter=slug,
        due_at=due_at,
        is_enough=chosen.is_enough,
        aside=aside,
        articles=[_placed(one.article, one.layout, one.reason) for one in chosen.chosen if one.layout is not None],
        left_out=[
            LeftOut(id=one.article.id, title=one.article.title, url=one.article.url, why=one.reason)
            for one in chosen.left_out
        ],
    )


def checked(found: Sequence[Finding], *, asked_at: datetime | None) -> Checked:
    """Describe what the checks found."""
    told = [Found(code=one.code.value, severity=one.severity.value, where=one.where, words=one.words) for one in found]
    return Checked(blocks=any(one.severity == "block" for one in told), findings=told, asked_at=asked_at)


def figures(equation: ledger.Equation, *, deferred: int, clicks: int | None, opens: int | None) -> IssueFigures:
    """Describe what became of an issue."""
    names = ("recipients", "accepted", "refused", "skipped", "uncertain", "waiting")
    counted = {name: getattr(equation, name) for name in names}
    return IssueFigures(**counted, deferred=deferred, clicks=clicks, opens=opens)


def _kept(issue: Issue, shape: type[Shape]) -> dict[str, Any]:
    made = {"newsletter", "version", "articles"}
    return {name: getattr(issue, name) for name in shape.model_fields if name not in made}


def _placed(article: Article, layout: Layout, why: str | None = None) -> PlacedArticle:
    return PlacedArticle(id=article.id, layout=layout, title=article.title, url=article.url, why=why)
