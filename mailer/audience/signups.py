"""What somebody typed into the form, from there to the confirmation: which mail leaves, and what the link then does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import func, insert, or_, select, true, update
from sqlalchemy.orm import Session

from mailer import settings
from mailer.articles import topics
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin
from mailer.counting import tracking
from mailer.delivery import deliveries
from mailer.issues import schedules
from mailer.mail import mails
from mailer.models.audience import SignupRequest, Subscription, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.models.content import Issue, IssueState, MailKind, Newsletter, Variant
from mailer.models.deliveries import Batch, Delivery
from mailer.newsroom import newsletters

# At most one mail in ten minutes (and few a day) to an address that somebody types into the form.
SHORT_PAUSE: Final = timedelta(minutes=10)
DAY: Final = timedelta(days=1)
# Who signed up this recently may still be on the way to the mailbox.
STILL_READING: Final = timedelta(hours=1)
# Of fewer sign-ups a day, the share that confirmed tells nothing.
ENOUGH_TO_ALARM: Final = 50

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the form was filled in with: a normalised address, and slugs of topics in order, none for all."""

    address: str
    language: str
    topics: tuple[str, ...] = ()
    rhythm: Rhythm = Rhythm.EACH
    agrees_to_tracking: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A filled-in form as it is stored: of which newsletter, from where, and when."""

    newsletter_id: int
    asked: Asked
    origin: Origin
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Sign-ups of a day: how many addresses were asked to confirm, and how many did."""

    asked: int
    confirmed: int

    @property
    def is_alarming(self) -> bool:
        """Whether so few confirmed of enough that somebody has to look."""
        return self.asked >= ENOUGH_TO_ALARM and self.share < settings.load().confirm_share

    @property
    def share(self) -> float:
        """The part that confirmed, 0 to 1; 1 if nobody was asked."""
        return self.confirmed / self.asked if self.asked else 1.0


def request(session: Session, newsletter_id: int, asked: Asked, *, origin: Origin, now: datetime) -> int:
    """Store what somebody typed into the form, without looking whether the address is known. Returns the request's id.

    A task decides later which mail leaves (`handle`).
    """
    return request_all(session, [Entry(newsletter_id=newsletter_id, asked=asked, origin=origin, at=now)])[0]


def request_all(session: Session, entries: Sequence[Entry]) -> list[int]:
    """Store several forms by one statement; returns their ids in order."""
    rows = [
        {
            "newsletter_id": one.newsletter_id,
            "address": one.asked.address,
            "language": one.asked.language,
            "topics": list(one.asked.topics),
            "rhythm": one.asked.rhythm,
            "agrees_to_tracking": one.asked.agrees_to_tracking,
            "source": one.origin.source,
            "form_version": one.origin.form_version or "",
            "network": one.origin.network,
            "created_at": one.at,
        }
        for one in entries
    ]
    statement = insert(SignupRequest).returning(SignupRequest.id, sort_by_parameter_order=True)
    return list(session.execute(statement, rows).scalars())


def blank(session: Session) -> int:
    """Return the id of a request that is not stored: what is not taken gets the same answer, to the last cookie."""
    sequence = func.pg_get_serial_sequence(SignupRequest.__tablename__, "id")
    return int(session.execute(select(func.nextval(sequence))).scalar_one())


def handle(session: Session, request_id: int, *, now: datetime) -> int | None:
    """Do what a sign-up asks for: queue a confirmation, a notice, or nothing. Returns the delivery's id, if one was queued.

    Doing it twice does nothing the second time.
    """
    asked = session.execute(
        select(SignupRequest)
        .where(SignupRequest.id == request_id, SignupRequest.handled_at.is_(None))
        .with_for_update(skip_locked=True)
    ).scalar_one_or_none()
    if asked is None:
        return None
    asked.handled_at = now
    if not subscriptions.may_ask(session, asked.address):
        return None
    newsletter = session.get_one(Newsletter, asked.newsletter_id)
    origin = Origin(source=asked.source, form_version=asked.form_version, network=asked.network)
    subscription = subscriptions.find_or_create(
        session, newsletter, asked.address, language=asked.language, origin=origin, now=now
    )
    asked.subscription_id = subscription.id
    if not _may_be_mailed(session, subscription, now=now):
        return None
    kind = MailKind.ALREADY if subscription.state == SubscriptionState.CONFIRMED else MailKind.CONFIRM
    if subscription.state == SubscriptionState.ENDED:
        subscriptions.reopen(session, subscription, language=asked.language, origin=origin, now=now)
    session.flush()
    next_on = _next_on(newsletter, subscription, now=now) if kind == MailKind.ALREADY else None
    variant_id = mails.notice_variant(session, newsletter, kind, subscription.language, now=now, next_on=next_on)
    return deliveries.queue_one(session, subscription_id=subscription.id, variant_id=variant_id, now=now)


