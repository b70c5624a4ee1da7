"""Readers who choose an hour: when their mail leaves, and that nothing else changes by it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from mailer.audience import hours, subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.delivery import deliveries, ledger, runs
from mailer.delivery.journal import Journal
from mailer.issues import issues
from mailer.models.audience import Consent, EndedReason, Subscriber, Subscription
from mailer.models.choices import Rhythm
from mailer.models.content import Issue, IssueState, Newsletter
from mailer.models.deliveries import Batch, Delivery
from tests.factories import NOW, a_newsletter, an_article, readers

HOUR = timedelta(hours=1)
# 07:00 in Paris, 11:00 in Almaty.
START = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
ZONES = ("Europe/Paris", "Asia/Almaty", "America/St_Johns", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu")


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    made = a_newsletter(session)
    an_article(session, made, "eau", seen=NOW)
    return made


def want(session: Session, reader: Subscription, hour: int | None, timezone: str | None, **others: object) -> None:
    """Choose an hour for a reader."""
    wish = replace(wishes.of(reader), hour=hour, timezone=timezone, **others)
    wishes.choose(session, reader.id, wish, origin=Origin(source="preferences"), now=NOW)


def send(session: Session, newsletter: Newsletter, *, now: datetime = START, batch_size: int = 10) -> Issue:
    """Draft and start an issue."""
    issue = issues.draft(session, newsletter, now=now)
    issues.start(session, issue, batch_size=batch_size, now=now)
    session.expire_all()
    return issues.get(session, issue.id)


def due(session: Session, issue: Issue) -> dict[int, datetime]:
    """When each reader's mail may leave, by subscription."""
    rows = session.execute(
        select(Delivery.subscription_id, Batch.due_at)
        .join(Batch, (Batch.issue_id == Delivery.issue_id) & Delivery.id.between(Batch.first_id, Batch.last_id))
        .where(Delivery.issue_id == issue.id)
    ).all()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1] for row in rows}


def claim(session: Session, now: datetime) -> deliveries.Claim | None:
    return deliveries.claim(session, owner="here.1", lease_seconds=60, now=now)


# --- the moment


@pytest.mark.parametrize(
    ("start", "hour", "zone", "expected"),
    [
        ("2026-11-23T06:00", 7, "Asia/Almaty", "2026-11-24T02:00"),
        ("2026-11-23T06:00", 21, "Europe/Paris", "2026-11-23T20:00"),
        # It is that hour already.
        ("2026-11-23T06:00", 7, "Europe/Paris", "2026-11-23T06:00"),
        ("2026-11-23T06:59", 7, "Europe/Paris", "2026-11-23T06:59"),
        ("2026-11-23T07:00", 7, "Europe/Paris", "2026-11-24T06:00"),
        # 02:00 is skipped: 03:00 is the next that there is.
        ("2026-03-28T22:00", 2, "Europe/Paris", "2026-03-29T01:00"),
        # 02:00 comes twice: the first.
        ("2026-10-24T22:00", 2, "Europe/Paris", "2026-10-25T00:00"),
        ("2026-10-25T01:30", 2, "Europe/Paris", "2026-10-25T01:30"),
        # A day of 25 hours.
        ("2026-10-24T22:00", 23, "Europe/Paris", "2026-10-25T22:00"),
        # Midnight itself is skipped.
        ("2026-04-23T12:00", 0, "Africa/Cairo", "2026-04-23T22:00"),
        # Clocks with half hours.
        ("2026-11-23T06:00", 7, "Asia/Kathmandu", "2026-11-24T01:15"),
        ("2026-11-23T06:00", 7, "No/Where", "2026-11-23T06:00"),
    ],
)
def test_mail_arrives_at_the_first_moment_of_the_chosen_hour(start: str, hour: int, zone: str, expected: str) -> None:
    found = hours.arrival(datetime.fromisoformat(start).replace(tzinfo=UTC), hour, zone)
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@given(
    some.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=some.just(UTC)),  # noqa: DTZ001
    some.integers(0, 23),
    some.sampled_from(ZONES),
)
def test_nobody_waits_longer_than_a_day_and_the_hour_is_right(start: datetime, hour: int, zone: str) -> None:
    found = hours.arrival(start, hour, zone)
    local = found.astimezone(ZoneInfo(zone))
    assert start <= found <= start + timedelta(days=1)
    was_skipped = local.replace(hour=hour, minute=0, fold=0).astimezone(UTC).astimezone(ZoneInfo(zone)).hour != hour
    assert local.hour == hour or was_skipped


# --- the freeze


def test_readers_with_an_hour_are_due_when_it_comes_and_the_others_at_once(
    session: Session, newsletter: Newsletter
) -> None:
    lea, tom, ann, bob = readers(session, newsletter, 4)
    want(session, lea, 7, "Asia/Almaty")
    want(session, ann, 21, "Europe/Paris")
    want(session, bob, 7, "Europe/Paris")
    issue = send(session, newsletter)
    assert issue.recipients == 4
    expected = {lea.id: START + 20 * HOUR, tom.id: START, ann.id: START + 14 * HOUR, bob.id: START}
    assert due(session, issue) == expected


def test_a_batch_holds_readers_of_one_moment_however_they_are_mixed(session: Session, newsletter: Newsletter) -> None:
    for number, reader in enumerate(readers(session, newsletter, 20)):
        if number % 4:
            want(session, reader, 6 + number % 4, "Asia/Tashkent")
    issue = send(session, newsletter, batch_size=3)
    assert len(due(session, issue)) == issue.recipients == 20
    sizes = session.execute(select(Batch.due_at, Batch.size).where(Batch.issue_id == issue.id).order_by(Batch.id)).all()
    assert [size for _, size in sizes] == [3, 2] * 4
    assert len({moment for moment, _ in sizes}) == 4
    assert ledger.equation(session, issue.id) == ledger.Equation(
        recipients=20, accepted=0, refused=0, skipped=0, uncertain=0
    )


