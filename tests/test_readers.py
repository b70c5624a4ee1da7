"""All that is kept of a reader: found by the schema itself, handed out whole, erased without a trace."""

import json
import re
from datetime import timedelta

import pytest
from sqlalchemy import Table, Text, cast, func, literal_column, select, update
from sqlalchemy.orm import Session

from mailer import addresses
from mailer.audience import moves, readers, signups, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.delivery import deliveries
from mailer.delivery.deliveries import Settled
from mailer.mail import mails
from mailer.models import Base
from mailer.models.audience import Subscriber, Subscription, SuppressedBecause, Suppression
from mailer.models.content import Issue, IssueState, MailKind
from mailer.models.deliveries import Batch, BatchState, Deferral, Delivery, DeliveryOutcome, Outcome
from mailer.models.readers import AddressChange, LinkRequest
from mailer.newsroom import webhooks
from tests.factories import NOW, a_newsletter, a_signup

LATER = NOW + timedelta(hours=1)
ADDRESS = "lea.martin@example.org"
# Columns that lead to a reader where no foreign key says so.
LEADS = {"subscriber_id", "subscription_id", "delivery_id"}
HOLDS = {"address", "old_address", "new_address"}
# Their addresses are those of the newsroom.
OF_THE_NEWSROOM = {"desk_mails", "account_secrets", "trials"}


def a_reader(session: Session, address: str = ADDRESS, *, name: str = "Léa Martin", city: str = "Almaty") -> Subscriber:
    """A reader of one newsletter who has left a trace in every table: signed up, moved, was refused and deferred."""
    newsletter = session.execute(select(readers.Newsletter)).scalar_one_or_none() or a_newsletter(session)
    webhooks.create(session, webhooks.Wanted(url="https://crm.example/hook"), by="test", now=NOW)
    signups.handle(session, a_signup(session, newsletter, address, now=NOW, origin=Origin(source="article")), now=NOW)
    subscription = session.execute(
        select(Subscription).join(Subscriber).where(Subscriber.address_key == addresses.key(address))
    ).scalar_one()
    subscriptions.confirm(session, subscription.id, asked_at=NOW, origin=Origin(network="192.0.2.0/24"), now=NOW)
    moves.ask(session, subscription.id, f"new-{address}", now=NOW)
    readers.request_link(session, address, now=NOW)
    a_signup(session, newsletter, address.upper(), now=NOW)
    reader = session.get_one(Subscriber, subscription.subscriber_id)
    reader.name, reader.attributes = name, {"city": city}
    _refuse(session, subscription.id, newsletter.id, address)
    session.flush()
    return reader


def _refuse(session: Session, subscription_id: int, newsletter_id: int, address: str) -> None:
    """A server says the address in its refusals, and a batch still waits."""
    variant_id = mails.notice_variant(
        session, session.get_one(readers.Newsletter, newsletter_id), MailKind.ALREADY, "fr", now=NOW
    )
    made = [
        deliveries.queue_one(session, subscription_id=subscription_id, variant_id=variant_id, now=NOW) for _ in "ab"
    ]
    ended = {"state": BatchState.DONE, "refused": 1}
    session.execute(update(Batch).where(Batch.first_id == made[0]).values(**ended))
    words = f"550 5.1.1 <{address}>: unknown user {address.partition('@')[0]}"
    session.add(DeliveryOutcome(delivery_id=made[0], outcome=Outcome.REFUSED, reply=words, recorded_at=NOW))
    session.add(Deferral(delivery_id=made[0], attempt=1, reply=f"450 {address} busy", recorded_at=NOW, retry_at=NOW))
    session.add(
        Issue(
            newsletter_id=newsletter_id,
            state=IssueState.PAUSED,
            state_reason=f"550 5.7.1 <{address}> rejected",
            subject="Le titre",
            preview_text="",
            created_at=NOW,
            updated_at=NOW,
        )
    )


def dump(session: Session, table: Table) -> str:
    """A table as text, without what is the same for all: as pg_dump would write it."""
    return "\n".join(
        row[0] for row in session.execute(select(cast(literal_column(table.name), Text)).select_from(table))
    )


def is_a_readers(table: Table) -> bool:
    """Whether a table leads to a reader by a key, or holds an address."""
    references = {key.column.table.name for key in table.foreign_keys}
    return bool(references & {"subscribers", "subscriptions"} or (LEADS | HOLDS) & set(table.columns.keys()))


def test_every_table_with_something_of_a_reader_is_handed_out_and_erased() -> None:
    of_readers = {table.name for table in Base.metadata.sorted_tables if is_a_readers(table)} - OF_THE_NEWSROOM
    assert of_readers | {"subscribers", "suppressions"} == set(readers.TABLES)


def test_a_reader_is_handed_what_every_table_has_of_them(session: Session) -> None:
    reader, _other = a_reader(session), a_reader(session, "somebody@example.net", name="Nobody", city="Osh")
    kept = json.loads(readers.as_json(readers.export(session, reader.id)))
    assert set(kept) == set(readers.TABLES)
    empty = {name for name, rows in kept.items() if not rows}
    assert empty <= {"suppressions", "events", "returns"}
    said = json.dumps(kept, ensure_ascii=False)
    assert "Léa Martin" in said
    assert "somebody" not in said
    assert [one["event"] for one in kept["consents"]] == ["requested", "confirmed"]


