"""What is read: newsletters, their feeds and articles, and the issues made of them."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, SmallInteger, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from mailer.models.base import Base
from mailer.models.choices import CarriedCorrections, Overflow
from mailer.models.desk import OnSilence, SlotCode, WhenLate, WhenStale
from mailer.models.intake import STATUS_REASONS, ArticleStatus, Baseline, ImageSource, StatusCode
from mailer.models.pictures import Picture


class IssueState(enum.StrEnum):
    """The words of the pages, the API and the command line."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    PAUSED = "paused"
    SENT = "sent"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PauseReason(enum.StrEnum):
    """Why an issue is paused, failed, or (the last three) only waits; what each means is in remedies.py."""

    BY_HAND = "by_hand"
    TOO_MANY_REFUSED = "too_many_refused"
    SENDER_REFUSED = "sender_refused"
    LOGIN_REFUSED = "login_refused"
    TLS_REFUSED = "tls_refused"
    MESSAGE_TOO_BIG = "message_too_big"
    SIGNING_FAILED = "signing_failed"
    BLOCKED = "blocked"
    COMPLAINTS = "complaints"
    LEDGER_MISMATCH = "ledger_mismatch"
    TEMPLATE_INVALID = "template_invalid"
    NOTHING_TO_SEND = "nothing_to_send"
    CHECKS_FAILED = "checks_failed"
    FEEDS_STALE = "feeds_stale"
    NOT_APPROVED = "not_approved"
    SERVER_UNREACHABLE = "server_unreachable"
    SERVER_SLOW = "server_slow"
    QUOTA_REACHED = "quota_reached"


class WhenUncertain(enum.StrEnum):
    """What is done with a mail whose answer was lost: left as it is, or sent again, so that some may get it twice."""

    LEAVE = "leave"
    RESEND = "resend"


class SlotResult(enum.StrEnum):
    """What became of one moment of a newsletter's schedule."""

    ISSUED = "issued"
    EMPTY = "empty"
    MISSED = "missed"
    FAILED = "failed"
    # Its issue is made, and waits: for the desk, for its feeds, or until the checks before sending find nothing that blocks.
    HELD = "held"
    # Its issue is made ahead of the slot, and the desk is asked.
    REVIEW = "review"
    DROPPED = "dropped"


class Layout(enum.StrEnum):
    """How an article stands in the mail."""

    LEAD = "lead"
    CARD = "card"
    BRIEF = "brief"


class MailKind(enum.StrEnum):
    """What a rendered mail is; the template folder has the same name."""

    ISSUE = "issue"
    CONFIRM = "confirm"
    ALREADY = "already"
    # These three go to the newsroom only.
    REVIEW = "review"
    ALERT = "alert"
    DESK_ACCOUNT = "desk_account"
    MANAGE = "manage"
    CHANGE_ADDRESS = "change_address"
    ADDRESS_CHANGED = "address_changed"


class Font(enum.StrEnum):
    """The typeface of a newsletter's mails: titles with serifs, all without, or what each device reads with."""

    SERIF = "serif"
    SANS = "sans"
    SYSTEM = "system"