def waiting(session: Session, *, before: datetime, limit: int, after: datetime | None = None) -> list[int]:
    """List sign-ups that no task has handled, oldest first; with `after`, only younger ones."""
    chosen = [SignupRequest.handled_at.is_(None), SignupRequest.created_at < before]
    if after is not None:
        chosen.append(SignupRequest.created_at > after)
    return list(
        session.execute(
            select(SignupRequest.id).where(*chosen).order_by(SignupRequest.created_at).limit(limit)
        ).scalars()
    )


def subscription_of(session: Session, request_id: int) -> int | None:
    """Tell which subscription a sign-up led to; None before it was handled."""
    return session.execute(
        select(SignupRequest.subscription_id).where(SignupRequest.id == request_id)
    ).scalar_one_or_none()


def get(session: Session, request_id: int) -> SignupRequest | None:
    """Read what somebody typed into the form; None once it was erased."""
    return session.get(SignupRequest, request_id)


def confirm(
    session: Session,
    subscription: Subscription,
    *,
    asked_at: datetime,
    origin: Origin,
    now: datetime,
    is_same_browser: bool = False,
) -> bool:
    """Confirm by a link made at `asked_at`: what was chosen on the form holds from now on, and the last issue leaves if the
    newsletter welcomes by it. Returns False if it was confirmed already, which changes nothing.

    Only in the browser that filled in the form does its consent to be tracked hold: somebody else may have ticked it.

    Raises SubscriptionNotFound, or SubscriptionGone if the reader left after the link was made.
    """
    wanted = _wanted(session, subscription, asked_at=asked_at)
    detail = (wanted and _told(wanted)) or None
    if not subscriptions.confirm(session, subscription.id, asked_at=asked_at, origin=origin, now=now, detail=detail):
        return False
    if wanted is not None:
        _apply(session, subscription, wanted)
        if is_same_browser and wanted.agrees_to_tracking and subscription.newsletter.tracks_readers:
            tracking.agree(session, subscription.id, agrees=True, origin=origin, now=now)
    if subscription.newsletter.sends_welcome:
        _welcome(session, subscription, now=now)
    return True


def confirmed_lately(session: Session, *, now: datetime) -> Confirmed:
    """Count who was asked to confirm from a day to an hour ago, and who did: a share that falls tells of a flood of robots,
    or of mail that does not arrive. Only first sign-ups count: others are not asked.
    """
    since, until = now - DAY, now - STILL_READING
    asked_lately = (
        SignupRequest.created_at > since,
        SignupRequest.created_at <= until,
        SignupRequest.subscription_id.is_not(None),
    )
    row = session.execute(
        select(
            func.count(SignupRequest.subscription_id.distinct()),
            func.count(SignupRequest.subscription_id.distinct()).filter(Subscription.confirmed_at > since),
        )
        .join(Subscription, Subscription.id == SignupRequest.subscription_id)
        .where(*asked_lately, or_(Subscription.confirmed_at.is_(None), Subscription.confirmed_at > since))
    ).one()
    return Confirmed(asked=row[0], confirmed=row[1])


def warn_if_few_confirm(session: Session, *, now: datetime) -> None:
    """Write a warning to the log if so few confirmed lately that robots must be at the form, or mail does not arrive."""
    counted = confirmed_lately(session, now=now)
    if counted.is_alarming:
        log.warning("few sign-ups are confirmed", asked=counted.asked, confirmed=counted.confirmed)


