"""Which articles the next issue holds, and why."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from mailer.articles import topics
from mailer.issues import issues, selection
from mailer.models.content import Article, Issue, IssueState, Layout, Newsletter
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter, an_article, readers

LATER = NOW + timedelta(days=7)


def titles(session: Session, newsletter: Newsletter, *, now=LATER) -> list[str]:
    return [one.article.guid for one in selection.select_articles(session, newsletter, now=now).chosen]


def reasons(session: Session, newsletter: Newsletter, *, now=LATER) -> dict[str, str]:
    return {one.article.guid: one.reason for one in selection.select_articles(session, newsletter, now=now).left_out}


def publish(session: Session, newsletter: Newsletter, *, now) -> Issue:
    """Draft and start the next issue."""
    issue = issues.draft(session, newsletter, now=now)
    issues.start(session, issue, batch_size=10, now=now)
    return issue


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    made = a_newsletter(session)
    readers(session, made, 1)
    return made


def test_newest_first_and_in_a_total_order(session: Session, newsletter: Newsletter) -> None:
    for hours, slug in [(1, "b"), (3, "c"), (2, "a")]:
        an_article(session, newsletter, slug, seen=NOW + timedelta(hours=hours))
    an_article(session, newsletter, "undated", seen=NOW, published_at=None)
    assert titles(session, newsletter) == ["c", "a", "b", "undated"]


def test_an_article_without_a_date_stands_where_it_was_first_seen(session: Session, newsletter: Newsletter) -> None:
    for hours in range(6):
        dated = NOW + timedelta(hours=hours) if hours % 2 else None
        an_article(session, newsletter, f"a{hours}", seen=NOW + timedelta(hours=hours), published_at=dated)
    newsletters.edit(session, newsletter, values={"max_articles": 3}, now=NOW)
    assert titles(session, newsletter) == ["a5", "a4", "a3"]


def test_articles_of_one_moment_keep_the_order_of_their_feed(session: Session, newsletter: Newsletter) -> None:
    for slug in ("z", "y", "x"):
        an_article(session, newsletter, slug, seen=NOW, published_at=None)
    assert titles(session, newsletter) == ["z", "y", "x"] == titles(session, newsletter)


def test_neither_the_undated_nor_the_pinned_starve_behind_a_thousand_others(
    session: Session, newsletter: Newsletter
) -> None:
    pinned = an_article(session, newsletter, "pinned", seen=NOW, published_at=NOW - timedelta(days=3))
    an_article(session, newsletter, "undated", seen=NOW + timedelta(hours=2), published_at=None)
    for slug, moment in [("old", NOW - timedelta(hours=1)), ("embargo", LATER + timedelta(days=9))]:
        many(session, newsletter, slug, selection.CANDIDATES, published_at=moment)
    newsletters.pin(session, newsletter, pinned.id, priority=0, until=LATER + timedelta(days=1), now=NOW)
    assert titles(session, newsletter)[:3] == ["pinned", "undated", "old"]


def many(session: Session, newsletter: Newsletter, slug: str, count: int, *, published_at: datetime) -> None:
    first = an_article(session, newsletter, slug, published_at=published_at)
    one = {"feed_id": first.feed_id, "title": first.title, "topics": []}
    moments = {"published_at": published_at, "first_seen_at": NOW, "updated_at": NOW}
    names = [f"{slug}-{number}" for number in range(count)]
    rows = [{"guid": name, "url": name, "canonical_url": name, **one, **moments} for name in names]
    session.execute(insert(Article), rows)


def test_the_next_window_starts_where_the_last_one_ended(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "old", seen=NOW)
    publish(session, newsletter, now=NOW + timedelta(hours=1))
    an_article(session, newsletter, "exactly", seen=NOW + timedelta(hours=1))
    an_article(session, newsletter, "after", seen=NOW + timedelta(hours=2))
    assert titles(session, newsletter) == ["after", "exactly"]


def test_an_article_seen_late_is_not_lost_for_its_old_date(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "first", seen=NOW)
    publish(session, newsletter, now=NOW + timedelta(hours=1))
    an_article(session, newsletter, "late", seen=NOW + timedelta(hours=2), published_at=NOW - timedelta(days=3))
    assert titles(session, newsletter) == ["late"]


def test_an_archive_that_appears_all_at_once_is_left_out(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "first", seen=NOW)
    publish(session, newsletter, now=NOW + timedelta(hours=1))
    an_article(session, newsletter, "archive", seen=NOW + timedelta(hours=2), published_at=NOW - timedelta(days=400))
    assert reasons(session, newsletter) == {"archive": "published more than 30 days ago"}


def test_the_first_issue_takes_the_newest_whatever_their_age(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "ancient", seen=NOW, published_at=NOW - timedelta(days=4000))
    assert titles(session, newsletter) == ["ancient"]


def test_a_future_date_is_held_and_then_published(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "now", seen=NOW)
    an_article(session, newsletter, "embargo", seen=NOW, published_at=NOW + timedelta(days=2))
    assert "held" in reasons(session, newsletter, now=NOW + timedelta(days=1))["embargo"]
    publish(session, newsletter, now=NOW + timedelta(days=1))
    assert titles(session, newsletter, now=NOW + timedelta(days=3)) == ["embargo"]


def test_the_same_story_from_two_feeds_is_about_the_topics_of_both(session: Session, newsletter: Newsletter) -> None:
    for slug, category in (("politique", "Politique"), ("eau", "Eau")):
        topics.put(session, newsletter, slug, names={"fr": slug}, rules={"categories": [category]})
    first = an_article(session, newsletter, "one", topics=["Eau"], seen=NOW - timedelta(hours=2))
    second = an_article(session, newsletter, "copy", canonical_url=first.canonical_url, topics=["Politique"], seen=NOW)
    now = NOW + timedelta(minutes=1)
    pool = selection.read_pool(session, newsletter, selection.View(start=None), until=now)
    assert [one.topics for one in pool.candidates] == [("politique", "eau")] * 2
    assert pool.topics_of(second) == ("politique", "eau")


def test_the_same_story_from_two_feeds_comes_once(session: Session, newsletter: Newsletter) -> None:
    other = newsletters.add_feed(session, newsletter, "https://courrier.example/second.xml", now=NOW)
    first = an_article(session, newsletter, "a", seen=NOW)
    session.add(
        Article(
            feed_id=other.id,
            guid="copy",
            url=first.url + "?utm_source=rss",
            canonical_url=first.canonical_url,
            title="A",
            topics=[],
            published_at=NOW - timedelta(hours=1),
            first_seen_at=NOW,
            updated_at=NOW,
        )
    )
    session.flush()
    assert titles(session, newsletter) == ["a"]
    assert "another feed" in reasons(session, newsletter)["copy"]


def test_an_article_that_was_sent_does_not_come_again_under_a_new_guid(
    session: Session, newsletter: Newsletter
) -> None:
    sent = an_article(session, newsletter, "a", seen=NOW)
    publish(session, newsletter, now=NOW + timedelta(hours=1))
    an_article(session, newsletter, "new-guid", seen=NOW + timedelta(hours=2), canonical_url=sent.canonical_url)
    assert titles(session, newsletter) == []
    assert reasons(session, newsletter)["new-guid"] == "already in an earlier issue"


def test_what_is_beyond_the_maximum_is_left_out_with_the_reason(session: Session, newsletter: Newsletter) -> None:
    newsletters.edit(session, newsletter, values={"max_articles": 2}, now=NOW)
    for hours in range(4):
        an_article(session, newsletter, f"a{hours}", seen=NOW + timedelta(hours=hours))
    assert titles(session, newsletter) == ["a3", "a2"]
    assert set(reasons(session, newsletter)) == {"a1", "a0"}


def test_every_candidate_is_in_or_out_with_a_reason(session: Session, newsletter: Newsletter) -> None:
    for hours in range(20):
        an_article(session, newsletter, f"a{hours}", seen=NOW + timedelta(hours=hours))
    found = selection.select_articles(session, newsletter, now=LATER)
    assert len(found.chosen) + len(found.left_out) == 20
    assert all(one.reason for one in [*found.chosen, *found.left_out])


def test_a_cancelled_draft_uses_no_article(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "a", seen=NOW)
    issue = issues.draft(session, newsletter, now=NOW + timedelta(hours=1))
    issues.cancel(session, issue, now=NOW + timedelta(hours=1))
    assert issue.state == IssueState.CANCELLED
    assert titles(session, newsletter) == ["a"]


def test_the_first_article_with_a_picture_leads(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "b", seen=NOW, image_url="https://courrier.example/b.jpg")
    an_article(session, newsletter, "a", seen=NOW + timedelta(hours=1))
    chosen = selection.select_articles(session, newsletter, now=LATER).chosen
    assert [(one.article.guid, one.layout) for one in chosen] == [("a", Layout.CARD), ("b", Layout.LEAD)]


def test_only_categories_that_the_newsletter_takes_are_chosen(session: Session, newsletter: Newsletter) -> None:
    values = {"include_categories": ["Société", "Sport"], "exclude_categories": ["publireportage"]}
    newsletters.edit(session, newsletter, values=values, now=NOW)
    for slug, categories in [("a", ["société"]), ("b", ["Sport", "Publireportage"]), ("c", ["Météo"]), ("d", [])]:
        an_article(session, newsletter, slug, seen=NOW, topics=categories)
    assert titles(session, newsletter) == ["a"]
    assert set(reasons(session, newsletter).values()) == {selection.WORDS[selection.Why.CATEGORY]}


def test_too_few_articles_wait_no_longer_than_the_newsletter_says(session: Session, newsletter: Newsletter) -> None:
    newsletters.edit(session, newsletter, values={"min_articles": 3, "max_wait_days": 5}, now=NOW)
    an_article(session, newsletter, "a", seen=NOW)
    for days, is_enough in [(4, False), (5, True)]:
        found = selection.select_articles(session, newsletter, now=NOW + timedelta(days=days))
        assert found.is_enough == is_enough


def test_what_is_held_or_withdrawn_is_left_out_with_its_reason(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "held", seen=NOW, status="held", status_code="held_by_hand")
    an_article(session, newsletter, "gone", seen=NOW, status="withdrawn", status_code="page_gone")
    assert reasons(session, newsletter) == {"held": "held by the newsroom", "gone": "withdrawn: its page is gone"}


def test_what_waited_too_long_is_no_news_any_more(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "first", seen=NOW)
    publish(session, newsletter, now=NOW + timedelta(hours=1))
    an_article(session, newsletter, "waits", seen=NOW + timedelta(hours=2))
    assert titles(session, newsletter, now=NOW + timedelta(days=35)) == ["waits"]
    assert reasons(session, newsletter, now=NOW + timedelta(days=36)) == {"waits": "first seen more than 35 days ago"}