def test_no_worker_claims_a_mail_before_its_hour(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 9, "Europe/Paris")
    send(session, newsletter)
    assert claim(session, START + 2 * HOUR - timedelta(seconds=1)) is None
    assert claim(session, START + 2 * HOUR) is not None


def test_how_many_wait_is_told_until_their_hour_comes(session: Session, newsletter: Newsletter) -> None:
    lea, tom, _ = readers(session, newsletter, 3)
    want(session, lea, 9, "Europe/Paris")
    want(session, tom, 21, "Europe/Paris")
    issue = send(session, newsletter)
    last = START + 14 * HOUR
    assert hours.waiting(session, issue.id, now=START) == hours.Waiting(readers=2, last_at=last)
    assert hours.waiting(session, issue.id, now=START + 3 * HOUR) == hours.Waiting(readers=1, last_at=last)
    assert hours.waiting(session, issue.id, now=last) is None


def test_a_retry_is_not_taken_for_a_readers_hour(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue = send(session, newsletter)
    taken = claim(session, START)
    assert taken is not None
    deliveries.release(session, taken, due_at=START + HOUR, now=START)
    assert hours.waiting(session, issue.id, now=START) is None


def test_the_issue_is_not_called_sent_while_somebody_waits(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 21, "Europe/Paris")
    issue = send(session, newsletter)
    assert not issues.finish(session, issue.id, now=START + HOUR)
    assert issues.get(session, issue.id).state == IssueState.SENDING


# --- what happens meanwhile


def reasons(session: Session, newsletter: Newsletter, tmp_path, *, meanwhile) -> list[str | None]:
    """Why each mail was not sent at its hour, after something happened meanwhile."""
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 9, "Europe/Paris")
    send(session, newsletter)
    meanwhile(lea)
    taken = claim(session, START + 2 * HOUR)
    assert taken is not None
    journal = Journal(tmp_path, capacity=10)
    try:
        return [one.reply for one in runs.begin(session, taken, journal).settled]
    finally:
        journal.close()


def test_who_leaves_before_their_hour_gets_nothing(session: Session, newsletter: Newsletter, tmp_path) -> None:
    def leave(reader: Subscription) -> None:
        subscriptions.end(session, reader.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=START + HOUR)

    assert reasons(session, newsletter, tmp_path, meanwhile=leave) == ["unsubscribed"]


def test_who_is_erased_before_their_hour_gets_nothing(session: Session, newsletter: Newsletter, tmp_path) -> None:
    def erase(reader: Subscription) -> None:
        session.execute(delete(Subscriber).where(Subscriber.id == reader.subscriber_id))

    assert reasons(session, newsletter, tmp_path, meanwhile=erase) == ["erased"]


def test_a_paused_issue_waits_beyond_the_hour_and_then_goes_on(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 9, "Europe/Paris")
    issue = send(session, newsletter)
    issues.pause(session, issue, "somebody", now=START)
    assert claim(session, START + 3 * HOUR) is None
    issues.resume(session, issue, now=START + 3 * HOUR)
    assert claim(session, START + 3 * HOUR) is not None


def test_a_cancelled_issue_waits_for_nobodys_hour(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 21, "Europe/Paris")
    issue = send(session, newsletter)
    issues.cancel(session, issue, now=START + HOUR)
    assert claim(session, START + HOUR) is not None


def test_what_a_reader_is_due_for_counts_when_the_issue_starts(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 6, "Europe/Paris", rhythm=Rhythm.DAILY)
    first = send(session, newsletter)
    # It leaves tomorrow, but is today's: today's next issue is not for this reader, tomorrow's is.
    assert due(session, first) == {lea.id: START + 23 * HOUR}
    an_article(session, newsletter, "rail", seen=START + HOUR)
    with pytest.raises(issues.IssueEmpty), session.begin_nested():
        send(session, newsletter, now=START + 2 * HOUR)
    session.expire_all()
    assert send(session, newsletter, now=START + 24 * HOUR).recipients == 1


def test_an_article_that_waits_for_the_hour_is_not_given_again(session: Session, newsletter: Newsletter) -> None:
    lea, _ = readers(session, newsletter, 2)
    want(session, lea, 6, "Europe/Paris")
    send(session, newsletter)
    other = a_newsletter(session, "autre")
    an_article(session, other, "eau", seen=START)
    subscriptions.add(session, other, "r0@example.org", language="fr", proof="test", now=NOW)
    with pytest.raises(issues.IssueEmpty), session.begin_nested():
        send(session, other, now=START + HOUR)


# --- the choice


def test_the_hour_is_noted_in_the_consent_log(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, 7, "Asia/Almaty")
    want(session, lea, None, None)
    details = session.execute(select(Consent.detail).where(Consent.subscription_id == lea.id).order_by(Consent.id))
    assert list(details.scalars())[-2:] == ["hour=7 timezone=Asia/Almaty", "hour= timezone="]


@pytest.mark.parametrize(("hour", "zone"), [(7, None), (None, "Asia/Almaty"), (24, "Asia/Almaty"), (7, "Asia/Nowhere")])
def test_an_hour_needs_a_zone_that_exists(
    session: Session, newsletter: Newsletter, hour: int | None, zone: str | None
) -> None:
    (lea,) = readers(session, newsletter, 1)
    with pytest.raises(wishes.WishInvalid):
        want(session, lea, hour, zone)
