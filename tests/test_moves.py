"""A move to another address: asked there, told here, and two readers become one without anybody being told."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import addresses
from mailer.audience import moves, readers, subscriptions, wishes
from mailer.audience.subscriptions import Origin, SubscriptionGone, SubscriptionNotFound
from mailer.audience.wishes import Wish
from mailer.delivery import deliveries
from mailer.issues import issues
from mailer.models.audience import (
    Consent,
    ConsentEvent,
    EndedReason,
    Subscriber,
    Subscription,
    SubscriptionState,
    Suppression,
)
from mailer.models.choices import Rhythm
from mailer.models.content import MailKind, Newsletter, Variant
from mailer.models.deliveries import Delivery
from tests.factories import NOW, a_newsletter, an_article

LATER = NOW + timedelta(hours=1)
OLD, NEW = "old@example.org", "new@example.net"
CONFIRMED, ENDED = SubscriptionState.CONFIRMED, SubscriptionState.ENDED


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session)


def a_reader(session: Session, newsletter: Newsletter, address: str) -> Subscription:
    return subscriptions.add(session, newsletter, address, language="fr", proof="test", now=NOW)


def move(session: Session, subscription: Subscription, address: str = NEW) -> Subscription:
    """Ask and confirm."""
    delivery_id = moves.ask(session, subscription.id, address, now=NOW)
    assert delivery_id is not None
    return moves.confirm(session, delivery_id, origin=Origin(), now=LATER)


def standing(session: Session) -> dict[str, dict[str, str]]:
    """Every reader's newsletters and their states, by address."""
    session.expire_all()
    found: dict[str, dict[str, str]] = {
        one: {} for one in session.execute(select(Subscriber.address).order_by(Subscriber.id)).scalars()
    }
    rows = session.execute(
        select(Subscriber.address, Newsletter.slug, Subscription.state)
        .join(Subscription, Subscription.subscriber_id == Subscriber.id)
        .join(Newsletter, Newsletter.id == Subscription.newsletter_id)
    )
    for address, slug, state in rows:
        found[address][slug] = state.value
    return found


def events(session: Session, subscription_id: int) -> list[ConsentEvent]:
    chosen = select(Consent.event).where(Consent.subscription_id == subscription_id).order_by(Consent.id)
    return list(session.execute(chosen).scalars())


def recipients(session: Session) -> dict[MailKind, set[str]]:
    """Where the mails in the queue go, by kind."""
    found: dict[MailKind, set[str]] = {}
    while (claim := deliveries.claim(session, owner="a.1", lease_seconds=60, now=LATER)) is not None:
        ones = deliveries.recipients(session, claim, now=LATER)
        for one in moves.readdress(session, ones) if claim.issue_id is None else ones:
            kind = session.get_one(Variant, one.variant_id).kind
            found.setdefault(kind, set()).add(f"{one.address} {one.reason or ''}".strip())
    return found


