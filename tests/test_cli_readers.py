"""`mailer subscribers export`, `erase` and `show`: what an operator answers a reader who asks for their data."""

import pytest

from mailer import clock
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.models.audience import EndedReason, LeftBecause
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, readers

READER = "r0@example.org"


@pytest.fixture
def reader(installation: SmtpInbox) -> int:
    with transaction() as session:
        (one,) = readers(session, a_newsletter(session), 1)
        origin = Origin(source="mail", network="192.0.2.0/24")
        subscriptions.end(session, one.id, EndedReason.UNSUBSCRIBED, origin=origin, now=clock.now())
        return one.id


def test_the_export_is_json_with_every_table(reader: int) -> None:
    kept = mailer("subscribers", "export", READER).value
    assert kept["subscribers"][0]["address"] == READER
    assert [one["event"] for one in kept["consents"]] == ["requested", "imported", "ended"]


def test_erasing_asks_and_then_nothing_is_found(reader: int) -> None:
    assert mailer("subscribers", "erase", READER).code != 0
    assert mailer("subscribers", "show", READER).code == 0
    assert mailer("subscribers", "erase", READER, "--yes").code == 0
    for command in ("show", "export", "erase"):
        ran = mailer("subscribers", command, READER, *(["--yes"] if command == "erase" else []))
        assert (ran.code, "No subscriber has this address." in ran.err) == (3, True)
    ran = mailer("subscribers", "add", "courrier", READER, "--proof", "a list")
    assert (ran.code, "suppressed" in ran.err) == (5, True)


def test_the_timeline_shows_consents_with_their_source(reader: int) -> None:
    shown = mailer("subscribers", "show", READER)
    assert "ended       unsubscribed  mail  192.0.2.0/24" in shown.out
    timeline = mailer("subscribers", "show", READER, "--json").value["timeline"]
    assert [one["what"] for one in timeline] == ["requested", "imported", "ended"]


def test_the_numbers_tell_why_readers_left(reader: int) -> None:
    with transaction() as session:
        because = LeftBecause.TOO_MANY
        subscriptions.explain(session, reader, because, origin=Origin(), now=clock.now())
    told = mailer("subscribers", "stats", "courrier", "--json").value
    assert (told["ended"], told["left_because"]["too_many"], told["left_because"]["other"]) == (1, 1, 0)