class Newsletter(Base):
    """A publication by mail: sender, language, schedule, rules."""

    __tablename__ = "newsletters"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    language: Mapped[str]
    site_url: Mapped[str]
    sender_name: Mapped[str]
    sender_address: Mapped[str]
    reply_to: Mapped[str | None]
    publisher: Mapped[str]
    postal_address: Mapped[str]
    brand_color: Mapped[str] = mapped_column(server_default="#0F5C5C")
    brand_color_dark: Mapped[str] = mapped_column(server_default="#7CC7BD")
    # A picture in place of the name, over https; its width in CSS pixels (the picture should have twice as many).
    logo_url: Mapped[str | None]
    logo_width: Mapped[int] = mapped_column(SmallInteger, server_default="160")
    font: Mapped[Font] = mapped_column(server_default="serif")
    introduction: Mapped[str] = mapped_column(server_default="")
    signature: Mapped[str | None]
    cron: Mapped[str | None]
    timezone: Mapped[str]
    # Slots at or before this moment are not due: changing a schedule never fires the past.
    scheduled_since: Mapped[datetime]
    is_paused: Mapped[bool] = mapped_column(server_default=sql("false"))
    # Slots before this moment, and those of these days of its zone (2026-12-25), are left out.
    paused_until: Mapped[datetime | None]
    skip_dates: Mapped[list[str]] = mapped_column(server_default="[]")
    min_articles: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    max_articles: Mapped[int] = mapped_column(SmallInteger, server_default="12")
    max_age_days: Mapped[int] = mapped_column(SmallInteger, server_default="30")
    # Too few articles wait no longer than this; then an issue is made of what there is.
    max_wait_days: Mapped[int] = mapped_column(SmallInteger, server_default="14")
    overflow: Mapped[Overflow] = mapped_column(server_default="listed")
    # Readers are asked at which hour, and in which time zone, they want their mail.
    offers_hour: Mapped[bool] = mapped_column(server_default=sql("false"))
    carries_corrections: Mapped[CarriedCorrections] = mapped_column(server_default="own")
    # Of the feeds: only articles in one of these (any, if empty), and none in one of those.
    include_categories: Mapped[list[str]] = mapped_column(server_default="[]")
    exclude_categories: Mapped[list[str]] = mapped_column(server_default="[]")
    # Of the newsroom, for drafts to review and alerts; how many hours before its slot an issue is drafted (0: not before).
    desk_addresses: Mapped[list[str]] = mapped_column(server_default="[]")
    review_hours: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    on_silence: Mapped[OnSilence] = mapped_column(server_default="send")
    needs_approval: Mapped[bool] = mapped_column(server_default=sql("false"))  # of a second person: approvals.py
    when_late: Mapped[WhenLate] = mapped_column(server_default="merge")
    late_after_minutes: Mapped[int | None] = mapped_column(Integer)  # None: as the settings say (schedule_grace_hours)
    # When more feeds than this could not be read for so long, an issue is stale; None: that is not looked at.
    stale_percent: Mapped[int | None] = mapped_column(SmallInteger)
    stale_hours: Mapped[int] = mapped_column(SmallInteger, server_default="24")
    when_stale: Mapped[WhenStale] = mapped_column(server_default="hold")
    # The sign-up form: what it asks beyond the address, and the sites that may show it in a frame (any, if empty).
    asks_topics: Mapped[bool] = mapped_column(server_default=sql("false"))
    asks_rhythm: Mapped[bool] = mapped_column(server_default=sql("false"))
    form_sites: Mapped[list[str]] = mapped_column(server_default="[]")
    # What is counted, each a switch of its own (models.tracking.Tracked); and whether search engines may list its issues.
    tracks_clicks: Mapped[bool] = mapped_column(server_default=sql("false"))
    tracks_opens: Mapped[bool] = mapped_column(server_default=sql("false"))
    tracks_readers: Mapped[bool] = mapped_column(server_default=sql("false"))
    is_indexable: Mapped[bool] = mapped_column(server_default=sql("false"))
    # Whether who confirms gets the last issue at once.
    sends_welcome: Mapped[bool] = mapped_column(server_default=sql("false"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("review_hours BETWEEN 0 AND 168", name="review_hours"),
        CheckConstraint("late_after_minutes BETWEEN 1 AND 10080", name="late_after_minutes"),
        CheckConstraint("stale_percent BETWEEN 0 AND 99 AND stale_hours BETWEEN 1 AND 720", name="stale"),
        CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="slug_form"),
        CheckConstraint("min_articles BETWEEN 1 AND max_articles", name="article_bounds"),
        CheckConstraint("brand_color ~ '^#[0-9A-Fa-f]{6}$' AND brand_color_dark ~ '^#[0-9A-Fa-f]{6}$'", name="colors"),
        CheckConstraint("logo_width BETWEEN 24 AND 536", name="logo_width"),
    )


class Feed(Base):
    """An address that articles are read from, and how the last reading went."""

    __tablename__ = "feeds"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    url: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str | None]
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    last_read_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    next_read_at: Mapped[datetime] = mapped_column(index=True)
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None]
    # Articles are pushed by the site's own system; nothing is read.
    is_pushed: Mapped[bool] = mapped_column(server_default=sql("false"))
    # Since when nothing new came from a feed whose rhythm is known; None while it keeps to it.
    silent_since: Mapped[datetime | None]
    created_at: Mapped[datetime]


