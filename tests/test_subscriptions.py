"""In by asking and confirming, out at once, and nothing mailed that was not asked for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from mailer import addresses
from mailer.articles import topics
from mailer.audience import signups, subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.models.audience import (
    Consent,
    ConsentEvent,
    EndedReason,
    SignupRequest,
    Subscriber,
    Subscription,
    SubscriptionState,
    Suppression,
)
from mailer.models.choices import Rhythm
from mailer.models.content import MailKind, Variant
from mailer.models.deliveries import Delivery
from tests.factories import NOW, a_newsletter, a_signup, readers

LATER = NOW + timedelta(hours=1)


def ask(session: Session, address: str = "lea@example.org", *, now=NOW) -> int | None:
    newsletter = session.execute(select(subscriptions.Newsletter)).scalar_one_or_none() or a_newsletter(session)
    origin = Origin(source="article", form_version="1", network="192.0.2.0/24")
    request_id = a_signup(session, newsletter, address, origin=origin, now=now)
    return signups.handle(session, request_id, now=now)


def kinds(session: Session) -> list[MailKind]:
    return list(
        session.execute(
            select(Variant.kind).join(Delivery, Delivery.variant_id == Variant.id).order_by(Delivery.id)
        ).scalars()
    )


def the_subscription(session: Session) -> Subscription:
    session.expire_all()
    return session.execute(select(Subscription)).scalar_one()


def events(session: Session) -> list[ConsentEvent]:
    return list(session.execute(select(Consent.event).order_by(Consent.id)).scalars())


def test_a_new_address_gets_one_confirmation_and_nothing_else(session: Session) -> None:
    ask(session)
    assert kinds(session) == [MailKind.CONFIRM]
    assert the_subscription(session).state == SubscriptionState.PENDING
    assert events(session) == [ConsentEvent.REQUESTED]


def test_asking_again_at_once_sends_nothing_more(session: Session) -> None:
    for second in range(50):
        ask(session, now=NOW + timedelta(seconds=second))
    assert kinds(session) == [MailKind.CONFIRM]


def test_at_most_three_mails_a_day(session: Session) -> None:
    for minutes in range(0, 600, 11):
        ask(session, now=NOW + timedelta(minutes=minutes))
    assert len(kinds(session)) == 3


def test_another_spelling_is_the_same_reader(session: Session) -> None:
    ask(session, "Lea@example.org")
    ask(session, "lea@example.org", now=LATER)
    assert session.execute(select(Subscriber)).scalars().all()[0].address == "Lea@example.org"
    assert the_subscription(session)


def test_a_confirmed_address_is_told_that_it_is_subscribed(session: Session) -> None:
    ask(session)
    subscriptions.confirm(session, the_subscription(session).id, asked_at=NOW, origin=Origin(), now=NOW)
    ask(session, now=LATER)
    assert kinds(session) == [MailKind.CONFIRM, MailKind.ALREADY]
    assert the_subscription(session).state == SubscriptionState.CONFIRMED


def test_a_suppressed_address_gets_nothing(session: Session) -> None:
    session.add(Suppression(address_hash=addresses.fingerprint("lea@example.org"), reason="complained"))
    session.flush()
    assert ask(session) is None
    assert kinds(session) == []


def test_handling_a_request_twice_does_nothing_the_second_time(session: Session) -> None:
    request_id = a_signup(session, a_newsletter(session), now=NOW)
    assert signups.handle(session, request_id, now=NOW) is not None
    assert signups.handle(session, request_id, now=LATER) is None


def test_confirmations_share_one_rendering(session: Session) -> None:
    ask(session, "a@example.org")
    ask(session, "b@example.org")
    assert len(session.execute(select(Variant)).scalars().all()) == 1


def test_a_second_confirmation_changes_nothing(session: Session) -> None:
    ask(session)
    subscription_id = the_subscription(session).id
    assert subscriptions.confirm(session, subscription_id, asked_at=NOW, origin=Origin(), now=NOW) is True
    assert subscriptions.confirm(session, subscription_id, asked_at=NOW, origin=Origin(), now=LATER) is False
    assert the_subscription(session).confirmed_at == NOW
    assert events(session) == [ConsentEvent.REQUESTED, ConsentEvent.CONFIRMED]


def test_leaving_twice_is_no_error_and_logged_once(session: Session) -> None:
    (subscription,) = readers(session, a_newsletter(session), 1)
    assert subscriptions.end(session, subscription.id, EndedReason.ONE_CLICK, origin=Origin(), now=LATER) is True
    assert subscriptions.end(session, subscription.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=LATER) is False
    assert the_subscription(session).ended_reason == EndedReason.ONE_CLICK
    assert events(session) == [ConsentEvent.REQUESTED, ConsentEvent.IMPORTED, ConsentEvent.ENDED]


def test_a_confirmation_link_does_not_bring_back_who_left(session: Session) -> None:
    ask(session)
    subscription_id = the_subscription(session).id
    subscriptions.end(session, subscription_id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    with pytest.raises(subscriptions.SubscriptionGone):
        subscriptions.confirm(session, subscription_id, asked_at=NOW, origin=Origin(), now=LATER)
    assert the_subscription(session).state == SubscriptionState.ENDED


def test_an_older_confirmation_link_does_not_confirm_a_newer_request(session: Session) -> None:
    ask(session)
    subscription_id = the_subscription(session).id
    subscriptions.end(session, subscription_id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    ask(session, now=LATER)
    with pytest.raises(subscriptions.SubscriptionGone):
        subscriptions.confirm(session, subscription_id, asked_at=NOW, origin=Origin(), now=LATER)


def test_who_left_can_come_back_by_the_form_and_must_confirm(session: Session) -> None:
    (subscription,) = readers(session, a_newsletter(session), 1)
    subscriptions.end(session, subscription.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    ask(session, "r0@example.org", now=LATER)
    assert the_subscription(session).state == SubscriptionState.PENDING
    assert kinds(session) == [MailKind.CONFIRM]


def test_undo_works_for_thirty_days(session: Session) -> None:
    (subscription,) = readers(session, a_newsletter(session), 1)
    subscriptions.end(session, subscription.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    late = NOW + subscriptions.UNDO_LIFETIME
    assert subscriptions.resume(session, subscription.id, origin=Origin(), now=late) is False
    assert subscriptions.resume(session, subscription.id, origin=Origin(), now=late - timedelta(seconds=1)) is True
    assert the_subscription(session).state == SubscriptionState.CONFIRMED


def test_undo_revives_nobody_who_complained(session: Session) -> None:
    (subscription,) = readers(session, a_newsletter(session), 1)
    subscriptions.end(session, subscription.id, EndedReason.COMPLAINED, origin=Origin(), now=NOW)
    assert subscriptions.resume(session, subscription.id, origin=Origin(), now=LATER) is False


def test_an_operator_cannot_revive_who_left(session: Session) -> None:
    newsletter = a_newsletter(session)
    (subscription,) = readers(session, newsletter, 1)
    subscriptions.end(session, subscription.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    with pytest.raises(subscriptions.SubscriptionGone):
        subscriptions.add(session, newsletter, "r0@example.org", language="fr", proof="paper", now=LATER)


def test_the_consent_log_cannot_be_rewritten(session: Session) -> None:
    readers(session, a_newsletter(session), 1)
    with pytest.raises(DBAPIError, match="never changed"), session.begin_nested():
        session.execute(text("UPDATE consents SET source = 'forged'"))


@pytest.mark.parametrize(
    ("after", "erased"), [({"days": 6, "hours": 23}, 0), ({"days": 7}, 1), ({"days": 7, "hours": 1}, 1)]
)
def test_who_never_confirmed_is_erased_after_seven_days(session: Session, after: dict[str, int], erased: int) -> None:
    ask(session)
    assert subscriptions.delete_unconfirmed(session, now=NOW + timedelta(**after)) == erased
    for table in (Subscriber, Subscription, SignupRequest):
        assert len(session.execute(select(table)).all()) == 1 - erased


def test_who_asked_again_has_seven_days_from_then(session: Session) -> None:
    ask(session)
    again = NOW + timedelta(days=6)
    ask(session, now=again)
    assert subscriptions.delete_unconfirmed(session, now=again + timedelta(days=6, hours=23)) == 0
    assert subscriptions.delete_unconfirmed(session, now=again + timedelta(days=7)) == 1


@pytest.mark.parametrize(
    ("host", "network"),
    [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("testclient", None), (None, None)],
)
def test_only_a_truncated_network_is_stored(host: str | None, network: str | None) -> None:
    assert subscriptions.truncate(host) == network


def wish(session: Session, subscription_id: int, **wanted: Any) -> wishes.Wish:
    return replace(wishes.of(subscriptions.get(session, subscription_id)), **wanted)


def test_a_choice_is_kept_and_logged_with_what_changed(session: Session) -> None:
    (reader,) = readers(session, a_newsletter(session), 1)
    wanted = wish(session, reader.id, language="en", rhythm=Rhythm.WEEKLY)
    assert wishes.choose(session, reader.id, wanted, origin=Origin(source="preferences"), now=NOW)
    assert wishes.of(subscriptions.get(session, reader.id)) == wanted
    last = session.execute(select(Consent).order_by(Consent.id.desc()).limit(1)).scalar_one()
    assert (last.event, last.detail, last.source) == (ConsentEvent.CHANGED, "language=en rhythm=weekly", "preferences")


def test_choosing_the_same_again_changes_and_logs_nothing(session: Session) -> None:
    (reader,) = readers(session, a_newsletter(session), 1)
    count = session.execute(select(func.count()).select_from(Consent)).scalar_one()
    assert not wishes.choose(session, reader.id, wish(session, reader.id), origin=Origin(), now=NOW)
    assert session.execute(select(func.count()).select_from(Consent)).scalar_one() == count


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"topics": ("cuisine",)}, "no topic “cuisine”"),
        ({"topics": ("societe", "economie")}, "in order"),
        ({"language": "xx"}, "language must be"),
        ({"paused_until": NOW + timedelta(days=400)}, "at most 90 days"),
    ],
)
def test_what_is_not_to_be_had_is_refused_and_nothing_changes(
    session: Session, wanted: dict[str, Any], told: str
) -> None:
    newsletter = a_newsletter(session)
    for slug in ("economie", "societe"):
        topics.put(session, newsletter, slug, names={"fr": slug}, rules={"categories": [slug]})
    (reader,) = readers(session, newsletter, 1)
    before = wish(session, reader.id)
    with pytest.raises(wishes.WishInvalid, match=told):
        wishes.choose(session, reader.id, replace(before, **wanted), origin=Origin(), now=NOW)
    assert wish(session, reader.id) == before


def test_who_comes_back_by_the_form_is_not_paused_any_more(session: Session) -> None:
    newsletter = a_newsletter(session)
    (reader,) = readers(session, newsletter, 1)
    paused = wish(session, reader.id, paused_until=NOW + timedelta(days=30))
    wishes.choose(session, reader.id, paused, origin=Origin(), now=NOW)
    subscriptions.end(session, reader.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    asked = a_signup(session, newsletter, "r0@example.org", now=NOW)
    signups.handle(session, asked, now=NOW)
    assert wish(session, reader.id).paused_until is None