def test_nothing_of_an_erased_reader_is_left_but_a_hash(session: Session) -> None:
    reader, other = a_reader(session), a_reader(session, "somebody@example.net", name="Nobody", city="Osh")
    session.commit()
    readers.erase(session, reader.id, now=LATER)
    traces = re.compile(r"lea.?martin|Léa|Almaty", re.IGNORECASE)
    assert [one.name for one in Base.metadata.sorted_tables if traces.search(dump(session, one))] == []
    assert session.execute(select(Suppression.reason)).scalars().all() == [SuppressedBecause.ERASED]
    assert session.execute(select(Subscriber.id)).scalars().all() == [other.id]
    assert [len(rows) for rows in readers.export(session, other.id).values()].count(0) <= 4


def test_numbers_of_past_mails_stay(session: Session) -> None:
    reader = a_reader(session)
    counted = select(func.count()).select_from(DeliveryOutcome)
    before = session.execute(counted).scalar_one(), session.execute(select(func.sum(Batch.size))).scalar_one()
    readers.erase(session, reader.id, now=LATER)
    assert (session.execute(counted).scalar_one(), session.execute(select(func.sum(Batch.size))).scalar_one()) == before
    assert session.execute(select(DeliveryOutcome.reply)).scalar_one() == "550 5.1.1"


def test_an_erased_readers_queued_mail_is_skipped(session: Session) -> None:
    reader = a_reader(session)
    readers.erase(session, reader.id, now=LATER)
    reasons = set()
    while (claim := deliveries.claim(session, owner="a.1", lease_seconds=60, now=LATER)) is not None:
        found = deliveries.recipients(session, claim, now=LATER)
        reasons |= {(one.reason, one.address) for one in found}
        settled = [Settled(delivery_id=one.delivery_id, outcome=Outcome.SKIPPED, reply="erased") for one in found]
        deliveries.record(session, claim, settled, [], now=LATER)
        deliveries.release(session, claim, due_at=None, now=LATER)
    assert reasons == {("erased", "")}


def test_nobody_can_enter_an_erased_address_again_but_its_reader_can_come_back(session: Session) -> None:
    reader = a_reader(session)
    newsletter = session.execute(select(readers.Newsletter)).scalar_one()
    readers.erase(session, reader.id, now=LATER)
    with pytest.raises(subscriptions.SubscriptionGone):
        subscriptions.add(session, newsletter, ADDRESS, language="fr", proof="a list", now=LATER)
    assert signups.handle(session, a_signup(session, newsletter, ADDRESS, now=LATER), now=LATER) is not None
    subscription = session.execute(select(Subscription)).scalar_one()
    assert subscriptions.is_suppressed(session, ADDRESS)
    subscriptions.confirm(session, subscription.id, asked_at=LATER, origin=Origin(), now=LATER)
    assert not subscriptions.is_suppressed(session, ADDRESS)


def test_what_a_server_says_after_the_erasure_is_cut_as_well(session: Session) -> None:
    reader, other = a_reader(session), a_reader(session, "somebody@example.net")
    readers.erase(session, reader.id, now=LATER)
    delivery_id = session.execute(select(Delivery.id).where(Delivery.subscription_id.is_(None)).limit(1)).scalar_one()
    words = f"452 4.2.2 <{ADDRESS}> mailbox full"
    session.add(Deferral(delivery_id=delivery_id, attempt=9, reply=words, recorded_at=LATER, retry_at=LATER))
    session.flush()
    readers.clean_up(session, now=LATER)
    replies = set(session.execute(select(Deferral.reply)).scalars())
    assert replies == {"450", "452 4.2.2", "450 somebody@example.net busy"}
    assert other.address == "somebody@example.net"


def test_erasing_forgets_no_complaint(session: Session) -> None:
    reader = a_reader(session)
    session.add(Suppression(address_hash=addresses.fingerprint(ADDRESS), reason="complained"))
    session.flush()
    readers.erase(session, reader.id, now=LATER)
    assert session.execute(select(Suppression.reason)).scalar_one() == "complained"
    assert not subscriptions.may_ask(session, ADDRESS)


def test_erasing_twice_says_so(session: Session) -> None:
    reader_id = a_reader(session).id
    readers.erase(session, reader_id, now=LATER)
    with pytest.raises(readers.ReaderNotFound):
        readers.erase(session, reader_id, now=LATER)


def test_a_request_for_the_link_is_gone_once_it_is_answered(session: Session) -> None:
    a_reader(session)
    (request_id,) = session.execute(select(LinkRequest.id)).scalars()
    assert readers.send_link(session, request_id, now=LATER) is not None
    assert readers.send_link(session, request_id, now=LATER) is None
    assert session.execute(select(func.count()).select_from(LinkRequest)).scalar_one() == 0


def test_a_suppressed_address_gets_no_link(session: Session) -> None:
    a_reader(session)
    session.add(Suppression(address_hash=addresses.fingerprint(ADDRESS), reason="complained"))
    session.flush()
    (request_id,) = session.execute(select(LinkRequest.id)).scalars()
    assert readers.send_link(session, request_id, now=LATER) is None


@pytest.mark.parametrize(("days", "links", "changes"), [(0.9, 1, 1), (1.1, 0, 1), (29, 0, 1), (31, 0, 0)])
def test_requests_and_moves_are_forgotten_in_time(session: Session, days: float, links: int, changes: int) -> None:
    a_reader(session)
    readers.clean_up(session, now=NOW + timedelta(days=days))
    assert session.execute(select(func.count()).select_from(LinkRequest)).scalar_one() == links
    assert session.execute(select(func.count()).select_from(AddressChange)).scalar_one() == changes
