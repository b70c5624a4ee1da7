"""What is swept away when it has served its time, and what is not."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer import clock, settings, upkeep
from mailer.audience import moves, signups, subscriptions
from mailer.audience import readers as people
from mailer.audience.subscriptions import Origin
from mailer.delivery import deliveries, journal
from mailer.mail import mails
from mailer.models.audience import Consent, SignupRequest, Subscriber, Subscription
from mailer.models.content import MailKind, Variant
from mailer.models.readers import AddressChange, LinkRequest
from mailer.models.tracking import Event, EventTotal
from tests.factories import NOW, a_newsletter, a_signup, readers


def everything_that_ages(session: Session) -> None:
    """At one moment: a sign-up, a request for the link, a move, an open; and two readers who stay."""
    newsletter = a_newsletter(session)
    reader = readers(session, newsletter, 2)[0]
    signups.handle(session, a_signup(session, newsletter, now=NOW), now=NOW)
    people.request_link(session, "nobody@example.org", now=NOW)
    moves.ask(session, reader.id, "new@example.net", now=NOW)
    variant_id = session.execute(select(func.min(Variant.id))).scalar_one()
    event = Event(
        variant_id=variant_id, link=0, at=NOW, subscription_id=reader.id, is_head=False, network="192.0.2.0/24"
    )
    session.add(event)
    session.flush()


def rows(session: Session) -> dict[str, int]:
    tables = (Subscription, Subscriber, SignupRequest, LinkRequest, AddressChange, Event, EventTotal)
    return {one.__tablename__: session.execute(select(func.count()).select_from(one)).scalar_one() for one in tables}


FRESH = {
    "subscriptions": 3,
    "subscribers": 3,
    "signup_requests": 1,
    "link_requests": 1,
    "address_changes": 1,
    "events": 1,
    "event_totals": 0,
}


@pytest.mark.parametrize(
    ("days", "changed"),
    [
        (0.9, {}),
        (1.1, {"link_requests": 0}),
        (6.96, {"link_requests": 0}),
        (7, {"link_requests": 0, "subscriptions": 2, "subscribers": 2, "signup_requests": 0}),
    ],
)
def test_what_nobody_confirmed_goes_in_its_time(session: Session, days: float, changed: dict[str, int]) -> None:
    everything_that_ages(session)
    upkeep.clean_up(session, now=NOW + timedelta(days=days))
    assert rows(session) == {**FRESH, **changed}


@pytest.mark.parametrize(("days", "events", "totals"), [(89, 1, 0), (92, 0, 1)])
def test_single_events_become_sums_after_ninety_days(session: Session, days: float, events: int, totals: int) -> None:
    everything_that_ages(session)
    upkeep.clean_up(session, now=NOW + timedelta(days=days))
    left = rows(session)
    assert (left["events"], left["event_totals"], left["address_changes"], left["subscribers"]) == (
        events,
        totals,
        0,
        2,
    )


def test_how_long_events_are_kept_is_a_setting(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_that_ages(session)
    monkeypatch.setenv("MAILER_KEEP_EVENTS_DAYS", "5")
    settings.load.cache_clear()
    upkeep.clean_up(session, now=NOW + timedelta(days=6))
    assert rows(session)["events"] == 0


def test_the_consents_of_readers_are_kept_for_years(session: Session) -> None:
    everything_that_ages(session)
    reader = session.execute(select(Subscription).where(Subscription.confirmed_at.is_not(None)).limit(1)).scalar_one()
    subscriptions.end(session, reader.id, subscriptions.EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    upkeep.clean_up(session, now=NOW + timedelta(days=1000))
    kept = select(Consent.event).where(Consent.subscription_id == reader.id).order_by(Consent.id)
    assert [one.value for one in session.execute(kept).scalars()] == ["requested", "imported", "ended"]


def test_only_journals_that_nobody_needs_any_more_are_removed(session: Session, tmp_path: Path) -> None:
    newsletter = a_newsletter(session)
    reader = readers(session, newsletter, 1)[0]
    variant_id = mails.notice_variant(session, newsletter, MailKind.CONFIRM, "fr", now=clock.now())
    deliveries.queue_one(session, subscription_id=reader.id, variant_id=variant_id, now=clock.now())
    needed, idle, living = (journal.Journal(tmp_path, capacity=1) for _ in range(3))
    assert deliveries.claim(session, owner=needed.owner, lease_seconds=60, now=clock.now()) is not None
    needed.abandon()
    idle.abandon()
    assert upkeep.sweep_journals(session, tmp_path) == 1
    assert {path.name for path in tmp_path.glob("*.*.*")} == {needed.owner, living.owner}
    living.close()
