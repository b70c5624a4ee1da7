"""An archive is not mailed because its feed was added: what counts as new, for each newsletter by itself."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.articles import baselines, intake
from mailer.issues import issues
from mailer.models.content import Article, Feed, Newsletter, NewsletterFeed
from mailer.models.intake import Baseline
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter, an_article, readers, the_feed
from tests.told import told

LATER = NOW + timedelta(hours=1)
ARCHIVE = [told(f"a{n}", published=NOW - timedelta(days=n + 1)) for n in range(30)]


def counted(session: Session, newsletter: Newsletter) -> dict[str, datetime | None]:
    """What counts for the newsletter, of all articles, by guid."""
    moment = baselines.counted_from(newsletter.id)
    return {row[0]: row[1] for row in session.execute(select(Article.guid, moment)) if row[1] is not None}


def choose(session: Session, newsletter: Newsletter, kind: Baseline, **values) -> None:
    choice = baselines.Choice(kind=kind, **values)
    baselines.choose(session, newsletter.id, the_feed(session, newsletter).id, choice, now=NOW)


def read(session: Session, feed: Feed, articles=ARCHIVE, now: datetime = NOW) -> None:
    intake.store(session, feed.id, articles, is_whole=True, now=now)


@pytest.mark.parametrize(
    ("kind", "values", "guids"),
    [
        (Baseline.NONE, {}, set()),
        (Baseline.LAST, {"count": 3}, {"a0", "a1", "a2"}),
        (Baseline.SINCE, {"since": NOW - timedelta(days=2)}, {"a0", "a1"}),
    ],
)
def test_of_what_a_feed_has_already_only_the_baseline_counts(
    session: Session, kind: Baseline, values: dict[str, object], guids: set[str]
) -> None:
    newsletter = a_newsletter(session)
    choose(session, newsletter, kind, **values)
    read(session, the_feed(session, newsletter))
    assert set(counted(session, newsletter)) == guids


def test_what_comes_later_counts_from_its_first_sight(session: Session) -> None:
    newsletter = a_newsletter(session)
    choose(session, newsletter, Baseline.NONE)
    read(session, the_feed(session, newsletter))
    read(session, the_feed(session, newsletter), [told("new", published=NOW - timedelta(days=99)), *ARCHIVE], LATER)
    assert counted(session, newsletter) == {"new": LATER}


def test_without_a_choice_a_first_issue_may_be_filled_once(session: Session) -> None:
    newsletter = a_newsletter(session, max_articles=5)
    read(session, the_feed(session, newsletter))
    assert set(counted(session, newsletter)) == {f"a{n}" for n in range(5)}


def test_a_feed_added_after_an_issue_brings_what_was_published_since(session: Session) -> None:
    newsletter = a_newsletter(session)
    an_article(session, newsletter, "first", seen=NOW - timedelta(days=3))
    readers(session, newsletter, 1)
    issue = issues.draft(session, newsletter, now=NOW - timedelta(days=2, hours=1))
    issues.start(session, issue, batch_size=10, now=NOW - timedelta(days=2, hours=1))
    added = newsletters.add_feed(session, newsletter, "https://other.example/feed", now=NOW)
    read(session, added)
    assert set(counted(session, newsletter)) == {"first", "a0", "a1"}


def test_a_feed_that_another_newsletter_has_read_for_years_has_a_baseline_of_its_own(session: Session) -> None:
    old = a_newsletter(session)
    feed = the_feed(session, old)
    read(session, feed, now=NOW - timedelta(days=1))
    young = a_newsletter(session, "hebdo", max_articles=2)
    newsletters.add_feed(session, young, feed.url, now=NOW)
    read(session, feed, now=LATER)
    assert counted(session, young) == {"a0": LATER, "a1": LATER}
    assert set(counted(session, old).values()) == {NOW - timedelta(days=1)}


def test_what_is_dated_in_the_future_is_new_whatever_the_baseline(session: Session) -> None:
    newsletter = a_newsletter(session)
    choose(session, newsletter, Baseline.NONE)
    read(session, the_feed(session, newsletter), [*ARCHIVE, told("embargo", published=LATER)])
    assert set(counted(session, newsletter)) == {"embargo"}


def test_another_baseline_takes_effect_on_a_feed_that_was_read(session: Session) -> None:
    newsletter = a_newsletter(session)
    read(session, the_feed(session, newsletter))
    choose(session, newsletter, Baseline.LAST, count=1)
    assert set(counted(session, newsletter)) == {"a0"}


def test_a_released_article_counts_although_it_was_there_before(session: Session) -> None:
    newsletter = a_newsletter(session)
    choose(session, newsletter, Baseline.NONE)
    read(session, the_feed(session, newsletter))
    chosen = session.execute(select(Article.id).where(Article.guid == "a9")).scalar_one()
    intake.hold(session, [chosen])
    intake.release(session, [chosen], now=LATER)
    assert counted(session, newsletter) == {"a9": LATER}


def test_a_feed_is_settled_once(session: Session) -> None:
    newsletter = a_newsletter(session)
    read(session, the_feed(session, newsletter))
    read(session, the_feed(session, newsletter), now=LATER)
    assert session.execute(select(NewsletterFeed.stock_until)).scalar_one() == NOW
