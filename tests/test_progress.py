"""How an issue gets on: what is told of pace, providers, replies and time, from what workers recorded."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.delivery import ledger, meanings, progress, tallies
from mailer.delivery.tallies import Point
from mailer.issues import issues
from mailer.mail_settings import DomainLimits, Transport
from mailer.models.content import IssueState, PauseReason
from mailer.models.progress import IssueEvent, ProviderTotal, ReplyTotal, Tally
from tests.factories import NOW, a_newsletter
from tests.watched import PROVIDERS, readers_at, record, sent_at, started_at

SERVERS = progress.Servers(routes=(), domains=())


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def look(session: Session, issue, at, reading=None, servers=SERVERS) -> progress.Progress:
    return progress.look(session, issue, reading or tallies.Reading(issue_id=issue.id), servers, now=at)


def on_its_way(session: Session, readers: int = 60):
    newsletter = a_newsletter(session)
    readers_at(session, newsletter, readers)
    return started_at(session, newsletter, NOW)


def test_nothing_is_foretold_before_two_intervals_are_over() -> None:
    points = [Point(at=NOW + seconds(5), accepted=50, refused=0)]
    early = progress.pace_of(points, left=100, since=NOW, now=NOW + seconds(19))
    later = progress.pace_of(points, left=100, since=NOW, now=NOW + seconds(20))
    assert early.left_seconds is None
    assert later.left_seconds == pytest.approx(40)


def test_the_rate_is_that_of_the_last_ten_seconds_and_the_rest_follows_from_sixty() -> None:
    points = [Point(at=NOW + seconds(at), accepted=10, refused=0) for at in range(1, 101)]
    points += [Point(at=NOW + seconds(at), accepted=28, refused=2) for at in range(101, 111)]
    pace = progress.pace_of(points, left=800, since=NOW, now=NOW + seconds(110))
    assert pace.per_second == pytest.approx(30)
    assert pace.left_seconds == pytest.approx(800 / (800 / 60))


def test_what_was_sent_before_a_pause_says_nothing_about_what_comes() -> None:
    points = [Point(at=NOW + seconds(10), accepted=500, refused=0)]
    pace = progress.pace_of(points, left=100, since=NOW + seconds(30), now=NOW + seconds(55))
    assert pace == progress.Pace(per_second=0.0, left_seconds=None)


def test_the_line_has_even_steps_from_the_first_answer_on() -> None:
    points = [Point(at=NOW + seconds(at), accepted=9, refused=1) for at in (0, 4, 25)]
    drawn = progress.line(points, until=NOW + seconds(45), is_folded=False)
    assert [rate for _, rate in drawn] == [2, 0, 1, 0]
    assert [at for at, _ in drawn] == [NOW + seconds(10 * step) for step in range(4)]


def test_a_send_of_days_has_no_more_steps_than_fit() -> None:
    points = [Point(at=NOW + timedelta(hours=at), accepted=60, refused=0) for at in range(72)]
    drawn = progress.line(points, until=NOW + timedelta(hours=72), is_folded=False)
    assert len(drawn) <= progress.MOST_STEPS + 1
    assert progress.line([], until=NOW, is_folded=False) == []


def test_what_workers_recorded_is_told_by_provider_and_reply(session: Session) -> None:
    issue = on_its_way(session)
    at = NOW + seconds(5)
    record(
        session, issue, at, accepted=17, refused=["550 5.1.1 <w17@x.example> unknown"], deferred=["421 4.7.0 slow"] * 2
    )
    seen = look(session, issue, at)
    assert (seen.equation.accepted, seen.equation.refused, seen.deferred) == (17, 1, 2)
    assert sum(one.counts.mailed for one in seen.providers) == 20
    assert seen.providers[0].name == PROVIDERS[0]
    assert [(one.outcome, one.words, one.count) for one in seen.said] == [
        ("deferred", "421 4.7.0 slow", 2),
        ("refused", "550 5.1.1 … unknown", 1),
    ]


def test_a_delivery_that_was_put_off_twice_and_then_taken_counts_once(session: Session) -> None:
    issue = on_its_way(session, readers=20)
    for turn in range(2):
        record(session, issue, NOW + turn * seconds(60), accepted=0, deferred=["451 later"] * 20, retry_in=seconds(30))
    assert look(session, issue, NOW + seconds(61)).deferred == 20
    record(session, issue, NOW + seconds(120), accepted=20)
    seen = look(session, issue, NOW + seconds(121))
    assert (seen.deferred, seen.equation.accepted) == (0, 20)
    assert sum(one.counts.deferred for one in seen.providers) == 20


def test_reading_on_tells_the_same_as_reading_anew(session: Session) -> None:
    issue = on_its_way(session)
    reading = tallies.Reading(issue_id=issue.id)
    for turn in range(3):
        at = NOW + turn * timedelta(minutes=2)
        record(
            session,
            issue,
            at,
            accepted=18,
            refused=["550 5.1.1 no"],
            deferred=["451 later"],
            retry_in=timedelta(days=1),
        )
        on, anew = look(session, issue, at, reading), look(session, issue, at)
        assert (on.providers, on.said, on.line, on.deferred) == (anew.providers, anew.said, anew.line, anew.deferred)
    assert reading.safe_id


def test_the_sums_of_an_issue_that_has_ended_tell_what_the_moments_told(session: Session) -> None:
    issue = on_its_way(session)
    reading = tallies.Reading(issue_id=issue.id)
    for turn in range(3):
        record(session, issue, NOW + turn * seconds(25), accepted=19, refused=["550 5.1.1 no"])
    before = look(session, issue, NOW + seconds(60), reading)
    assert issues.finish(session, issue.id, now=NOW + seconds(61))
    after = look(session, issue, NOW + seconds(62), reading)
    assert after.providers == before.providers
    assert after.said == before.said
    assert session.execute(select(func.sum(Tally.accepted), func.count()).where(Tally.issue_id == issue.id)).one() == (
        57,
        1,
    )
    tallies.fold(session, issue.id)
    assert look(session, issue, NOW + seconds(63)).providers == before.providers


def test_of_many_domains_the_small_ones_are_summed_up(session: Session) -> None:
    newsletter = a_newsletter(session)
    many = [f"d{number}.example" for number in range(tallies.MOST_PROVIDERS + 30)]
    session.add(Tally(issue_id=1, at=NOW, accepted=len(many), providers={one: [1, 0, 0, 0] for one in many}))
    issue = on_its_way_of(session, newsletter)
    session.execute(Tally.__table__.update().values(issue_id=issue.id))
    tallies.fold(session, issue.id)
    found = {row[0]: row[1] for row in session.execute(select(ProviderTotal.provider, ProviderTotal.accepted))}
    assert (len(found), found[tallies.OTHERS]) == (tallies.MOST_PROVIDERS + 1, 30)


def on_its_way_of(session: Session, newsletter):
    readers_at(session, newsletter, 2)
    return started_at(session, newsletter, NOW)


def test_a_talkative_server_does_not_fill_the_database(session: Session) -> None:
    issue = on_its_way(session)
    settled = [
        tallies.Settled(
            delivery_id=number, outcome=tallies.Outcome.REFUSED, reply=f"550 {'x' * number}y no", provider="a.example"
        )
        for number in range(1, 200)
    ]
    tallies.add(session, issue.id, settled, [], now=NOW)
    (row,) = session.execute(select(Tally)).scalars()
    assert len(row.replies) <= tallies.MOST_REPLIES + 1
    assert sum(row.replies.values()) == 199


def test_domains_that_share_limits_are_one_provider(session: Session) -> None:
    issue = on_its_way(session)
    record(session, issue, NOW + seconds(1), accepted=20)
    limits = DomainLimits(names=("orange.example", "*.gmail.example", "gmail.example"), per_second=1)
    seen = look(session, issue, NOW + seconds(2), servers=progress.Servers(routes=(), domains=(limits,)))
    assert seen.providers[0].name == "orange.example"
    assert seen.providers[0].counts.accepted == 15


def test_the_allowed_rate_is_the_sum_of_the_servers_limits_or_none() -> None:
    limited = [Transport(name=name, url="smtp://a.example", per_second=10) for name in ("a", "b")]
    free = Transport(name="c", url="smtp://c.example")
    assert progress.allowed(progress.Servers(routes=limited, domains=())) == 20
    assert progress.allowed(progress.Servers(routes=[*limited, free], domains=())) is None
    assert progress.allowed(SERVERS) is None


def test_nothing_accepted_for_a_minute_is_a_stall(session: Session) -> None:
    issue = on_its_way(session)
    record(session, issue, NOW + seconds(10), accepted=20)
    assert look(session, issue, NOW + seconds(69)).stalled_since is None
    assert look(session, issue, NOW + seconds(71)).stalled_since == NOW + seconds(10)


def test_who_only_waits_to_try_again_is_not_stalled(session: Session) -> None:
    issue = on_its_way(session, readers=20)
    record(session, issue, NOW + seconds(1), accepted=10, deferred=["451 later"] * 10, retry_in=timedelta(hours=1))
    seen = look(session, issue, NOW + timedelta(minutes=30))
    assert (seen.stalled_since, seen.pace.left_seconds) == (None, 0)
    assert seen.retry_at == NOW + seconds(1) + timedelta(hours=1)


def test_while_it_is_paused_time_stands_still(session: Session) -> None:
    issue = on_its_way(session)
    record(session, issue, NOW + seconds(25), accepted=20)
    issues.pause(session, issue, "554 no", code=PauseReason.BLOCKED, now=NOW + seconds(30))
    first, later = (look(session, issue, NOW + timedelta(minutes=one)) for one in (1, 50))
    assert first.pace == later.pace == progress.Pace(per_second=0.0, left_seconds=pytest.approx(60))
    assert first.line == later.line
    assert later.stalled_since is None
    assert later.done_at is None


def test_every_change_of_state_is_written_down(session: Session) -> None:
    issue = on_its_way(session, readers=2)
    issues.pause(session, issue, "554 no", code=PauseReason.BLOCKED, now=NOW + seconds(30))
    issues.resume(session, issue, now=NOW + seconds(40))
    record(session, issue, NOW + seconds(50), accepted=2)
    issues.finish(session, issue.id, now=NOW + seconds(60))
    found = session.execute(select(IssueEvent).where(IssueEvent.issue_id == issue.id).order_by(IssueEvent.id)).scalars()
    assert [(one.state, one.code, one.words) for one in found] == [
        (IssueState.SENDING, None, None),
        (IssueState.PAUSED, PauseReason.BLOCKED, "554 no"),
        (IssueState.SENDING, None, None),
        (IssueState.SENT, None, None),
    ]


def test_replies_with_one_code_and_one_cause_are_told_together() -> None:
    said = meanings.explain(
        {
            "refused 550 5.1.1 user unknown": 3,
            "refused 550 5.1.1 no such user": 2,
            "refused 552 5.2.2 mailbox full": 1,
            "deferred 421 4.7.0 rate limited, too many connections": 4,
            "skipped unsubscribed": 9,
            "uncertain no answer after the final dot": 1,
        }
    )
    assert [(one.count, one.meaning) for one in said] == [
        (5, "The address does not exist."),
        (4, "The server asks us to send more slowly."),
        (1, "The mailbox is full."),
        (1, meanings.NO_ANSWER),
    ]
    assert said[1].deed == meanings.SLOWED


def test_what_one_reader_got_is_found_by_their_address(session: Session) -> None:
    issue = sent_at(session, a_newsletter_with(session), NOW, refused=1)
    taken, refused = (
        ledger.of_reader(session, issue.id, f"w{number}@{PROVIDERS[at]}") for number, at in ((0, 0), (3, 2))
    )
    assert taken is not None
    assert refused is not None
    assert (taken.outcome, refused.outcome) == ("accepted", "refused")
    assert ledger.of_reader(session, issue.id, "nobody@example.org") is None
    assert [
        one.outcome for one in ledger.log(session, issue.id, outcome=ledger.Outcome.REFUSED, after_id=0, limit=9)
    ] == ["refused"]


def a_newsletter_with(session: Session):
    newsletter = a_newsletter(session)
    readers_at(session, newsletter, 4)
    return newsletter


def test_replies_of_an_ended_issue_are_kept_as_sums(session: Session) -> None:
    issue = sent_at(session, a_newsletter_with(session), NOW, refused=2)
    found = session.execute(select(ReplyTotal.said, ReplyTotal.count).where(ReplyTotal.issue_id == issue.id)).all()
    assert [tuple(one) for one in found] == [("refused 550 5.1.1 no", 2)]