class NewsletterFeed(Base):
    """A feed that a newsletter draws from."""

    __tablename__ = "newsletter_feeds"

    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True)
    feed_id: Mapped[int] = mapped_column(ForeignKey("feeds.id", ondelete="CASCADE"), primary_key=True, index=True)
    # None until chosen or settled by baselines.settle, which is when the feed is first read.
    baseline: Mapped[Baseline | None]
    baseline_count: Mapped[int | None] = mapped_column(SmallInteger)
    baseline_since: Mapped[datetime | None]
    # Articles first seen at or before this were there when the feed was added; None while that is not settled.
    stock_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("baseline <> 'last' OR coalesce(baseline_count, 0) > 0", name="last_has_count"),
        CheckConstraint("baseline <> 'since' OR baseline_since IS NOT NULL", name="since_has_day"),
    )


class Article(Base):
    """One story, as its feed last told it."""

    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    feed_id: Mapped[int] = mapped_column(ForeignKey("feeds.id", ondelete="CASCADE"))
    guid: Mapped[str]
    url: Mapped[str]
    # The address without tracking parameters, fragment or www: two feeds' copies of a story meet here.
    canonical_url: Mapped[str]
    title: Mapped[str]
    excerpt: Mapped[str] = mapped_column(server_default="")
    html: Mapped[str] = mapped_column(server_default="")
    author: Mapped[str | None]
    topics: Mapped[list[str]]
    language: Mapped[str | None]
    image_url: Mapped[str | None]
    image_alt: Mapped[str | None]
    image_credit: Mapped[str | None]
    minutes: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    published_at: Mapped[datetime | None]
    first_seen_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    status: Mapped[ArticleStatus] = mapped_column(server_default="ready")
    status_code: Mapped[StatusCode | None]
    # For paying readers: only a teaser of it is kept and shown.
    is_locked: Mapped[bool] = mapped_column(server_default=sql("false"))
    # How many times its title, teaser, text or address changed; the words before are in article_revisions.
    revision: Mapped[int] = mapped_column(Integer, server_default="0")
    image_source: Mapped[ImageSource | None]
    page_read_at: Mapped[datetime | None]

    # None until a tick or an issue has entered the address. Loaded with the article, since every mail shows it.
    picture: Mapped[Picture | None] = relationship(
        primaryjoin=lambda: foreign(Article.image_url) == Picture.url, viewonly=True, lazy="selectin"
    )

    __table_args__ = (
        UniqueConstraint("feed_id", "guid"),
        Index("ix_articles_feed_id_first_seen_at", "feed_id", "first_seen_at"),
        Index("ix_articles_canonical_url", "canonical_url"),
        Index("ix_articles_first_seen_at", "first_seen_at", postgresql_where=sql("image_url IS NOT NULL")),
        CheckConstraint("(status = 'ready') = (status_code IS NULL)", name="status_has_code"),
    )

    @property
    def status_reason(self) -> str | None:
        """Why it is held or withdrawn, in words; None when it is ready."""
        return STATUS_REASONS[self.status_code] if self.status_code else None