def by_source(session: Session, newsletter_id: int, *, since: datetime) -> list[tuple[str | None, int, int]]:
    """List where readers signed up, the most first: source, how many confirmed since, how many have not confirmed yet."""
    has_confirmed = Subscription.confirmed_at >= since
    is_pending = Subscription.state == SubscriptionState.PENDING
    confirmed, pending = func.count().filter(has_confirmed), func.count().filter(is_pending)
    rows = session.execute(
        select(Subscription.source, confirmed, pending)
        .where(Subscription.newsletter_id == newsletter_id, or_(has_confirmed, is_pending))
        .group_by(Subscription.source)
        .order_by((confirmed + pending).desc(), Subscription.source)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _next_on(newsletter: Newsletter, subscription: Subscription, *, now: datetime) -> date | None:
    """Tell the day of a reader's next issue; None if it is not certain."""
    slot = newsletters.next_slot(newsletter, now=now)
    is_paused = subscription.paused_until is not None and subscription.paused_until > now
    if slot is None or is_paused or subscription.rhythm != Rhythm.EACH:
        return None
    return slot.astimezone(schedules.zone(newsletter.timezone)).date()


def _may_be_mailed(session: Session, subscription: Subscription, *, now: datetime) -> bool:
    """Hold back when this newsletter's confirmation or notice was queued a moment ago, or too many of all were today."""
    queued = session.execute(
        select(Batch.due_at, Delivery.subscription_id)
        .join(Delivery, Delivery.id == Batch.first_id)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .join(Variant, Variant.id == Delivery.variant_id)
        .where(Subscription.subscriber_id == subscription.subscriber_id)
        .where(Batch.issue_id.is_(None), Batch.due_at > now - DAY, Variant.kind != MailKind.ISSUE)
    ).all()
    is_too_soon = any(row[1] == subscription.id and now - row[0] < SHORT_PAUSE for row in queued)
    return len(queued) < settings.load().confirmations_per_day and not is_too_soon


def _wanted(session: Session, subscription: Subscription, *, asked_at: datetime) -> SignupRequest | None:
    """Return the form that the confirmed link answers, if it chose anything; topics that are gone are not in it."""
    found = session.execute(
        select(SignupRequest)
        .where(SignupRequest.subscription_id == subscription.id)
        .where(SignupRequest.created_at < asked_at + timedelta(seconds=1))
        .order_by(SignupRequest.created_at.desc(), SignupRequest.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if found is None or not (found.topics or found.rhythm != Rhythm.EACH or found.agrees_to_tracking):
        return None
    known = {one.slug for one in topics.of(session, subscription.newsletter_id)}
    found.topics = sorted(known.intersection(found.topics))
    return found


def _told(wanted: SignupRequest) -> str:
    """Tell what was chosen, as the consent log has it: "topics=eau,culture rhythm=weekly"."""
    chosen = {"topics": ",".join(wanted.topics), "rhythm": "" if wanted.rhythm == Rhythm.EACH else wanted.rhythm}
    return " ".join(f"{name}={value}" for name, value in chosen.items() if value)


def _apply(session: Session, subscription: Subscription, wanted: SignupRequest) -> None:
    values: dict[str, object] = {"topics": wanted.topics, "rhythm": wanted.rhythm}
    if wanted.rhythm != Rhythm.EACH:
        # Who leaves the newsletter's own rhythm is remembered to have come as far as its last issue.
        last = newsletters.last_issue(session, subscription.newsletter_id)
        values["watermark"] = last.window_end if last else None
    session.execute(update(Subscription).where(Subscription.id == subscription.id).values(**values))


def _welcome(session: Session, subscription: Subscription, *, now: datetime) -> None:
    """Queue the edition of the last issue in the reader's language, unless they have had it. Its variant tells what of it
    they have had, for the issues to come.
    """
    newsletter_id = subscription.newsletter_id
    last = session.execute(
        select(Issue.id)
        .where(Issue.newsletter_id == newsletter_id, Issue.state.in_((IssueState.SENDING, IssueState.SENT)))
        .order_by(Issue.started_at.desc(), Issue.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    of_issue = select(Variant.id).where(Variant.issue_id == last)
    has_had = select(Delivery.id).where(Delivery.subscription_id == subscription.id, Delivery.variant_id.in_(of_issue))
    if last is None or session.execute(has_had.limit(1)).scalar_one_or_none() is not None:
        return
    is_theirs = Variant.language == subscription.language
    is_newsletters = Variant.language == subscription.newsletter.language
    variant_id = session.execute(
        select(Variant.id)
        .where(Variant.issue_id == last, Variant.is_edition == true())
        .order_by(is_theirs.desc(), is_newsletters.desc(), Variant.id)
        .limit(1)
    ).scalar_one_or_none()
    if variant_id is not None:
        deliveries.queue_one(session, subscription_id=subscription.id, variant_id=variant_id, now=now)
