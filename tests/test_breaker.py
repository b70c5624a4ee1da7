"""When sending stops by itself."""

from mailer.delivery.breaker import Breaker
from mailer.delivery.transports.verdicts import Result, Verdict

ACCEPTED = Result(verdict=Verdict.ACCEPTED, reply="250 2.0.0 ok", stage="CONTENT")
REFUSED = Result(verdict=Verdict.REFUSED, reply="550 5.1.1 unknown", stage="RCPT")
BLOCKED = Result(verdict=Verdict.BLOCKED, reply="550 5.7.1 spam", stage="CONTENT")


def after(*results: Result) -> list[str | None]:
    watcher = Breaker()
    return [watcher.see(one) for one in results]


def test_a_tenth_refused_of_the_last_two_hundred_is_borne_and_more_is_not() -> None:
    said = after(*[ACCEPTED] * 180, *[REFUSED] * 20)
    assert said == [None] * 200
    assert after(*[ACCEPTED] * 179, *[REFUSED] * 21)[-1] == "too_many_refused"


def test_refusals_of_long_ago_are_forgotten() -> None:
    assert after(*[REFUSED] * 20, *[ACCEPTED] * 180, REFUSED)[-1] is None


def test_a_small_list_of_bad_addresses_stops_after_twenty() -> None:
    said = after(*[REFUSED] * 21)
    assert said[:20] == [None] * 20
    assert said[20] == "too_many_refused"


def test_a_refused_sender_stops_at_once() -> None:
    refused = Result(verdict=Verdict.BLOCKED, reply="553 5.1.8 not your domain", stage="MAIL")
    assert after(*[ACCEPTED] * 200, refused)[-1] == "sender_refused"


def test_a_message_too_big_is_told_apart_from_a_refused_sender() -> None:
    for reply in ("552 5.3.4 message too big", "552 too big", "554 5.3.4 size"):
        assert after(Result(verdict=Verdict.BLOCKED, reply=reply, stage="MAIL")) == ["message_too_big"]
    assert after(Result(verdict=Verdict.BLOCKED, reply="larger than 1000", stage="SIZE")) == ["message_too_big"]


def test_being_blocked_stops_when_it_is_one_in_ten() -> None:
    assert after(BLOCKED) == ["blocked"]
    assert after(*[ACCEPTED] * 200, BLOCKED, BLOCKED)[-2:] == [None, None]
    assert after(*[ACCEPTED] * 180, *[BLOCKED] * 20)[-1] == "blocked"


def test_temporary_refusals_stop_nothing() -> None:
    deferred = Result(verdict=Verdict.DEFERRED, reply="450 4.2.0 greylisted", stage="RCPT")
    assert after(*[deferred] * 300) == [None] * 300