class Issue(Base):
    """One edition of a newsletter. Content and recipients are frozen together when it starts to be sent."""

    __tablename__ = "issues"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id"))
    number: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[IssueState]
    state_code: Mapped[PauseReason | None]
    # The words that go with the code: a server's, or who did it.
    state_reason: Mapped[str | None]
    when_uncertain: Mapped[WhenUncertain] = mapped_column(server_default="leave")
    subject: Mapped[str]
    preview_text: Mapped[str]
    introduction: Mapped[str] = mapped_column(server_default="")
    # Of an issue written by hand: Markdown with article blocks (see markdown.py). None for one made of articles.
    body: Mapped[str | None]
    # An issue written by hand goes to every reader who has not paused, unless it is to keep to their rhythm.
    respects_rhythm: Mapped[bool] = mapped_column(server_default=sql("true"))
    web_html: Mapped[str | None]
    # What the checks before sending found last: checks.findings.Finding, as dictionaries.
    findings: Mapped[list[dict[str, object]]] = mapped_column(JSONB, server_default="[]")
    checked_at: Mapped[datetime | None]
    # Codes of findings that an editor lets pass, and since when findings keep the issue from leaving.
    allowed_findings: Mapped[list[str]] = mapped_column(server_default="[]")
    held_since: Mapped[datetime | None]
    # Articles first seen in [window_start, window_end) were candidates; the next issue's window starts where this ends.
    window_start: Mapped[datetime | None]
    window_end: Mapped[datetime | None]
    scheduled_at: Mapped[datetime | None]
    # Sent by somebody, who can take it back until scheduled_at.
    is_leaving: Mapped[bool] = mapped_column(server_default=sql("false"))
    # Who of the newsroom changed it last, at updated_at.
    changed_by: Mapped[str | None]
    # A copy for those only who have not had that issue.
    for_others_of: Mapped[int | None] = mapped_column(ForeignKey("issues.id", ondelete="SET NULL"))
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    recipients: Mapped[int] = mapped_column(Integer, server_default="0")
    # How often variants of it were replaced after it started; workers look whether it grew.
    revision: Mapped[int] = mapped_column(Integer, server_default="0")
    # Confirmed readers who are no recipients: their rhythm or pause says later, or nothing was left that they had not had.
    readers_not_due: Mapped[int] = mapped_column(Integer, server_default="0")
    readers_without_news: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    newsletter: Mapped[Newsletter] = relationship(lazy="raise")

    __table_args__ = (
        UniqueConstraint("newsletter_id", "number"),
        CheckConstraint("state <> 'scheduled' OR scheduled_at IS NOT NULL", name="scheduled_has_time"),
        CheckConstraint("state = 'scheduled' OR NOT is_leaving", name="leaving_is_scheduled"),
        CheckConstraint("state NOT IN ('sending', 'sent') OR started_at IS NOT NULL", name="sending_has_time"),
        Index("ix_issues_newsletter_id_id", "newsletter_id", "id"),
        Index("ix_issues_active", "state", postgresql_where=sql("state IN ('scheduled', 'sending')")),
    )


class IssueArticle(Base):
    """An article's place in an issue."""

    __tablename__ = "issue_articles"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id"), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(SmallInteger)
    layout: Mapped[Layout]

    article: Mapped[Article] = relationship(lazy="raise")


class Slot(Base):
    """One decided moment of a newsletter's schedule. The key makes two beats, or two tasks, harmless."""

    __tablename__ = "slots"

    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True)
    slot_at: Mapped[datetime] = mapped_column(primary_key=True)
    result: Mapped[SlotResult]
    note: Mapped[str]
    # What the note says, for other languages; None where it is only a sentence.
    code: Mapped[SlotCode | None]
    values: Mapped[dict[str, str]] = mapped_column(server_default="{}")
    issue_id: Mapped[int | None] = mapped_column(ForeignKey("issues.id", ondelete="SET NULL"))
    decided_at: Mapped[datetime]


class Variant(Base):
    """A mail as one group of readers gets it: rendered and inlined once, with placeholders where readers differ."""

    __tablename__ = "variants"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id"))
    issue_id: Mapped[int | None] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"))
    kind: Mapped[MailKind]
    language: Mapped[str]
    # The edition as the newsroom arranged it: for readers of every topic who get each issue.
    is_edition: Mapped[bool] = mapped_column(server_default=sql("false"))
    # What the rendering was made from; confirmation mails with the same digest share one variant.
    digest: Mapped[bytes]
    nonce: Mapped[str]
    headers: Mapped[dict[str, str]]
    subject: Mapped[str]
    html: Mapped[str]
    text: Mapped[str]
    # Of an issue: what it was rendered from (see contents.py); None in those of older versions.
    content: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    # What deliveries that have not left get instead; or nothing of it was left, and they are skipped.
    replaced_by: Mapped[int | None] = mapped_column(ForeignKey("variants.id"))
    withdrawn_at: Mapped[datetime | None]
    # What was counted when it was made: values of models.tracking.Tracked.
    tracks: Mapped[list[str]] = mapped_column(server_default="[]")
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_variants_issue_id", "issue_id"),
        Index("uq_variants_digest", "digest", unique=True, postgresql_where=sql("issue_id IS NULL")),
        CheckConstraint("(kind = 'issue') = (issue_id IS NOT NULL)", name="issue_kind"),
    )
