"""Who gets which article: topics, rhythm, several newsletters; and that nobody gets one twice."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from mailer.articles import topics
from mailer.audience import subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.issues import issues, variants
from mailer.models.audience import Subscription
from mailer.models.choices import Place, Rhythm, VariantArticle
from mailer.models.content import Article, Issue, Layout, Newsletter, NewsletterFeed, Variant
from mailer.models.deliveries import Delivery, DeliveryOutcome, Outcome
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, an_article, readers, the_feed

DAY = timedelta(days=1)
# A Monday, 07:00 in Paris.
MONDAY = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    made = a_newsletter(session)
    for slug, name in (("economie", "Économie"), ("societe", "Société")):
        topics.put(session, made, slug, names={"fr": name}, rules={"categories": [name]})
    return made


def article(session: Session, newsletter: Newsletter, slug: str, topic: str, *, seen: datetime) -> Article:
    return an_article(session, newsletter, slug, seen=seen, topics=[topic])


def choose(session: Session, reader: Subscription, *, now: datetime, **wanted: Any) -> None:
    """Change what a reader wants."""
    wish = replace(wishes.of(subscriptions.get(session, reader.id)), **wanted)
    wishes.choose(session, reader.id, wish, origin=Origin(), now=now)


def send(session: Session, newsletter: Newsletter, *, now: datetime) -> Issue:
    """Draft and start the next issue."""
    issue = issues.draft(session, newsletter, now=now)
    issues.start(session, issue, batch_size=10, now=now)
    session.expire_all()
    return issues.get(session, issue.id)


def send_if_due(session: Session, newsletter: Newsletter, *, now: datetime) -> None:
    """The same, unless there is nothing or nobody."""
    try:
        with session.begin_nested():
            send(session, newsletter, now=now)
    except issues.IssueEmpty:
        session.expire_all()


def given(session: Session, reader: Subscription, *places: Place) -> list[list[str]]:
    """What a reader was given of all newsletters: the articles of each mail, in order."""
    mails: dict[int, list[str]] = {}
    rows = session.execute(
        select(Delivery.id, Article.guid)
        .join(VariantArticle, VariantArticle.variant_id == Delivery.variant_id)
        .join(Article, Article.id == VariantArticle.article_id)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .where(Subscription.subscriber_id == reader.subscriber_id, VariantArticle.place.in_(places or [Place.GIVEN]))
        .order_by(Delivery.id, Article.guid)
    )
    for delivery_id, guid in rows:
        mails.setdefault(delivery_id, []).append(guid)
    return list(mails.values())


def settle(session: Session, outcome: Outcome) -> None:
    """End every open delivery so."""
    done = select(DeliveryOutcome.delivery_id)
    waiting = session.execute(select(Delivery.id).where(Delivery.id.not_in(done))).scalars()
    rows = [{"delivery_id": one, "outcome": outcome, "recorded_at": NOW} for one in waiting]
    if rows:
        session.execute(insert(DeliveryOutcome), rows)


def count_variants(session: Session, issue: Issue) -> int:
    return session.execute(select(func.count()).where(Variant.issue_id == issue.id)).scalar_one()


# --- topics


def test_a_reader_gets_the_chosen_topics_and_the_others_get_all(session: Session, newsletter: Newsletter) -> None:
    lea, tom = readers(session, newsletter, 2)
    choose(session, lea, now=NOW, topics=("economie",))
    article(session, newsletter, "eco", "Économie", seen=NOW)
    article(session, newsletter, "soc", "Société", seen=NOW)
    send(session, newsletter, now=NOW + DAY)
    assert given(session, lea) == [["eco"]]
    assert given(session, tom) == [["eco", "soc"]]


def test_a_topic_is_found_by_category_or_words_and_kept_out_by_words(session: Session, newsletter: Newsletter) -> None:
    rules = {"categories": [" RAIL "], "include": ["train*nuit"], "exclude": ["Maquette"]}
    topic = topics.put(session, newsletter, "rail", names={"en": "Rail"}, rules=rules)
    found = {
        title: bool(topics.matching([topic], Article(title=title, url="https://x.example", topics=categories)))
        for title, categories in [
            ("Une gare", ["rail"]),
            ("Le train de nuit", []),
            ("Une gare en maquette", ["Rail"]),
            ("Autre chose", ["Route"]),
        ]
    }
    assert list(found.values()) == [True, True, False, False]


def test_a_topic_fills_its_mail_beyond_what_the_edition_holds(session: Session, newsletter: Newsletter) -> None:
    newsletters.edit(session, newsletter, values={"max_articles": 2}, now=NOW)
    (lea,) = readers(session, newsletter, 1)
    article(session, newsletter, "first", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    choose(session, lea, now=NOW, topics=("economie",))
    for hours in (2, 3, 4):
        article(session, newsletter, f"soc{hours}", "Société", seen=NOW + timedelta(hours=hours + 3))
        article(session, newsletter, f"eco{hours}", "Économie", seen=NOW + timedelta(hours=hours))
    send(session, newsletter, now=NOW + DAY)
    assert given(session, lea)[1:] == [["eco3", "eco4"]]
    assert given(session, lea, Place.LISTED) == [["eco2"]]


def test_what_the_newsroom_took_out_reaches_nobody(session: Session, newsletter: Newsletter) -> None:
    lea, tom = readers(session, newsletter, 2)
    choose(session, lea, now=NOW, topics=("economie",))
    for slug in ("eco", "rumour"):
        article(session, newsletter, slug, "Économie", seen=NOW)
    issue = issues.draft(session, newsletter, now=NOW + DAY)
    kept = [entry for entry in issues.placed(session, issue.id) if entry[0].guid != "rumour"]
    issues.arrange(session, issue, kept, now=NOW + DAY)
    issues.start(session, issue, batch_size=10, now=NOW + DAY)
    assert given(session, lea) == given(session, tom) == [["eco"]]


def test_a_mail_without_the_lead_has_a_subject_of_its_own(session: Session, newsletter: Newsletter) -> None:
    lea, _ = readers(session, newsletter, 2)
    choose(session, lea, now=NOW, topics=("economie",))
    article(session, newsletter, "soc", "Société", seen=NOW + timedelta(hours=1))
    article(session, newsletter, "eco", "Économie", seen=NOW)
    send(session, newsletter, now=NOW + DAY)
    subjects = session.execute(
        select(Variant.subject).join(Delivery, Delivery.variant_id == Variant.id).order_by(Delivery.subscription_id)
    ).scalars()
    assert list(subjects) == ["Le titre de eco", "Le titre de soc"]


def test_an_article_of_several_topics_stands_once_under_the_highest(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    topics.order(session, newsletter, ["societe"])
    an_article(session, newsletter, "lead", seen=NOW + timedelta(hours=1), topics=[])
    an_article(session, newsletter, "both", seen=NOW, topics=["Économie", "Société"])
    issue = send(session, newsletter, now=NOW + DAY)
    (html,) = session.execute(select(Variant.html).where(Variant.issue_id == issue.id)).scalars()
    assert html.count(">Le titre de both<") == 1
    assert "Société" in html
    assert "Économie" not in html


def test_many_readers_share_few_variants(session: Session, newsletter: Newsletter) -> None:
    everybody = [*readers(session, newsletter, 30), *readers(session, newsletter, 60, language="en")[30:]]
    for number, reader in enumerate(everybody):
        choose(session, reader, now=NOW, topics=[(), ("economie",), ("societe",)][number % 3])
    article(session, newsletter, "eco", "Économie", seen=NOW)
    article(session, newsletter, "soc", "Société", seen=NOW)
    issue = send(session, newsletter, now=NOW + DAY)
    assert (issue.recipients, count_variants(session, issue)) == (60, 6)


def test_too_many_choices_are_widened_to_all_topics(session: Session, newsletter: Newsletter) -> None:
    lea, tom, _ = readers(session, newsletter, 3)
    choose(session, lea, now=NOW, topics=("economie",))
    choose(session, tom, now=NOW, topics=("societe",))
    article(session, newsletter, "eco", "Économie", seen=NOW)
    article(session, newsletter, "soc", "Société", seen=NOW)
    issue = issues.draft(session, newsletter, now=NOW + DAY)
    variants.freeze(session, issue, issues.placed(session, issue.id), now=NOW + DAY, most=2)
    held = select(func.count()).where(VariantArticle.place == Place.GIVEN).group_by(VariantArticle.variant_id)
    assert sorted(session.execute(held).scalars()) == [1, 2]


# --- rhythm


def test_a_weekly_reader_gets_the_weeks_articles_once(session: Session, newsletter: Newsletter) -> None:
    lea, tom = readers(session, newsletter, 2)
    for day in range(9):
        article(session, newsletter, f"a{day}", "Société", seen=MONDAY + day * DAY - timedelta(hours=1))
        send(session, newsletter, now=MONDAY + day * DAY)
        if day == 0:
            choose(session, lea, now=MONDAY, rhythm=Rhythm.WEEKLY)
    assert given(session, lea) == [["a0"], [f"a{day}" for day in range(1, 8)]]
    assert given(session, tom) == [[f"a{day}"] for day in range(9)]


def test_from_each_to_weekly_and_back_nothing_is_lost_and_nothing_comes_twice(
    session: Session, newsletter: Newsletter
) -> None:
    lea, _ = readers(session, newsletter, 2)
    for day in range(6):
        article(session, newsletter, f"a{day}", "Société", seen=MONDAY + day * DAY - timedelta(hours=1))
        send(session, newsletter, now=MONDAY + day * DAY)
        if day in (1, 3):
            choose(session, lea, now=MONDAY + day * DAY, rhythm=Rhythm.WEEKLY if day == 1 else Rhythm.EACH)
    assert given(session, lea) == [["a0"], ["a1"], ["a2", "a3", "a4"], ["a5"]]


def test_topics_taken_off_and_on_again_lose_and_repeat_nothing(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    wishes: Sequence[tuple[str, ...]] = [(), ("economie",), ("economie", "societe"), ()]
    for day, wish in enumerate(wishes):
        choose(session, lea, now=MONDAY + day * DAY - timedelta(hours=2), topics=wish)
        article(session, newsletter, f"eco{day}", "Économie", seen=MONDAY + day * DAY - timedelta(hours=1))
        article(session, newsletter, f"soc{day}", "Société", seen=MONDAY + day * DAY - timedelta(hours=1))
        send(session, newsletter, now=MONDAY + day * DAY)
    assert given(session, lea) == [["eco0", "soc0"], ["eco1"], ["eco2", "soc2"], ["eco3", "soc3"]]


def test_a_paused_reader_gets_afterwards_what_appeared_meanwhile(session: Session, newsletter: Newsletter) -> None:
    lea, _ = readers(session, newsletter, 2)
    for day in range(4):
        article(session, newsletter, f"a{day}", "Société", seen=MONDAY + day * DAY - timedelta(hours=1))
        issue = send(session, newsletter, now=MONDAY + day * DAY)
        assert issue.readers_not_due == (1 if day in (1, 2) else 0)
        if day == 0:
            choose(session, lea, now=MONDAY, paused_until=MONDAY + 2.5 * DAY)
    assert given(session, lea) == [["a0"], ["a1", "a2", "a3"]]
    again = subscriptions.get(session, lea.id)
    assert (again.paused_until, again.watermark) == (None, None)


def test_a_pause_before_the_first_issue_loses_nothing(session: Session, newsletter: Newsletter) -> None:
    lea, _ = readers(session, newsletter, 2)
    choose(session, lea, now=NOW, paused_until=MONDAY + timedelta(hours=1))
    article(session, newsletter, "a", "Société", seen=NOW + timedelta(hours=1))
    send(session, newsletter, now=MONDAY)
    article(session, newsletter, "b", "Société", seen=MONDAY + timedelta(hours=1))
    send(session, newsletter, now=MONDAY + DAY)
    assert given(session, lea) == [["a", "b"]]


# --- several newsletters


def also_drawing_from(session: Session, newsletter: Newsletter, slug: str) -> Newsletter:
    """Another newsletter with the same feed."""
    other = a_newsletter(session, slug)
    session.add(NewsletterFeed(newsletter_id=other.id, feed_id=the_feed(session, newsletter).id))
    session.flush()
    return other


def test_an_article_of_two_newsletters_comes_once_to_a_reader_of_both(session: Session, newsletter: Newsletter) -> None:
    other = also_drawing_from(session, newsletter, "matin")
    lea, tom = readers(session, newsletter, 2)
    readers(session, other, 1)
    article(session, newsletter, "a", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    an_article(session, other, "b", seen=NOW + timedelta(hours=2))
    send(session, other, now=NOW + timedelta(hours=3))
    assert given(session, lea) == [["a"], ["b"]]
    assert given(session, tom) == [["a"]]


def test_who_had_everything_is_no_recipient_but_is_counted(session: Session, newsletter: Newsletter) -> None:
    other = also_drawing_from(session, newsletter, "matin")
    readers(session, newsletter, 2)
    readers(session, other, 3)
    article(session, newsletter, "a", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    settle(session, Outcome.ACCEPTED)
    issue = send(session, other, now=NOW + timedelta(hours=2))
    assert (issue.recipients, issue.readers_without_news) == (1, 2)


def test_when_everybody_had_everything_no_issue_starts(session: Session, newsletter: Newsletter) -> None:
    other = also_drawing_from(session, newsletter, "matin")
    readers(session, newsletter, 1)
    readers(session, other, 1)
    article(session, newsletter, "a", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    with pytest.raises(issues.IssueEmpty, match="has not had all of it"), session.begin_nested():
        send(session, other, now=NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    ("outcome", "comes_again"),
    [(Outcome.ACCEPTED, False), (Outcome.UNCERTAIN, False), (Outcome.REFUSED, True), (Outcome.SKIPPED, True)],
)
@pytest.mark.parametrize("rhythm", [Rhythm.EACH, Rhythm.DAILY])
def test_only_what_may_have_arrived_counts_as_had(
    session: Session, newsletter: Newsletter, outcome: Outcome, comes_again: bool, rhythm: Rhythm
) -> None:
    other = also_drawing_from(session, newsletter, "matin")
    readers(session, newsletter, 1)
    choose(session, readers(session, other, 2)[0], now=NOW, rhythm=rhythm)
    article(session, newsletter, "a", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    settle(session, outcome)
    assert send(session, other, now=NOW + timedelta(hours=2)).recipients == (2 if comes_again else 1)


def test_two_newsletters_that_start_at_once_give_an_article_once(installation: SmtpInbox) -> None:
    with transaction() as session:
        newsletter = a_newsletter(session)
        every = [newsletter, also_drawing_from(session, newsletter, "matin")]
        for one in every:
            readers(session, one, 3)
        article(session, newsletter, "a", "Société", seen=NOW)
        drafts = [issues.draft(session, one, now=NOW + DAY).id for one in every]

    def start(issue_id: int) -> bool:
        try:
            with transaction() as session:
                issues.start(session, issues.get(session, issue_id), batch_size=10, now=NOW + DAY)
        except issues.IssueEmpty:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(start, drafts)) == [False, True]
    with transaction() as session:
        assert session.execute(select(func.count()).select_from(Delivery)).scalar_one() == 3


def test_two_drafts_of_the_same_articles_give_them_once(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    article(session, newsletter, "a", "Société", seen=NOW)
    first, second = (issues.draft(session, newsletter, now=NOW + DAY) for _ in range(2))
    issues.start(session, first, batch_size=10, now=NOW + DAY)
    with pytest.raises(issues.IssueEmpty), session.begin_nested():
        issues.start(session, second, batch_size=10, now=NOW + DAY)
    assert given(session, lea) == [["a"]]


# --- overflow, pins, what is withdrawn


def test_articles_beyond_the_maximum_are_counted_in_the_mail(session: Session, newsletter: Newsletter) -> None:
    newsletters.edit(session, newsletter, values={"max_articles": 2}, now=NOW)
    readers(session, newsletter, 1)
    article(session, newsletter, "first", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    for number in range(5):
        article(session, newsletter, f"a{number}", "Société", seen=NOW + timedelta(hours=2, minutes=number))
    issue = send(session, newsletter, now=NOW + DAY)
    (html,) = session.execute(select(Variant.html).where(Variant.issue_id == issue.id)).scalars()
    assert re.search(r"3\s+autres articles sur notre site", html)


def test_articles_that_are_carried_over_come_in_the_next_issues(session: Session, newsletter: Newsletter) -> None:
    newsletters.edit(session, newsletter, values={"max_articles": 2, "overflow": "carried"}, now=NOW)
    lea, tom = readers(session, newsletter, 2)
    choose(session, tom, now=NOW, topics=("societe",))
    article(session, newsletter, "first", "Société", seen=NOW)
    send(session, newsletter, now=NOW + timedelta(hours=1))
    for number in range(5):
        article(session, newsletter, f"a{number}", "Société", seen=NOW + timedelta(hours=2, minutes=number))
    for day in (1, 2, 3):
        send(session, newsletter, now=NOW + day * DAY)
    assert given(session, lea) == given(session, tom) == [["first"], ["a3", "a4"], ["a1", "a2"], ["a0"]]


def test_a_pinned_article_stands_first_until_its_end_and_comes_once(session: Session, newsletter: Newsletter) -> None:
    lea, tom = readers(session, newsletter, 2)
    choose(session, tom, now=NOW, topics=("economie",))
    pinned = article(session, newsletter, "pinned", "Société", seen=NOW)
    newer = article(session, newsletter, "newer", "Économie", seen=NOW + timedelta(hours=1))
    newer.image_url = "https://courrier.example/newer.jpg"
    newsletters.pin(session, newsletter, pinned.id, priority=1, until=NOW + 3 * DAY, now=NOW)
    issue = send(session, newsletter, now=NOW + DAY)
    placed = [(one.guid, layout) for one, layout in issues.placed(session, issue.id)]
    assert placed == [("pinned", Layout.LEAD), ("newer", Layout.CARD)]
    choose(session, tom, now=NOW, topics=())
    article(session, newsletter, "next", "Société", seen=NOW + 1.5 * DAY)
    send(session, newsletter, now=NOW + 2 * DAY)
    assert given(session, lea) == [["newer", "pinned"], ["next"]]
    assert given(session, tom)[0] == ["newer"]


def test_an_article_withdrawn_after_the_draft_is_not_sent(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    gone = article(session, newsletter, "gone", "Société", seen=NOW)
    article(session, newsletter, "stays", "Société", seen=NOW)
    issue = issues.draft(session, newsletter, now=NOW + DAY)
    session.execute(update(Article).where(Article.id == gone.id).values(status="withdrawn", status_code="page_gone"))
    session.expire_all()
    issues.start(session, issues.get(session, issue.id), batch_size=10, now=NOW + DAY)
    assert given(session, lea) == [["stays"]]
