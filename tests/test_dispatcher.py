"""Which route, at which rate, and nobody in the way: the loop over all routes of a worker."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from redis import Redis

from mailer.delivery.transports.verdicts import Verdict
from mailer.mail_settings import DomainLimits
from tests.conftest import Servers
from tests.smtp_server import SILENCE, scripted_server
from tests.transports import dispatching, outgoing, send_all, transport, turn_until


@pytest.fixture
def redis_url(services: Servers) -> Iterator[str]:
    """A Redis that has counted nothing yet."""
    with Redis.from_url(services.redis_url) as redis:
        redis.flushdb()
        yield services.redis_url
        redis.flushdb()


def frozen_after_ehlo(at: str, _: str) -> str | None:
    """Take the connection and never answer a message."""
    return None if at in ("CONNECT", "EHLO") else SILENCE


def test_a_transport_sends_no_faster_than_its_rate(redis_url: str) -> None:
    with (
        scripted_server() as server,
        dispatching(transport(server, per_second=20, connections=3), redis_url=redis_url) as (dispatcher, heard),
    ):
        began = time.monotonic()
        send_all(dispatcher, heard, list(outgoing(40)))
        seconds = time.monotonic() - began
    assert heard.verdicts() == [Verdict.ACCEPTED] * 40
    # A burst of half a second, then twenty a second.
    assert 1.4 <= seconds < 4


def test_two_workers_share_a_transports_rate(redis_url: str) -> None:
    with scripted_server() as server:
        limited = transport(server, per_second=20)
        with (
            dispatching(limited, redis_url=redis_url) as (first, first_heard),
            dispatching(limited, redis_url=redis_url) as (second, second_heard),
        ):
            began = time.monotonic()
            first.add(outgoing(20))
            second.add(outgoing(20, first=20))
            while first_heard.count + second_heard.count < 40:
                assert time.monotonic() - began < 15
                first.turn(0.02)
                second.turn(0.02)
            seconds = time.monotonic() - began
    assert seconds >= 1.4
    assert len(server.accepted) == 40


def test_a_limited_provider_waits_and_the_others_do_not(redis_url: str) -> None:
    limits = DomainLimits(names=("slow.example", "*.slow.example"), per_second=2)
    with (
        scripted_server() as server,
        dispatching(transport(server, connections=2), redis_url=redis_url, domains=(limits,)) as (dispatcher, heard),
    ):
        limited = [*outgoing(4, domain="slow.example"), *outgoing(4, domain="mail.slow.example", first=4)]
        dispatcher.add([*limited, *outgoing(50, first=8)])
        turn_until(dispatcher, lambda: heard.count >= 58)
    free = max(heard.at[key] for key in range(8, 58))
    last = max(heard.at[key] for key in range(8))
    assert free < last - 0.5
    assert heard.verdicts() == [Verdict.ACCEPTED] * 58


def test_what_a_quota_does_not_allow_is_handed_back_with_the_reason(redis_url: str) -> None:
    with (
        scripted_server() as server,
        dispatching(transport(server, per_hour=6), redis_url=redis_url) as (dispatcher, heard),
    ):
        send_all(dispatcher, heard, list(outgoing(10)))
    assert len(server.accepted) == 6
    assert len(heard.held_keys) == 4
    assert heard.trouble().code == "quota_reached"
    assert all(seconds > 5 for seconds, _ in heard.held_keys.values())


def test_recipients_of_a_routed_domain_go_their_own_way(redis_url: str) -> None:
    with scripted_server() as one, scripted_server() as other:
        routes = (transport(one), transport(other, "second", domains=("partner.example",)))
        with dispatching(*routes, redis_url=redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, [*outgoing(5), *outgoing(5, domain="partner.example", first=5)])
    assert {address.partition("@")[2] for address in one.recipients} == {"example.org"}
    assert {address.partition("@")[2] for address in other.recipients} == {"partner.example"}


def test_a_routed_domain_takes_the_common_route_while_its_own_is_away(redis_url: str) -> None:
    with scripted_server() as one:
        away = transport(one, "away", url="smtp://127.0.0.1:1", domains=("partner.example",))
        with dispatching(transport(one), away, redis_url=redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(5, domain="partner.example")))
    assert heard.verdicts() == [Verdict.ACCEPTED] * 5


def test_the_second_in_order_serves_only_while_the_first_does_not(redis_url: str) -> None:
    busy = [True]
    with (
        scripted_server(lambda at, _: "421 closed" if at == "CONNECT" and busy else None) as first,
        scripted_server() as second,
    ):
        routes = (transport(first), transport(second, "second", order=2))
        with dispatching(*routes, redis_url=redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(5)))
            assert len(second.accepted) == 5
            busy.clear()
            dispatcher.pools[0].closed_until = 0.0  # the pause is over
            send_all(dispatcher, heard, list(outgoing(5, first=5)))
    assert len(first.accepted) == 5
    assert heard.verdicts() == [Verdict.ACCEPTED] * 10


def test_a_refused_login_fails_over_and_is_ours_only_when_no_route_is_left(redis_url: str) -> None:
    def script(at: str, _: str) -> str | None:
        return "535 5.7.8 wrong" if at == "AUTH" else None

    with (
        scripted_server(script, extensions=("PIPELINING", "AUTH PLAIN")) as wrong,
        scripted_server() as second,
    ):
        first = transport(wrong, url=f"smtp://u:p@127.0.0.1:{wrong.port}")
        with dispatching(first, transport(second, "second", order=2), redis_url=redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(3)))
        assert heard.verdicts() == [Verdict.ACCEPTED] * 3
        with dispatching(first, redis_url=redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(3)))
        assert (heard.trouble().code, heard.trouble().is_ours) == ("login_refused", True)


def test_equal_transports_share_as_told(redis_url: str) -> None:
    with scripted_server() as one, scripted_server() as other:
        routes = (transport(one, share=3, connections=2), transport(other, "second", share=1, connections=2))
        with dispatching(*routes, redis_url=redis_url) as (dispatcher, heard):
            # Both are open before it counts.
            for pool in dispatcher.pools:
                pool.open_more(2)
            turn_until(dispatcher, lambda: all(len(pool.connections) == 2 for pool in dispatcher.pools))
            send_all(dispatcher, heard, list(outgoing(400)))
    assert len(one.accepted) + len(other.accepted) == 400
    assert 260 <= len(one.accepted) <= 340


def test_a_frozen_server_stalls_neither_the_other_routes_nor_their_recipients(redis_url: str) -> None:
    with scripted_server(frozen_after_ehlo) as frozen, scripted_server() as fine:
        routes = (transport(fine), transport(frozen, "frozen", domains=("frozen.example",), connections=2))
        with dispatching(*routes, redis_url=redis_url, timeout_seconds=60, slow_seconds=1) as (dispatcher, heard):
            dispatcher.add([*outgoing(20, domain="frozen.example"), *outgoing(50, first=20)])
            turn_until(dispatcher, lambda: heard.count >= 70)
    assert max(heard.at[key] for key in range(20, 70)) < min(heard.at[key] for key in range(20))
    # Nothing of the frozen ones had left: they took the common route in the end.
    assert heard.verdicts() == [Verdict.ACCEPTED] * 70
    assert len(fine.accepted) == 70


def test_a_domain_that_the_relay_cannot_answer_for_holds_one_connection_only(redis_url: str) -> None:
    def script(at: str, who: str) -> str | None:
        # DATA names nobody once RCPT got no answer.
        return SILENCE if who.endswith("@frozen.example") or (at == "DATA" and not who) else None

    with (
        scripted_server(script) as relay,
        dispatching(transport(relay, connections=4), redis_url=redis_url, timeout_seconds=60, slow_seconds=1) as (
            dispatcher,
            heard,
        ),
    ):
        began = time.monotonic()
        dispatcher.add([*outgoing(10, domain="frozen.example"), *outgoing(100, first=10)])
        turn_until(dispatcher, lambda: len(heard.results) >= 100)
        assert time.monotonic() - began < 8
        turn_until(dispatcher, lambda: heard.count >= 109)
        assert dispatcher.count_under_way() == 1
    assert {key for key, result in heard.results.items() if result.verdict is Verdict.ACCEPTED} == set(range(10, 110))


def test_a_silent_server_gets_its_minutes_but_nothing_more_is_meant_for_it(redis_url: str) -> None:
    with (
        scripted_server(frozen_after_ehlo) as server,
        dispatching(transport(server), redis_url=redis_url, timeout_seconds=60, slow_seconds=1) as (dispatcher, heard),
    ):
        dispatcher.add(outgoing(5))
        turn_until(dispatcher, lambda: heard.count >= 4)
        assert heard.trouble().code == "server_slow"
        assert not dispatcher.is_usable()
        assert dispatcher.count_under_way() == 1


def test_421_halves_the_rate_of_all_workers_and_loses_nothing(redis_url: str) -> None:
    said = Counter[str]()

    def script(at: str, _: str) -> str | None:
        said[at] += 1
        return "421 4.7.0 too fast" if at == "MAIL" and said[at] == 200 else None

    with (
        scripted_server(script) as server,
        dispatching(transport(server, connections=4), redis_url=redis_url) as (dispatcher, heard),
    ):
        dispatcher.add(outgoing(300))
        turn_until(dispatcher, lambda: len(heard.results) >= 200)
        assert dispatcher.rates.ceiling("transport:first") is not None
        assert dispatcher.pools[0].window == 2
        turn_until(dispatcher, lambda: heard.count >= 300, seconds=60)
    assert heard.verdicts() == [Verdict.ACCEPTED] * 300
    assert len(set(server.recipients)) == 300


def test_many_temporary_refusals_of_a_domain_slow_that_domain_only(redis_url: str) -> None:
    def script(at: str, who: str) -> str | None:
        return "451 4.7.1 too much mail from you" if at == "RCPT" and who.endswith("@strict.example") else None

    with (
        scripted_server(script, delay_seconds=0.005) as server,
        dispatching(transport(server, connections=4), redis_url=redis_url) as (dispatcher, heard),
    ):
        dispatcher.add([*outgoing(60, domain="strict.example"), *outgoing(60, first=60)])
        turn_until(dispatcher, lambda: all(key in heard.results for key in range(60, 120)))
        turn_until(dispatcher, lambda: dispatcher.rates.ceiling("domain:strict.example") is not None)
        assert dispatcher.rates.ceiling("transport:first") is None
    assert {heard.results[key].verdict for key in range(60, 120)} == {Verdict.ACCEPTED}


def test_connections_in_all_are_shared_by_workers(redis_url: str) -> None:
    with scripted_server(delay_seconds=0.01) as server:
        few = transport(server, connections=5, connections_in_all=2)
        with dispatching(few, redis_url=redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(30)))
    assert server.connections <= 2
    assert len(server.accepted) == 30


def test_urgent_messages_overtake_all_others(redis_url: str) -> None:
    with (
        scripted_server() as server,
        dispatching(transport(server), redis_url=redis_url) as (dispatcher, heard),
    ):
        dispatcher.add(outgoing(50))
        dispatcher.add(outgoing(3, first=50), urgent=True)
        turn_until(dispatcher, lambda: heard.count >= 53)
    assert server.recipients[:3] == [f"r{key}@example.org" for key in (50, 51, 52)]


def test_withdrawn_messages_never_leave(redis_url: str) -> None:
    with (
        scripted_server() as server,
        dispatching(transport(server), redis_url=redis_url) as (dispatcher, heard),
    ):
        dispatcher.add(outgoing(10))
        assert dispatcher.withdraw({3, 4, 99}) == {3, 4}
        turn_until(dispatcher, lambda: heard.count >= 8)
    assert sorted(heard.results) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert len(server.accepted) == 8


def test_without_redis_a_limited_transport_waits_and_an_unlimited_one_goes_on() -> None:
    nowhere = "redis://127.0.0.1:1/0"
    with scripted_server() as server:
        with dispatching(transport(server), redis_url=nowhere) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(5)))
        assert len(server.accepted) == 5
        with dispatching(transport(server, per_second=100), redis_url=nowhere) as (dispatcher, heard):
            dispatcher.add(outgoing(5))
            for _ in range(10):
                dispatcher.turn(0.05)
            assert heard.count == 0
    assert len(server.accepted) == 5
