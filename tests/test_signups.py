"""From a filled-in form to the confirmation: what was chosen on it, the welcome, how much mail an address gets."""

import html
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock
from mailer.articles import topics
from mailer.audience import signups, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.audience import Consent, ConsentEvent, Subscription, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.models.content import Issue, MailKind, Newsletter, Variant
from mailer.models.deliveries import Delivery
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, a_signup, an_article, readers


def asked(session: Session, newsletter: Newsletter, *, now: datetime = NOW, **chosen: object) -> Subscription:
    """Somebody filled in the form, and the confirmation mail is queued."""
    signups.handle(session, a_signup(session, newsletter, now=now, **chosen), now=now)
    return subscriptions.get(session, session.execute(select(Subscription.id)).scalars().all()[-1])


def confirm(session: Session, subscription: Subscription, *, now: datetime = NOW) -> Subscription:
    signups.confirm(session, subscription, asked_at=now, origin=Origin(), now=now)
    return subscriptions.get(session, subscription.id)


def an_issue(session: Session, newsletter: Newsletter, slug: str, *, now: datetime = NOW) -> Issue:
    """An issue of one article that is being sent."""
    an_article(session, newsletter, slug, seen=now - timedelta(minutes=1))
    issue = issues.draft(session, newsletter, now=now)
    issues.start(session, issue, batch_size=10, now=now)
    return issue


def given(session: Session, subscription: Subscription) -> list[tuple[MailKind, int | None]]:
    """What the reader was mailed, in order: kind and issue."""
    rows = session.execute(
        select(Variant.kind, Variant.issue_id)
        .join(Delivery, Delivery.variant_id == Variant.id)
        .where(Delivery.subscription_id == subscription.id)
        .order_by(Delivery.id)
    )
    return [(row[0], row[1]) for row in rows]


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    made = a_newsletter(session)
    for slug in ("eau", "culture"):
        topics.put(session, made, slug, names={"fr": slug}, rules={"categories": [slug]})
    return made


def test_what_was_chosen_on_the_form_holds_once_it_is_confirmed(session: Session, newsletter: Newsletter) -> None:
    subscription = asked(session, newsletter, topics=("eau",), rhythm=Rhythm.WEEKLY)
    assert (subscription.topics, subscription.rhythm) == ([], Rhythm.EACH)
    confirmed = confirm(session, subscription)
    assert (confirmed.topics, confirmed.rhythm) == (["eau"], Rhythm.WEEKLY)
    line = session.execute(select(Consent).where(Consent.event == ConsentEvent.CONFIRMED)).scalar_one()
    assert line.detail == "topics=eau rhythm=weekly"


