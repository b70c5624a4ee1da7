"""Mails to the newsroom: each event once, by the way that all mail takes, in the newsletter's language, never to readers."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from mailer import clock, i18n, scheduling, settings
from mailer.articles import polling
from mailer.db import transaction
from mailer.delivery import deliveries
from mailer.issues import issues
from mailer.models.audience import Subscription
from mailer.models.content import Feed, Issue, IssueState, MailKind, Newsletter, PauseReason, Variant
from mailer.models.deliveries import Delivery, DeliveryOutcome, Outcome
from mailer.models.desk import DeskEvent, DeskMail, SlotCode
from mailer.newsroom import alerts, desk_words, deskmail, newsletters, slot_words
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, an_article, readers
from tests.newsroom import DESK, a_scheduled_newsletter, joined, text_of, the_issue, tick, to_desk, to_readers

COLLEAGUE = "camille@courrier.example"


def test_every_address_of_the_desk_gets_a_mail_of_its_own(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3, desk_addresses=[DESK, COLLEAGUE])
    tick()
    to_desk(installation)
    assert sorted(one.recipients for one in installation.messages) == [(COLLEAGUE,), (DESK,)]
    first, second = (text_of(one.email) for one in installation.messages)
    assert [line for line in first.splitlines() if "/review/" in line] != [
        line for line in second.splitlines() if "/review/" in line
    ]


def test_a_mail_to_the_desk_is_in_the_ledger_like_any_other(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3)
    tick()
    to_desk(installation)
    with transaction() as session:
        mail = session.execute(select(DeskMail)).scalar_one()
        delivery = session.get_one(Delivery, mail.delivery_id)
        assert (delivery.address, delivery.subscription_id, delivery.issue_id) == (DESK, None, None)
        assert session.get_one(DeliveryOutcome, delivery.id).outcome == Outcome.ACCEPTED


def test_a_review_says_what_an_editor_needs(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3)
    tick()
    (mail,) = to_desk(installation)
    text = joined(text_of(mail))
    for wanted in (
        "Le titre de a0",
        "Le titre de a1",
        "Il a 2\u00a0lecteurs à ce jour.",
        "appartient au prochain numéro",
    ):
        assert wanted in text
    assert f"https://lettre.example/admin/issues/{the_issue().id}" in text
    assert "List-Unsubscribe" not in mail
    assert mail["Auto-Submitted"] == "auto-generated"
    assert text.count("/review/") == 3


def test_an_english_newsletter_writes_to_its_desk_in_english(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3, language="en", on_silence="hold")
    tick()
    (mail,) = to_desk(installation)
    assert mail["Subject"].startswith("For review: ")
    assert "leaves only if you send it" in joined(text_of(mail))


def test_a_language_without_a_desk_gets_english(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3, language="kk")
    tick()
    (mail,) = to_desk(installation)
    assert mail["Subject"].startswith("For review: ")


def spoil(session: Session, newsletter: Newsletter) -> None:
    """Let the checks find something that blocks."""
    newsletter.introduction = "Bonjour %%prenom%%,"


def held_by_checks() -> Issue:
    newsletter_id = a_scheduled_newsletter(slot_in=-timedelta(minutes=1))
    with transaction() as session:
        spoil(session, session.get_one(Newsletter, newsletter_id))
    tick()
    issue = the_issue()
    assert issue.state_code == PauseReason.CHECKS_FAILED
    return issue


def test_what_the_checks_hold_back_is_told_once_however_often_it_is_tried(installation: SmtpInbox) -> None:
    issue = held_by_checks()
    for _ in range(3):
        with transaction() as session:
            issues.get(session, issue.id).scheduled_at = clock.now()
        scheduling.start_issue(issue.id)
        scheduling.mail_desk()
    (mail,) = to_desk(installation)
    assert mail["Subject"].startswith("Retenu par les vérifications\u00a0: ")
    text = joined(text_of(mail))
    assert "%%prenom%%" in text
    assert "ressemble à" in text
    assert to_readers(installation) == 0


def test_an_issue_that_is_held_again_after_somebody_sent_it_is_told_again(installation: SmtpInbox) -> None:
    issue = held_by_checks()
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, issue.id), now=clock.now())
    scheduling.start_issue(issue.id)
    scheduling.mail_desk()
    assert len(to_desk(installation)) == 2


def test_the_desk_hears_when_a_held_issue_is_not_tried_again(installation: SmtpInbox) -> None:
    issue = held_by_checks()
    with transaction() as session:
        issues.get(session, issue.id).held_since = clock.now() - timedelta(hours=7)
    scheduling.start_issue(issue.id)
    assert the_issue().state == IssueState.SCHEDULED, "its next try has not come"
    with transaction() as session:
        issues.get(session, issue.id).scheduled_at = clock.now()
    scheduling.start_issue(issue.id)
    scheduling.mail_desk()
    assert the_issue().state == IssueState.DRAFT
    first, last = to_desk(installation)
    assert "Il n’est plus réessayé tout seul." in joined(text_of(last))
    assert "Il n’est plus réessayé tout seul." not in joined(text_of(first))


def test_a_slot_whose_issue_cannot_be_made_is_told_with_the_reason(installation: SmtpInbox) -> None:
    newsletter_id = a_scheduled_newsletter(slot_in=-timedelta(minutes=1))
    with transaction() as session:
        for subscription in subscriptions_of(session, newsletter_id):
            session.delete(subscription)
    tick()
    tick()
    (mail,) = to_desk(installation)
    assert mail["Subject"].startswith("Aucun numéro préparé\u00a0: ")
    assert "«\u00a0hebdo\u00a0» n’a pas encore d’inscription confirmée" in joined(text_of(mail))


def subscriptions_of(session: Session, newsletter_id: int) -> list[object]:
    return list(session.execute(select(Subscription).where(Subscription.newsletter_id == newsletter_id)).scalars())


def test_an_issue_that_stops_by_itself_is_told_with_remedy_and_the_servers_words(session: Session) -> None:
    mail = stopped(session, PauseReason.BLOCKED, "554 5.7.1 Your mail is not wanted here")
    assert mail.subject.startswith("Envoi arrêté\u00a0: ")
    assert i18n.gettext(
        "fr", "The mail server refuses our mail as such (5.7.x). No reader was unsubscribed for it."
    ) in flat(mail)
    assert "554 5.7.1 Your mail is not wanted here" in flat(mail)


def test_a_pause_by_hand_is_told_to_nobody(session: Session) -> None:
    issue = a_sending_issue(session)
    issues.pause(session, issue, "paused by Camille", now=NOW)
    assert session.execute(select(func.count()).select_from(DeskMail)).scalar_one() == 0


def a_sending_issue(session: Session) -> Issue:
    newsletter = a_newsletter(session, desk_addresses=[DESK])
    an_article(session, newsletter, "eau", seen=NOW - timedelta(minutes=1))
    issue = issues.draft(session, newsletter, now=NOW)
    issue.state, issue.started_at = IssueState.SENDING, NOW
    session.flush()
    return issue


def stopped(session: Session, code: PauseReason, words: str) -> Variant:
    issues.pause(session, a_sending_issue(session), words, code=code, now=NOW)
    return the_mail(session)


def the_mail(session: Session) -> Variant:
    (mail_id,) = deskmail.waiting(session, limit=10)
    assert deskmail.queue_mail(session, mail_id, now=NOW) is True
    assert deskmail.queue_mail(session, mail_id, now=NOW) is False
    return session.execute(select(Variant).where(Variant.issue_id.is_(None))).scalar_one()


def flat(variant: Variant) -> str:
    return joined(variant.text)


def test_a_feed_that_falls_silent_is_told_once(session: Session) -> None:
    newsletter = a_newsletter(session, desk_addresses=[DESK])
    (feed,) = newsletters.feeds(session, newsletter)
    for day in range(30, 10, -1):
        an_article(session, newsletter, f"a{day}", seen=NOW - timedelta(days=day))
    for _ in range(3):
        polling._record_success(session, feed.id, None, None, now=NOW)
    variant = the_mail(session)
    assert variant.subject.startswith("Un flux s’est tu\u00a0: ")
    assert "https://courrier.example/courrier.xml" in flat(variant)
    assert "est muet depuis le 9\u00a0novembre\u00a02026" in flat(variant)


@pytest.mark.parametrize("code", SlotCode)
def test_a_held_issue_is_told_with_every_reason(session: Session, code: SlotCode) -> None:
    issue = a_sending_issue(session)
    values = {"by": "x", "late": "7 h", "grace": "6 h", "stale": "1", "feeds": "2", "hours": "12"}
    alerts.note_hold(session, issue, code, values, now=NOW)
    variant = the_mail(session)
    assert variant.kind == MailKind.ALERT
    # A link in a mail is no second person's consent.
    assert flat(variant).count("/review/") == (0 if code == SlotCode.NOT_APPROVED else 2)


def test_a_newsletter_whose_feeds_are_away_and_have_nothing_new_tells_its_desk(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=1), articles=0, stale_percent=0, stale_hours=1)
    with transaction() as session:
        for feed in session.execute(select(Feed)).scalars():
            feed.last_success_at = clock.now() - timedelta(hours=2)
    tick()
    (mail,) = to_desk(installation)
    assert "1 flux sur 1 illisibles depuis 1\u00a0h ou plus" in joined(text_of(mail))


def test_the_tick_rings_for_what_the_desk_was_not_told(installation: SmtpInbox) -> None:
    newsletter_id = a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3)
    assert scheduling.tick().has_desk_mail is False
    scheduling.make_issue(newsletter_id)
    assert scheduling.tick().has_desk_mail is True
    scheduling.mail_desk()
    assert scheduling.tick().has_desk_mail is False


def test_without_desk_addresses_nobody_is_told(session: Session) -> None:
    newsletter = a_newsletter(session)
    alerts.note(session, newsletter, DeskEvent.NOT_MADE, about="x", values={"slot": NOW.isoformat()}, now=NOW)
    assert deskmail.waiting(session, limit=10) == []


def test_an_operators_broken_templates_do_not_keep_the_desk_from_hearing_of_it(
    installation: SmtpInbox, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_layout.html").write_text("{{ no_such_thing }}")
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(tmp_path))
    settings.load.cache_clear()
    a_scheduled_newsletter(slot_in=-timedelta(minutes=1))
    tick()
    (mail,) = to_desk(installation)
    assert "no_such_thing" in text_of(mail)


def test_a_mail_for_the_newsroom_never_goes_to_a_reader(session: Session) -> None:
    newsletter = a_newsletter(session, desk_addresses=[DESK])
    (reader,) = readers(session, newsletter, 1)
    alerts.note(session, newsletter, DeskEvent.NOT_MADE, about="x", values={"slot": NOW.isoformat()}, now=NOW)
    variant = the_mail(session)
    wrong = deliveries.queue_one(session, subscription_id=reader.id, variant_id=variant.id, now=NOW)
    taken: list[deliveries.Recipient] = []
    while claim := deliveries.claim(session, owner="host.1", lease_seconds=60, now=NOW):
        taken += deliveries.recipients(session, claim, now=NOW)
    assert {one.delivery_id: one.reason for one in taken}[wrong] == "not for readers"
    assert [one.address for one in taken if one.reason is None] == [DESK]


def test_the_database_keeps_an_address_out_of_readers_deliveries(session: Session) -> None:
    newsletter = a_newsletter(session)
    (reader,) = readers(session, newsletter, 1)
    session.add(Delivery(variant_id=1, subscription_id=reader.id, address="x@example.org"))
    with pytest.raises(IntegrityError, match="newsroom_only"), session.begin_nested():
        session.flush()


@pytest.mark.parametrize("event", DeskEvent)
def test_every_event_has_its_words_in_both_languages(event: DeskEvent) -> None:
    words = desk_words.WORDS[event]
    for sentence in (words.title, words.means):
        assert i18n.gettext("fr", sentence) != sentence


def test_every_other_sentence_is_french_too() -> None:
    sentences = [*slot_words.SENTENCES.values(), *desk_words.ACTS.values(), desk_words.FEED, desk_words.SLOT]
    sentences += [desk_words.OPEN_ISSUE, desk_words.OPEN_NEWSLETTER, desk_words.GAVE_UP]
    sentences += [desk_words.WEBHOOK_FAILING, desk_words.WEBHOOK_GONE]
    assert [one for one in sentences if i18n.gettext("fr", one) == one] == []
    assert set(slot_words.SENTENCES) == set(SlotCode)
