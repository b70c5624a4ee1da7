"""The next issue as of any moment, and as one reader would get it, with a reason for every article."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.articles import baselines, topics
from mailer.audience import subscriptions
from mailer.issues import explanations, schedules
from mailer.issues.explanations import Explanation
from mailer.models.audience import Consent, ConsentEvent
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.models.intake import Baseline
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter, an_article, readers, the_feed
from tests.test_variants import DAY, MONDAY, article, choose, given, send

LEA = "r0@example.org"


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    made = a_newsletter(session)
    topics.put(session, made, "economie", names={"fr": "Économie"}, rules={"categories": ["Économie"]})
    return made


def reasons(told: Explanation) -> dict[str, str]:
    """Every article, in or out, with its reason."""
    return {one.article.guid: one.reason for one in (*told.selection.chosen, *told.selection.left_out, *told.late)}


def chosen(told: Explanation) -> list[str]:
    return [one.article.guid for one in told.selection.chosen]


def test_what_came_after_the_cut_off_is_told_for_the_next_issue(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "in", seen=MONDAY - timedelta(minutes=3))
    an_article(session, newsletter, "late", seen=MONDAY + timedelta(minutes=3))
    told = explanations.explain(session, newsletter, at=MONDAY, now=MONDAY + DAY)
    assert chosen(told) == ["in"]
    late = "first seen 2026-11-23 06:03 UTC, after the cut-off at 2026-11-23 06:00 UTC: for the next issue"
    assert reasons(told)["late"] == late


def test_a_past_moment_is_as_it_was_then(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    an_article(session, newsletter, "a", seen=MONDAY - timedelta(hours=1))
    send(session, newsletter, now=MONDAY)
    before = MONDAY - timedelta(minutes=1)
    for subscriber in (None, LEA):
        then = explanations.explain(session, newsletter, at=before, now=MONDAY + DAY, subscriber=subscriber)
        today = explanations.explain(session, newsletter, at=MONDAY + DAY, now=MONDAY + DAY, subscriber=subscriber)
        assert (chosen(then), chosen(today)) == (["a"], [])
    assert given(session, lea) == [["a"]]


def test_a_reader_is_told_what_they_would_get_and_why_not(session: Session, newsletter: Newsletter) -> None:
    lea, _ = readers(session, newsletter, 2)
    article(session, newsletter, "first", "Économie", seen=NOW)
    send(session, newsletter, now=MONDAY)
    choose(session, lea, now=MONDAY, topics=("economie",), rhythm=Rhythm.WEEKLY)
    article(session, newsletter, "eco", "Économie", seen=MONDAY + timedelta(hours=1))
    article(session, newsletter, "soc", "Société", seen=MONDAY + timedelta(hours=1))
    send(session, newsletter, now=MONDAY + DAY)
    at = MONDAY + 7 * DAY
    told = explanations.explain(session, newsletter, at=at, now=at, subscriber=LEA)
    assert chosen(told) == ["eco"]
    assert reasons(told)["eco"] == "first seen 2026-11-23 07:00 UTC, after this reader’s last issue"
    assert reasons(told)["soc"] == "about none of the topics that this reader chose"
    assert told.aside is None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"rhythm": Rhythm.WEEKLY}, "This reader wants one issue a week, and has had the one of this week."),
        ({"paused_until": MONDAY + 9 * DAY}, "This reader gets no issue until 2026-12-02, as they wished."),
        ({}, "Nothing is left that this reader wants and has not had, so they get no issue."),
    ],
)
def test_a_reader_who_would_get_no_issue_is_told_why(
    session: Session, newsletter: Newsletter, wanted: dict[str, Any], words: str
) -> None:
    (lea,) = readers(session, newsletter, 1)
    an_article(session, newsletter, "a", seen=NOW)
    send(session, newsletter, now=MONDAY)
    choose(session, lea, now=MONDAY, **wanted)
    told = explanations.explain(session, newsletter, at=MONDAY + DAY, now=MONDAY + DAY, subscriber=LEA)
    assert told.aside_words == words


def test_a_pause_ends_on_the_day_that_the_reader_chose(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    chosen_day = datetime(2026, 12, 24, tzinfo=schedules.zone(newsletter.timezone)).astimezone(UTC)
    choose(session, lea, now=MONDAY, paused_until=chosen_day)
    told = explanations.explain(session, newsletter, at=MONDAY + DAY, now=MONDAY + DAY, subscriber=LEA)
    assert told.aside_words == "This reader gets no issue until 2026-12-24, as they wished."
    noted = select(Consent.detail).where(Consent.subscription_id == lea.id, Consent.event == ConsentEvent.CHANGED)
    assert session.execute(noted).scalars().all() == ["paused_until=2026-12-24"]


def test_what_is_told_to_a_reader_is_what_they_get(session: Session, newsletter: Newsletter) -> None:
    lea, _ = readers(session, newsletter, 2)
    newsletters.edit(session, newsletter, values={"max_articles": 3}, now=NOW)
    wishes: list[dict[str, Any]] = [{}, {"rhythm": Rhythm.WEEKLY}, {}, {"topics": ("economie",)}, {}, {}, {}, {}]
    for day, wish in enumerate(wishes):
        now = MONDAY + day * DAY
        for topic in ("Économie", "Société"):
            article(session, newsletter, f"{topic}{day}", topic, seen=now - timedelta(hours=1))
        told = explanations.explain(session, newsletter, at=now, now=now, subscriber=LEA)
        before = len(given(session, lea))
        send(session, newsletter, now=now)
        got = [] if told.aside else [sorted(chosen(told))]
        assert given(session, lea)[before:] == got, day
        choose(session, lea, now=now, **wish)


def test_an_unknown_address_is_no_reader(session: Session, newsletter: Newsletter) -> None:
    with pytest.raises(subscriptions.SubscriptionNotFound):
        explanations.explain(session, newsletter, at=NOW, now=NOW, subscriber="nobody@example.org")


def test_what_a_feed_had_before_it_was_added_is_told_as_such(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "archive", seen=NOW)
    feed = the_feed(session, newsletter)
    baselines.choose(session, newsletter.id, feed.id, baselines.Choice(kind=Baseline.NONE), now=NOW)
    baselines.settle(session, feed.id, now=NOW)
    told = explanations.explain(session, newsletter, at=MONDAY, now=MONDAY)
    assert reasons(told) == {"archive": "it was there before its feed was added"}
