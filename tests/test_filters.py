"""Readers found by address and by how they stand; segments; ending all that are found."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import addresses
from mailer.audience import filters, removal, subscriptions
from mailer.audience.filters import EVERYTHING, Filter, Sight
from mailer.audience.subscriptions import Origin
from mailer.models.audience import Consent, EndedReason, Subscription, SubscriptionState, Suppression
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from tests.crowded import many_readers
from tests.factories import NOW, a_newsletter

SITE = Origin(source="site")


@pytest.fixture
def hebdo(session: Session) -> Newsletter:
    return a_newsletter(session, "hebdo")


def a_reader(session: Session, newsletter: Newsletter, address: str, **values: object) -> Subscription:
    made = subscriptions.add(session, newsletter, address, language="fr", proof="test", now=NOW)
    for name, value in values.items():
        setattr(made, name, value)
    session.flush()
    return made


def found(session: Session, sight: Sight = EVERYTHING, after: int = 0, limit: int = 50, **wanted: str) -> list[str]:
    listed = filters.page(session, Filter.of(wanted), sight, now=NOW, after=after, limit=limit)
    return [one.subscriber.address for one in listed]


def counted(session: Session, **wanted: str) -> int:
    return filters.count(session, Filter.of(wanted), EVERYTHING, now=NOW).number


@pytest.fixture
def people(session: Session, hebdo: Newsletter) -> None:
    for address in (
        "lea@example.org",
        "leo@example.com",
        "Anna@Example.org",
        "lea.b@sub.example.org",
        "zoé@exemple.fr",
    ):
        a_reader(session, hebdo, address)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("lea@example.org", ["lea@example.org"]),
        (" LEA@Example.ORG ", ["lea@example.org"]),
        ("le", ["lea.b@sub.example.org", "lea@example.org", "leo@example.com"]),
        ("ANNA", ["Anna@example.org"]),
        ("zoé", ["zoé@exemple.fr"]),
        ("@example.org", ["Anna@example.org", "lea@example.org"]),
        ("@EXAMPLE.com", ["leo@example.com"]),
        ("ea@example.org", []),
        ("%", []),
        ("l_a", []),
        ("nobody@example.org", []),
        ("'; DROP TABLE subscribers; --", []),
    ],
)
@pytest.mark.usefixtures("people")
def test_an_address_is_found_whole_by_its_start_and_by_its_domain(
    session: Session, q: str, expected: list[str]
) -> None:
    assert found(session, q=q) == expected
    assert counted(session, q=q) == len(expected)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("wanted", [{}, {"q": "l"}, {"q": "@example.org"}, {"state": "confirmed"}])
def test_pages_follow_each_other_without_a_gap(session: Session, wanted: dict[str, str]) -> None:
    everybody = found(session, **wanted)  # type: ignore[arg-type]
    walked: list[str] = []
    after = 0
    while True:
        page = filters.page(session, Filter.of(wanted), EVERYTHING, now=NOW, after=after, limit=2)
        walked += [one.subscriber.address for one in page]
        if len(page) < 2:
            break
        after = page[-1].id
    assert walked == everybody


def test_each_filter_finds_its_own(session: Session, hebdo: Newsletter) -> None:
    other = a_newsletter(session, "quotidien")
    a_reader(session, other, "other@example.org")
    a_reader(session, hebdo, "weekly@example.org", rhythm=Rhythm.WEEKLY)
    a_reader(session, hebdo, "english@example.org", language="en")
    a_reader(session, hebdo, "water@example.org", topics=["eau"])
    a_reader(session, hebdo, "culture@example.org", topics=["culture"])
    a_reader(session, hebdo, "paused@example.org", paused_until=NOW + timedelta(days=1))
    a_reader(session, hebdo, "back@example.org", paused_until=NOW - timedelta(days=1))
    a_reader(session, hebdo, "fair@example.org", source="fair")
    a_reader(session, hebdo, "old@example.org", confirmed_at=NOW - timedelta(days=30))
    gone = a_reader(session, hebdo, "gone@example.org")
    subscriptions.end(session, gone.id, EndedReason.BOUNCED, origin=SITE, now=NOW)
    session.add(Suppression(address_hash=addresses.fingerprint("gone@example.org"), reason="bounced"))
    session.flush()
    assert found(session, newsletter="quotidien") == ["other@example.org"]
    assert found(session, newsletter="none") == []
    assert found(session, rhythm="weekly") == ["weekly@example.org"]
    assert found(session, language="en") == ["english@example.org"]
    assert "water@example.org" in found(session, topic="eau")
    assert "weekly@example.org" in found(session, topic="eau")
    assert "culture@example.org" not in found(session, topic="eau")
    assert found(session, paused="yes") == ["paused@example.org"]
    assert found(session, source="fair") == ["fair@example.org"]
    assert "old@example.org" not in found(session, since=f"{NOW:%Y-%m-%d}")
    assert found(session, state="ended") == found(session, reason="bounced") == found(session, suppressed="yes")
    assert found(session, suppressed="yes") == ["gone@example.org"]
    assert found(session, state="ended", rhythm="weekly") == []


def test_what_no_filter_can_be_is_left_out() -> None:
    nonsense = {
        "state": "happy",
        "rhythm": "hourly",
        "language": "xx",
        "since": "soon",
        "topic": "Eau !",
        "paused": "no",
        "newsletter": "../x",
        "reason": "none",
        "other": "x",
        "q": " \0 ",
    }
    assert Filter.of(nonsense).chosen() == {}


def test_who_may_not_read_addresses_finds_only_whole_ones(session: Session, hebdo: Newsletter) -> None:
    a_reader(session, hebdo, "lea@example.org")
    masked = Sight(may_read=False)
    assert found(session, masked, q="lea@example.org") == ["lea@example.org"]
    assert found(session, masked, q="lea") == found(session, masked, q="@example.org") == []


def test_nobody_of_a_newsletter_out_of_sight_is_found(session: Session, hebdo: Newsletter) -> None:
    a_reader(session, hebdo, "lea@example.org")
    other = a_newsletter(session, "quotidien")
    assert found(session, Sight(newsletter_ids={other.id}), q="lea@example.org") == []
    assert found(session, Sight(newsletter_ids=frozenset())) == []
    assert found(session, Sight(newsletter_ids={hebdo.id})) == ["lea@example.org"]


def test_many_readers_are_estimated(session: Session, hebdo: Newsletter) -> None:
    many_readers(session, hebdo, filters.EXACT_UP_TO + 5)
    few, many = (filters.count(session, Filter(q=q), EVERYTHING, now=NOW) for q in ("m77", ""))
    assert (few.number, few.is_exact) == (111, True)
    assert not many.is_exact
    assert many.number >= filters.EXACT_UP_TO
    assert filters.Count(number=18_342, is_exact=False).rounded == 18_000


def test_a_segment_is_a_filter_with_a_name(session: Session) -> None:
    saved = filters.save(session, "  Weekly   readers ", Filter(rhythm="weekly"), now=NOW)
    assert (saved.name, saved.chosen) == ("Weekly readers", {"rhythm": "weekly"})
    again = filters.save(session, "Weekly readers", Filter(rhythm="weekly", language="fr"), now=NOW)
    assert again.id == saved.id
    assert [one.chosen for one in filters.segments(session)] == [{"rhythm": "weekly", "language": "fr"}]
    for name, wanted in (("", Filter(q="x")), ("x" * 81, Filter(q="x")), ("everybody", Filter())):
        with pytest.raises(filters.SegmentInvalid):
            filters.save(session, name, wanted, now=NOW)


def test_all_that_are_found_end_together_with_their_proof(session: Session, hebdo: Newsletter) -> None:
    weekly = [a_reader(session, hebdo, f"w{number}@example.org", rhythm=Rhythm.WEEKLY) for number in range(3)]
    a_reader(session, hebdo, "stays@example.org")
    subscriptions.end(session, weekly[0].id, EndedReason.UNSUBSCRIBED, origin=SITE, now=NOW)
    wanted, now = Filter(rhythm="weekly"), datetime(2026, 11, 21, tzinfo=UTC)
    assert removal.count(session, wanted, EVERYTHING, now=now) == 2
    ended = removal.end(session, wanted, EVERYTHING, origin=Origin(source="desk"), now=now)
    assert sorted(ended) == sorted(one.id for one in weekly[1:])
    assert removal.end(session, wanted, EVERYTHING, origin=Origin(source="desk"), now=now) == []
    session.expire_all()
    standing = session.execute(select(Subscription).order_by(Subscription.id)).scalars().all()
    assert [one.ended_reason for one in standing] == [
        EndedReason.UNSUBSCRIBED,
        EndedReason.REMOVED,
        EndedReason.REMOVED,
        None,
    ]
    lines = session.execute(select(Consent).where(Consent.at == now).order_by(Consent.id)).scalars().all()
    assert [(one.event, one.source, one.detail) for one in lines] == [("ended", "desk", "removed")] * 2
    assert standing[3].state == SubscriptionState.CONFIRMED
