"""What a feed tells becomes articles: which is the same, which is new, what is kept, held and withdrawn."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.articles import intake
from mailer.feeds.parsed import ParsedArticle
from mailer.models.content import Article
from mailer.models.intake import ArticleRevision, ArticleStatus, ImageSource, StatusCode
from tests.factories import NOW, a_newsletter, the_feed
from tests.told import told

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def feed_id(session: Session) -> int:
    return the_feed(session, a_newsletter(session)).id


def store(session: Session, feed_id: int, articles: Sequence[ParsedArticle], now: datetime = LATER, **values):
    return intake.store(session, feed_id, articles, now=now, **{"is_whole": True, **values})


def rows(session: Session) -> list[Article]:
    return list(session.execute(select(Article).order_by(Article.id)).scalars())


def revisions(session: Session) -> list[tuple[int, str]]:
    found = session.execute(select(ArticleRevision).order_by(ArticleRevision.number)).scalars()
    return [(one.number, one.title) for one in found]


# Which article it is


def test_telling_the_same_again_changes_nothing(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("eau"), told("rail")], NOW)
    again = store(session, feed_id, [told("eau"), told("rail")])
    assert (again.new, again.changed) == (0, 0)
    assert {row.updated_at for row in rows(session)} == {NOW}


def test_new_articles_stand_in_the_feeds_order(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("c"), told("a"), told("b")])
    assert [row.guid for row in rows(session)] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "url",
    [
        "http://courrier.example/eau",
        "https://www.courrier.example/eau/",
        "https://courrier.example/eau?utm_source=rss#top",
    ],
)
def test_an_article_with_a_new_guid_and_its_old_address_is_the_same(session: Session, feed_id: int, url: str) -> None:
    store(session, feed_id, [told("eau")], NOW)
    moved = store(session, feed_id, [told("eau", guid="new-id", url=url)])
    (row,) = rows(session)
    assert (moved.new, row.guid, row.first_seen_at) == (0, "new-id", NOW)


def test_a_whole_feed_whose_guids_change_brings_nothing_new(session: Session, feed_id: int) -> None:
    slugs = [f"a{n}" for n in range(20)]
    store(session, feed_id, [told(slug) for slug in slugs], NOW)
    churned = store(session, feed_id, [told(slug, guid=f"tag:{slug}") for slug in slugs])
    assert (churned.new, churned.held, len(rows(session))) == (0, 0, 20)


def test_two_articles_that_share_an_address_stay_two(session: Session, feed_id: int) -> None:
    url = "https://courrier.example/direct"
    store(session, feed_id, [told("a", url=url), told("b", url=url)], NOW)
    store(session, feed_id, [told("c", url=url), told("d", url=url)])
    assert len(rows(session)) == 4


def test_articles_without_an_address_are_not_one_because_they_lead_to_the_front_page(
    session: Session, feed_id: int
) -> None:
    front = "https://courrier.example/"
    store(session, feed_id, [told("a", url=front)], NOW)
    assert store(session, feed_id, [told("b", url=front)]).new == 1


def test_a_guid_used_again_for_a_later_story_is_a_new_article(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("1", url="https://courrier.example/eau", title="L’eau manque à Karakol")], NOW)
    later = told("1", url="https://courrier.example/rail", title="Un train pour Kachgar", published=LATER)
    assert store(session, feed_id, [later]).new == 1
    assert [(row.title, row.first_seen_at) for row in rows(session)] == [
        ("L’eau manque à Karakol", NOW),
        ("Un train pour Kachgar", LATER),
    ]
    assert store(session, feed_id, [later]).new == 0


@pytest.mark.parametrize(
    "again",
    [
        told("1", url="https://courrier.example/eau", title="Un train pour Kachgar", published=LATER),
        told("1", url="https://courrier.example/rail", title="Un train pour Kachgar", published=NOW),
        told("1", url="https://courrier.example/eau-2", title="L’eau manque encore à Karakol", published=LATER),
        told("1", url="https://courrier.example/rail", title="Un train pour Kachgar", published=None),
    ],
    ids=["same address", "not later", "much the same title", "no date"],
)
def test_an_article_that_changes_less_than_that_is_the_same(
    session: Session, feed_id: int, again: ParsedArticle
) -> None:
    store(session, feed_id, [told("1", url="https://courrier.example/eau", title="L’eau manque à Karakol")], NOW)
    assert store(session, feed_id, [again]).new == 0


# What would flood readers


def test_known_titles_under_new_addresses_are_held_when_they_are_most_of_the_feed(
    session: Session, feed_id: int
) -> None:
    slugs = [f"a{n}" for n in range(10)]
    store(session, feed_id, [told(slug) for slug in slugs], NOW)
    moved = [told(f"m-{slug}", title=f"LE  TITRE de {slug} !", url=f"https://new.example/{slug}") for slug in slugs]
    stored = store(session, feed_id, [told("fresh", title="Du neuf"), *moved])
    assert (stored.new, stored.held) == (11, 10)
    held = [row for row in rows(session) if row.status == ArticleStatus.HELD]
    assert {row.status_code for row in held} == {StatusCode.KNOWN_TITLE}
    assert "fresh" not in {row.guid for row in held}


def test_a_column_with_the_same_title_every_week_is_not_held(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("w1", title="La semaine"), told("a"), told("b")], NOW)
    stored = store(session, feed_id, [told("w2", title="La semaine"), told("w1", title="La semaine"), told("c")])
    assert (stored.new, stored.held) == (2, 0)


def test_a_feed_that_was_away_for_long_and_is_all_new_is_not_held(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told(f"a{n}") for n in range(10)], NOW)
    assert store(session, feed_id, [told(f"b{n}") for n in range(10)]).held == 0


def test_a_released_article_counts_as_first_seen_then(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("eau")], NOW)
    (row,) = rows(session)
    intake.hold(session, [row.id])
    assert intake.release(session, [row.id], now=LATER) == [row.id]
    session.refresh(row)
    assert (row.status, row.status_reason, row.first_seen_at) == (ArticleStatus.READY, None, LATER)
    assert intake.release(session, [row.id], now=LATER + timedelta(hours=1)) == []


# What it said before


def test_a_changed_article_keeps_its_words_before(session: Session, feed_id: int) -> None:
    for title in ("Premier", "Deuxième", "Troisième"):
        store(session, feed_id, [told("eau", title=title)])
    (row,) = rows(session)
    assert (row.title, row.revision) == ("Troisième", 2)
    assert revisions(session) == [(0, "Premier"), (1, "Deuxième")]


def test_markup_that_says_the_same_makes_no_revision(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("eau", html='<p title="1">Le texte.</p>')])
    store(session, feed_id, [told("eau", html='<p title="2">Le texte.</p>')])
    (row,) = rows(session)
    assert (row.html, row.revision) == ('<p title="2">Le texte.</p>', 0)
    assert revisions(session) == []


def test_of_many_revisions_the_first_and_the_last_are_kept(session: Session, feed_id: int) -> None:
    for number in range(31):
        store(session, feed_id, [told("eau", title=f"Titre {number}")])
    numbers = [number for number, _ in revisions(session)]
    assert numbers == [0, *range(10, 30)]


# What the page said


def test_a_picture_from_the_page_stays_while_the_feed_names_none_beside_the_text(
    session: Session, feed_id: int
) -> None:
    store(session, feed_id, [told("eau")])
    (row,) = rows(session)
    row.image_url, row.image_source = "https://courrier.example/og.jpg", ImageSource.PAGE
    store(session, feed_id, [told("eau", image_url="https://courrier.example/text.jpg", is_image_in_text=True)])
    assert row.image_url == "https://courrier.example/og.jpg"
    store(session, feed_id, [told("eau", image_url="https://courrier.example/feed.jpg")])
    assert (row.image_url, row.image_source) == ("https://courrier.example/feed.jpg", ImageSource.FEED)
    store(session, feed_id, [told("eau")])
    assert row.image_url is None


def test_a_lock_that_the_page_told_of_stays(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("eau")])
    (row,) = rows(session)
    row.is_locked, row.html, row.page_read_at = True, "", NOW
    store(session, feed_id, [told("eau", title="Corrigé")])
    assert (row.title, row.is_locked, row.html) == ("Corrigé", True, "")


# What is taken back


def test_an_article_that_the_site_takes_back_is_withdrawn_until_it_is_told_again(
    session: Session, feed_id: int
) -> None:
    store(session, feed_id, [told("eau"), told("rail")], NOW)
    assert store(session, feed_id, [told("rail")], withdrawn=["eau", "unknown"]).withdrawn == 1
    eau = rows(session)[0]
    session.refresh(eau)
    assert (eau.status, eau.status_reason) == (ArticleStatus.WITHDRAWN, "withdrawn by the site")
    store(session, feed_id, [told("eau")], LATER)
    assert (eau.status, eau.first_seen_at) == (ArticleStatus.READY, LATER)


def test_an_article_that_the_newsroom_withdrew_stays_so_whatever_the_feed_tells(session: Session, feed_id: int) -> None:
    store(session, feed_id, [told("eau")], NOW)
    (row,) = rows(session)
    assert intake.withdraw(session, [row.id], StatusCode.WITHDRAWN_BY_HAND) == [row.id]
    store(session, feed_id, [told("eau", title="Corrigé")])
    session.refresh(row)
    assert (row.title, row.status) == ("Corrigé", ArticleStatus.WITHDRAWN)


def test_a_push_goes_by_guid_alone(session: Session, feed_id: int) -> None:
    url = "https://courrier.example/eau"
    store(session, feed_id, [told("a", url=url)], NOW, is_whole=False)
    assert store(session, feed_id, [told("b", url=url)], is_whole=False).new == 1
    again = told("a", url="https://courrier.example/rail", title="Tout autre chose", published=LATER)
    assert store(session, feed_id, [again], is_whole=False).new == 0


# Whatever a feed tells

DATES = st.none() | st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days))
ARTICLES = st.builds(
    lambda guid, path, title, published: told(
        guid, url=f"https://courrier.example/{path}", title=title, published=published
    ),
    st.sampled_from("1234"),
    st.sampled_from(["", "eau", "rail", "air"]),
    st.sampled_from(["L’eau manque à Karakol", "Un train pour Kachgar", "Le sel de la mer"]),
    DATES,
)
READINGS = st.lists(st.lists(ARTICLES, max_size=5), min_size=1, max_size=4)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(readings=READINGS)
def test_a_reading_told_twice_changes_nothing_and_no_article_is_lost(
    session: Session, feed_id: int, readings: list[list[ParsedArticle]]
) -> None:
    with session.begin_nested() as nested:
        before = 0
        for number, reading in enumerate(readings):
            store(session, feed_id, reading, NOW + timedelta(hours=number))
            again = store(session, feed_id, reading, NOW + timedelta(hours=number, minutes=30))
            assert (again.new, again.changed, again.held) == (0, 0, 0)
            kept = rows(session)
            assert len(kept) >= before
            assert {one.guid for one in reading} <= {row.guid for row in kept}
            before = len(kept)
        nested.rollback()
    session.expire_all()