def test_who_chose_a_slower_rhythm_is_not_sent_what_was_before(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue = an_issue(session, newsletter, "eau")
    confirmed = confirm(session, asked(session, newsletter, rhythm=Rhythm.MONTHLY))
    assert confirmed.watermark == issue.window_end


def test_the_last_form_before_the_link_counts(session: Session, newsletter: Newsletter) -> None:
    asked(session, newsletter, topics=("eau",))
    later = NOW + timedelta(minutes=20)
    subscription = asked(session, newsletter, now=later, topics=("culture",))
    assert confirm(session, subscription, now=later).topics == ["culture"]


@pytest.mark.parametrize("rhythm", [Rhythm.EACH, Rhythm.WEEKLY])
def test_who_is_subscribed_learns_when_the_next_issue_comes_if_that_is_certain(
    session: Session, newsletter: Newsletter, rhythm: Rhythm
) -> None:
    newsletter.cron, newsletter.timezone = "0 7 * * FRI", "Europe/Paris"
    confirm(session, asked(session, newsletter, rhythm=rhythm))
    asked(session, newsletter, now=NOW + timedelta(days=1))
    notice = session.execute(select(Variant).where(Variant.kind == MailKind.ALREADY)).scalar_one()
    for part in (notice.html, notice.text):
        words = " ".join(html.unescape(part).replace("\u00a0", " ").split())
        assert ("Prochain envoi : vendredi 27 novembre 2026." in words) == (rhythm == Rhythm.EACH)


def test_a_form_that_was_filled_in_after_the_link_was_made_has_no_part_in_it(
    session: Session, newsletter: Newsletter
) -> None:
    subscription = asked(session, newsletter, topics=("eau",))
    asked(session, newsletter, now=NOW + timedelta(minutes=2), topics=("culture",))
    assert confirm(session, subscription).topics == ["eau"]


def test_a_topic_that_is_gone_meanwhile_is_not_chosen(session: Session, newsletter: Newsletter) -> None:
    subscription = asked(session, newsletter, topics=("culture", "eau"))
    topics.remove(session, newsletter, "culture")
    assert confirm(session, subscription).topics == ["eau"]


def test_a_reader_is_not_changed_by_a_form_of_somebody_else(session: Session, newsletter: Newsletter) -> None:
    subscription = confirm(session, asked(session, newsletter))
    later = NOW + timedelta(days=2)
    asked(session, newsletter, now=later, topics=("eau",), rhythm=Rhythm.MONTHLY)
    unchanged = confirm(session, subscription, now=later)
    assert (unchanged.topics, unchanged.rhythm) == ([], Rhythm.EACH)


# --- the welcome


def test_the_last_issue_welcomes_whoever_confirms(session: Session, newsletter: Newsletter) -> None:
    newsletter.sends_welcome = True
    readers(session, newsletter, 1)
    issue = an_issue(session, newsletter, "eau")
    subscription = confirm(session, asked(session, newsletter))
    assert given(session, subscription) == [(MailKind.CONFIRM, None), (MailKind.ISSUE, issue.id)]


def test_nothing_welcomes_unless_it_is_wanted_and_there_is_an_issue(session: Session, newsletter: Newsletter) -> None:
    newsletter.sends_welcome = True
    assert given(session, confirm(session, asked(session, newsletter))) == [(MailKind.CONFIRM, None)]
    newsletter.sends_welcome = False
    readers(session, newsletter, 1)
    an_issue(session, newsletter, "eau")
    other = confirm(session, asked(session, newsletter, address="bek@example.org"))
    assert given(session, other) == [(MailKind.CONFIRM, None)]


def test_the_welcome_speaks_the_readers_language_if_the_issue_does(session: Session, newsletter: Newsletter) -> None:
    newsletter.sends_welcome = True
    readers(session, newsletter, 1, language="fr")
    subscriptions.add(session, newsletter, "en@example.org", language="en", proof="test", now=NOW)
    an_issue(session, newsletter, "eau")
    languages = []
    for language in ("en", "kk"):
        reader = confirm(session, asked(session, newsletter, address=f"new-{language}@example.org", language=language))
        last = select(Variant.language).join(Delivery, Delivery.variant_id == Variant.id)
        last = last.where(Delivery.subscription_id == reader.id).order_by(Delivery.id.desc()).limit(1)
        languages.append(session.execute(last).scalar_one())
    assert languages == ["en", "fr"]


def test_who_comes_back_is_not_given_an_issue_twice(session: Session, newsletter: Newsletter) -> None:
    newsletter.sends_welcome = True
    (reader,) = readers(session, newsletter, 1)
    issue = an_issue(session, newsletter, "eau")
    subscriptions.end(session, reader.id, subscriptions.EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    back = confirm(session, asked(session, newsletter, address="r0@example.org"))
    assert given(session, back) == [(MailKind.ISSUE, issue.id), (MailKind.CONFIRM, None)]


def test_an_article_of_the_welcome_does_not_come_again(session: Session, newsletter: Newsletter) -> None:
    newsletter.sends_welcome = True
    readers(session, newsletter, 1)
    an_issue(session, newsletter, "eau")
    welcomed = confirm(session, asked(session, newsletter))
    # Another newsletter takes the same story from the same feed.
    other = a_newsletter(session, "hebdo")
    newsletters.add_feed(session, other, "https://courrier.example/courrier.xml", now=NOW)
    subscriptions.add(session, other, "lea@example.org", language="fr", proof="test", now=NOW)
    subscriptions.add(session, other, "new@example.org", language="fr", proof="test", now=NOW)
    later = NOW + timedelta(hours=1)
    issue = issues.draft(session, other, now=later)
    issues.start(session, issue, batch_size=10, now=later)
    assert welcomed.subscriber_id is not None
    assert (issue.recipients, issue.readers_without_news) == (1, 1)


def test_the_welcome_leaves_at_once_and_outside_of_the_issues_ledger(installation: SmtpInbox) -> None:
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session, sends_welcome=True)
        readers(session, newsletter, 2)
        issue_id = an_issue(session, newsletter, "eau", now=now).id
    sending.send_due(budget_seconds=10)
    with transaction() as session:
        issues.finish(session, issue_id, now=now)
        newsletter = newsletters.get(session, "courrier")
        subscription = asked(session, newsletter, now=now)
        confirm(session, subscription, now=now)
    sending.send_due(budget_seconds=10)
    welcome = installation.messages[-1]
    assert welcome.recipients == ("lea@example.org",)
    assert "Le titre de eau" in str(welcome.email["Subject"])
    assert welcome.email["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    with transaction() as session:
        assert issues.get(session, issue_id).recipients == 2


# --- how much mail


def test_several_newsletters_may_ask_at_once_but_few_in_a_day(session: Session) -> None:
    for slug in ("un", "deux", "trois", "quatre"):
        signups.handle(session, a_signup(session, a_newsletter(session, slug), now=NOW), now=NOW)
    assert len(session.execute(select(Delivery.id)).all()) == 3


def test_how_many_confirmed_of_a_day_is_counted(session: Session, newsletter: Newsletter) -> None:
    then = NOW - timedelta(hours=2)
    for name in ("a", "b", "c"):
        signups.handle(session, a_signup(session, newsletter, f"{name}@example.org", now=then), now=then)
    first = subscriptions.get(
        session, session.execute(select(Subscription.id).order_by(Subscription.id)).scalars().all()[0]
    )
    confirm(session, first, now=then + timedelta(minutes=5))
    # Still on the way to the mailbox.
    signups.handle(session, a_signup(session, newsletter, "d@example.org", now=NOW), now=NOW)
    counted = signups.confirmed_lately(session, now=NOW)
    assert (counted.asked, counted.confirmed, round(counted.share, 2)) == (3, 1, 0.33)
    assert signups.confirmed_lately(session, now=NOW + timedelta(days=3)).share == 1


def test_sign_ups_are_counted_by_where_they_came_from(session: Session, newsletter: Newsletter) -> None:
    for number, source in enumerate(("article", "article", None)):
        origin = Origin(source=source)
        signups.handle(
            session, a_signup(session, newsletter, f"r{number}@example.org", origin=origin, now=NOW), now=NOW
        )
    found = session.execute(select(Subscription.id).order_by(Subscription.id)).scalars().all()
    confirm(session, subscriptions.get(session, found[0]))
    counted = signups.by_source(session, newsletter.id, since=NOW - timedelta(days=30))
    assert counted == [("article", 1, 1), (None, 0, 1)]
    assert subscriptions.get(session, found[2]).state == SubscriptionState.PENDING


@pytest.mark.parametrize(("is_same_browser", "tracks_readers"), [(True, True), (False, True), (True, False)])
def test_consent_to_be_tracked_holds_only_in_the_browser_that_gave_it(
    session: Session, newsletter: Newsletter, is_same_browser: bool, tracks_readers: bool
) -> None:
    newsletter.tracks_readers = tracks_readers
    subscription = asked(session, newsletter, agrees_to_tracking=True)
    signups.confirm(session, subscription, asked_at=NOW, origin=Origin(), now=NOW, is_same_browser=is_same_browser)
    agreed_at = subscriptions.get(session, subscription.id).tracking_agreed_at
    assert (agreed_at is not None) == (is_same_browser and tracks_readers)