def test_all_newsletters_follow_with_one_line_each_in_the_log(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    other = a_reader(session, a_newsletter(session, "culture"), OLD)
    move(session, one)
    assert standing(session) == {NEW: {"courrier": "confirmed", "culture": "confirmed"}}
    for subscription in (one, other):
        assert events(session, subscription.id)[2:] == [ConsentEvent.MOVED]


def test_the_new_address_is_asked_and_the_old_one_told(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    moves.ask(session, one.id, NEW, now=NOW)
    assert recipients(session) == {MailKind.CHANGE_ADDRESS: {NEW}}
    change_id = session.execute(select(moves.AddressChange.confirmation_id)).scalar_one()
    moves.confirm(session, change_id, origin=Origin(), now=LATER)
    assert recipients(session) == {MailKind.ADDRESS_CHANGED: {OLD}}


def test_an_issue_in_the_queue_goes_to_the_new_address(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "eau")
    one = a_reader(session, newsletter, OLD)
    issues.start(session, issues.draft(session, newsletter, now=LATER), batch_size=10, now=LATER)
    move(session, one)
    assert recipients(session)[MailKind.ISSUE] == {NEW}


def test_a_second_press_changes_nothing(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    delivery_id = moves.ask(session, one.id, NEW, now=NOW) or 0
    for _ in range(3):
        moves.confirm(session, delivery_id, origin=Origin(), now=LATER)
    assert events(session, one.id).count(ConsentEvent.MOVED) == 1
    assert len(session.execute(select(Delivery.id)).scalars().all()) == 2


def test_only_the_last_of_two_moves_is_open(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    first, second = (moves.ask(session, one.id, address, now=NOW) or 0 for address in (NEW, "third@example.net"))
    moves.confirm(session, second, origin=Origin(), now=LATER)
    with pytest.raises(SubscriptionGone):
        moves.confirm(session, first, origin=Origin(), now=LATER)
    assert list(standing(session)) == ["third@example.net"]


@pytest.mark.parametrize("address", [OLD, "OLD@example.org"])
def test_nothing_leaves_for_ones_own_address(session: Session, newsletter: Newsletter, address: str) -> None:
    assert moves.ask(session, a_reader(session, newsletter, OLD).id, address, now=NOW) is None


def test_a_suppressed_address_is_not_asked_and_takes_nothing(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    asked = moves.ask(session, one.id, NEW, now=NOW) or 0
    session.add(Suppression(address_hash=addresses.fingerprint(NEW), reason="complained"))
    session.flush()
    assert moves.ask(session, one.id, NEW, now=NOW) is None
    with pytest.raises(SubscriptionGone):
        moves.confirm(session, asked, origin=Origin(), now=LATER)
    assert list(standing(session)) == [OLD]


def test_a_reader_can_have_three_mails_a_day_sent_to_others(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    asked = [moves.ask(session, one.id, f"victim{n}@example.net", now=NOW) for n in range(5)]
    assert [delivery_id is not None for delivery_id in asked] == [True, True, True, False, False]
    assert moves.ask(session, one.id, NEW, now=NOW + timedelta(days=1, seconds=1)) is not None


def test_an_address_is_asked_three_times_a_day_whoever_asks(session: Session, newsletter: Newsletter) -> None:
    asked = [
        moves.ask(session, a_reader(session, newsletter, f"r{n}@example.org").id, NEW, now=NOW) is not None
        for n in range(4)
    ]
    assert asked == [True, True, True, False]


def test_two_readers_become_one(session: Session, newsletter: Newsletter) -> None:
    culture = a_newsletter(session, "culture")
    both, only_old = a_reader(session, newsletter, OLD), a_reader(session, culture, OLD)
    twin = a_reader(session, newsletter, NEW)
    session.get_one(Subscriber, both.subscriber_id).attributes = {"city": "Almaty"}
    session.flush()
    move(session, both)
    assert standing(session) == {
        OLD: {"courrier": "ended"},
        NEW: {"courrier": "confirmed", "culture": "confirmed"},
    }
    assert subscriptions.get(session, both.id).ended_reason == EndedReason.MOVED
    assert subscriptions.get(session, only_old.id).subscriber.attributes == {"city": "Almaty"}
    assert events(session, twin.id) == [ConsentEvent.REQUESTED, ConsentEvent.IMPORTED]


def test_an_address_that_had_left_has_the_newsletter_again_as_it_was_wanted(
    session: Session, newsletter: Newsletter
) -> None:
    one, twin = a_reader(session, newsletter, OLD), a_reader(session, newsletter, NEW)
    subscriptions.end(session, twin.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=NOW)
    wanted = Wish(language="en", topics=(), rhythm=Rhythm.WEEKLY, paused_until=None)
    wishes.choose(session, one.id, wanted, origin=Origin(), now=NOW)
    move(session, one)
    assert standing(session) == {OLD: {"courrier": "ended"}, NEW: {"courrier": "confirmed"}}
    assert wishes.of(subscriptions.get(session, twin.id)) == wanted


def test_who_complained_is_not_brought_back_by_a_move(session: Session, newsletter: Newsletter) -> None:
    one, twin = a_reader(session, newsletter, OLD), a_reader(session, newsletter, NEW)
    subscriptions.end(session, twin.id, EndedReason.COMPLAINED, origin=Origin(), now=NOW)
    move(session, one)
    assert subscriptions.get(session, twin.id).state == ENDED


def test_a_reader_without_anything_left_at_the_old_address_is_no_reader(
    session: Session, newsletter: Newsletter
) -> None:
    one = a_reader(session, newsletter, OLD)
    a_reader(session, a_newsletter(session, "culture"), NEW)
    move(session, one)
    assert standing(session) == {NEW: {"courrier": "confirmed", "culture": "confirmed"}}
    assert recipients(session)[MailKind.ADDRESS_CHANGED] == {OLD}


def test_a_mail_of_a_move_that_was_forgotten_goes_to_nobody(session: Session, newsletter: Newsletter) -> None:
    one, other = a_reader(session, newsletter, OLD), a_reader(session, newsletter, NEW)
    moves.ask(session, one.id, NEW, now=NOW)
    readers.erase(session, other.subscriber_id, now=NOW)
    assert recipients(session) == {MailKind.CHANGE_ADDRESS: {"erased"}}


def test_the_move_of_an_erased_reader_is_no_longer_known(session: Session, newsletter: Newsletter) -> None:
    one = a_reader(session, newsletter, OLD)
    asked = moves.ask(session, one.id, NEW, now=NOW) or 0
    session.delete(session.get_one(Subscriber, one.subscriber_id))
    session.flush()
    with pytest.raises(SubscriptionNotFound):
        moves.confirm(session, asked, origin=Origin(), now=LATER)
