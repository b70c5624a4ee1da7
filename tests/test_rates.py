"""What all workers together may send: the rates kept in a real Valkey."""

import itertools
import multiprocessing
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from mailer.delivery.rates import Rates, RatesUnavailable, warm_up
from mailer.embedded.services import Servers
from mailer.mail_settings import Limits, Transport
from tests.proxy import Connect, Proxy, proxied, to_unix_socket

FIRST_DAY = date(2026, 3, 1)
PROCESSES = 4


@pytest.fixture
def redis(services: Servers) -> Iterator[Redis]:
    with Redis.from_url(services.redis_url, decode_responses=True) as redis:
        yield redis
        for key in redis.scan_iter("mailer:rates:*"):
            redis.delete(key)


@pytest.fixture
def rates(services: Servers, redis: Redis) -> Iterator[Rates]:
    rates = Rates(services.redis_url)
    yield rates
    rates.close()


@pytest.fixture
def quick(services: Servers, redis: Redis) -> Iterator[Rates]:
    """An hour is 1.2 s long, a lease of seats 0.3 s, and a ceiling grows every 0.05 s."""
    rates = Rates(services.redis_url, minute_seconds=0.02, seat_seconds=0.3, growth_seconds=0.05)
    yield rates
    rates.close()


@pytest.fixture
def key() -> str:
    return uuid4().hex


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.3] * PROCESSES))  # all of them have started
        yield pool


@pytest.fixture
def proxy(services: Servers) -> Iterator[Proxy]:
    with proxied(_to_server(services.redis_url)) as proxy:
        yield proxy


def test_four_processes_together_keep_to_the_rate_per_second(processes, services, redis, key):
    limits = Limits(per_second=400)
    takes = [processes.submit(_take, services.redis_url, key, limits, 2.0) for _ in range(PROCESSES)]
    starts, ends, granted = zip(*[one.result() for one in takes], strict=True)
    seconds = max(ends) - min(starts)
    assert 0.5 * 400 * seconds < sum(granted) <= 400 * seconds + 200


@pytest.mark.parametrize("limits", [Limits(per_hour=1234), Limits(per_day=1234), Limits(per_hour=1234, per_day=1235)])
def test_four_processes_together_use_up_a_quota_to_the_last_message(processes, services, rates, key, limits):
    takes = [processes.submit(_take, services.redis_url, key, limits, 0.3) for _ in range(PROCESSES)]
    assert sum(one.result()[2] for one in takes) == 1234
    assert rates.used(key) == (1234, 1234)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.sampled_from([0.5, 3, 40, 1000, 20_000]),
    steps=st.lists(st.tuples(st.integers(1, 600), st.integers(0, 600), st.integers(0, 8)), min_size=1, max_size=25),
)
def test_in_no_stretch_of_time_more_is_used_than_the_rate_and_one_burst(rates, rate, steps):
    key = uuid4().hex
    used = []
    for wanted, unused, pause_milliseconds in steps:
        before = time.monotonic()
        granted = rates.take(key, Limits(per_second=rate), wanted).granted
        after = time.monotonic()
        assert granted <= wanted
        rates.give_back(key, min(unused, granted))
        used.append((before, after, granted - min(unused, granted)))
        time.sleep(pause_milliseconds / 1000)
    for first, last in itertools.combinations_with_replacement(range(len(used)), 2):
        seconds = used[last][1] - used[first][0]
        assert sum(count for *_, count in used[first : last + 1]) <= rate * seconds + max(1, rate / 2) + 1e-6


@pytest.mark.parametrize(("limits", "minute_seconds"), [(Limits(per_hour=50), 0.01), (Limits(per_day=50), 0.0005)])
def test_in_no_hour_or_day_more_is_granted_than_its_quota(services, redis, key, limits, minute_seconds):
    window_seconds = minute_seconds * (60 if limits.per_hour else 60 * 24)
    rates = Rates(services.redis_url, minute_seconds=minute_seconds)
    takes, end = [], time.monotonic() + 3 * window_seconds
    while time.monotonic() < end:
        before = time.monotonic()
        granted = rates.take(key, limits, random.randrange(1, 9)).granted
        takes.append((before, time.monotonic(), granted))
        time.sleep(window_seconds / 200)
    rates.close()
    for first, (start, _, _) in enumerate(takes):
        together = [granted for _, done, granted in takes[first:] if done - start <= window_seconds]
        assert sum(together) <= 50
    assert sum(granted for *_, granted in takes) > 100


@pytest.mark.parametrize(
    ("limits", "taken", "least", "most"),
    [
        (Limits(per_second=0.1), 1, 9.5, 10),
        (Limits(per_second=0.001), 1, 60, 60),
        (Limits(per_second=1000), 500, 0.05, 0.05),
        (Limits(per_hour=5), 5, 0.05, 60),
        (Limits(per_day=5), 5, 0.05, 60),
    ],
)
def test_who_gets_nothing_hears_when_to_ask_again(rates, key, limits, taken, least, most):
    assert rates.take(key, limits, taken).wait_seconds == 0
    again = rates.take(key, limits, 1000)
    assert again.granted < 1000
    assert least <= again.wait_seconds <= most


def test_who_has_used_up_an_hours_quota_may_ask_again_when_the_next_minute_begins(rates, redis, key):
    rates.take(key, Limits(per_hour=5), 5)
    seconds, microseconds = redis.time()
    ends_at = (seconds + microseconds / 1e6 + rates.take(key, Limits(per_hour=5), 5).wait_seconds) % 60
    assert min(ends_at, 60 - ends_at) < 0.5


def test_without_limits_all_is_granted_and_counted(rates, key):
    assert rates.take(key, Limits(), 100_000).granted == 100_000
    assert rates.used(key) == (100_000, 100_000)


def test_what_is_given_back_can_be_taken_by_others(services, rates, key):
    limits = Limits(per_second=20, per_hour=10, per_day=10)
    rates.take(key, limits, 10)
    rates.give_back(key, 4)
    other = Rates(services.redis_url)
    assert [other.take(key, limits, 10).granted, other.used(key)] == [4, (10, 10)]
    other.close()


def test_what_is_given_back_counts_where_it_was_taken(services, quick, key):
    other = Rates(services.redis_url, minute_seconds=0.02)
    quick.take(key, Limits(), 5)
    time.sleep(0.6)
    other.take(key, Limits(), 7)
    quick.give_back(key, 5)
    assert quick.used(key)[0] == 7
    time.sleep(0.7)  # what was taken first has left the hour of 1.2 s, and not the others' 7
    assert quick.used(key)[0] == 7
    other.close()


def test_after_an_hour_without_use_nothing_counts(quick, key):
    quick.take(key, Limits(), 5)
    time.sleep(1.25)
    assert quick.used(key) == (0, 5)


def test_a_key_needs_constant_memory_and_goes_away_by_itself(services, redis, key):
    rates = Rates(services.redis_url, minute_seconds=0.0005)
    for _ in range(500):
        rates.take(key, Limits(per_second=100_000, per_hour=1_000_000), 1)
        rates.seats(key, uuid4().hex, 1, 10)
        time.sleep(0.0005)
    rates.slow_down(key)
    rates.close()
    assert redis.hlen(f"mailer:rates:{key}") <= 61 + 25 + 14
    assert redis.pttl(f"mailer:rates:{key}") > 0
    assert redis.pttl(f"mailer:rates:{key}:seats") > 0


def test_three_holders_get_equal_parts_of_the_seats(rates, key):
    assert [rates.seats(key, holder, 10, 9) for holder in "abc"] == [9, 0, 0]
    _ask_in_turn(rates, key, {"a": 10, "b": 10, "c": 10}, most=9)
    assert [rates.seats(key, holder, 10, 9) for holder in "abc"] == [3, 3, 3]


def test_who_wants_few_seats_gets_them_and_the_others_share_the_rest(rates, key):
    wanted = {"a": 10, "b": 2, "c": 10}
    _ask_in_turn(rates, key, wanted, most=10)
    assert {holder: rates.seats(key, holder, count, 10) for holder, count in wanted.items()} == {"a": 4, "b": 2, "c": 4}


def test_there_are_never_more_seats_than_allowed_while_they_change_hands(rates, key):
    chance = random.Random(7)
    told, open_now = dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 0)
    for _ in range(1000):
        holder, wanted = chance.choice("abcde"), chance.randrange(12)
        open_now[holder] = min(told[holder], wanted)  # the rest is closed before asking
        told[holder] = rates.seats(key, holder, wanted, 10)
        # What is too many now may stay open until the next time, as a message may be on its way.
        open_now[holder] = max(open_now[holder], told[holder])
        assert sum(open_now.values()) <= 10


def test_a_dead_holders_seats_are_free_after_its_lease(quick, key):
    assert quick.seats(key, "dead", 10, 10) == 10
    assert quick.seats(key, "alive", 10, 10) == 0
    time.sleep(0.2)
    quick.seats(key, "alive", 10, 10)
    time.sleep(0.2)
    assert quick.seats(key, "alive", 10, 10) == 10


def test_a_holder_that_wants_none_leaves_its_seats_at_once(quick, key):
    quick.seats(key, "a", 10, 10)
    assert quick.seats(key, "a", 0, 10) == 0
    assert quick.seats(key, "b", 10, 10) == 10


def test_of_more_holders_than_seats_each_has_its_turn(services, redis, key):
    rates = Rates(services.redis_url, seat_seconds=0.05)  # the turn changes every 0.3 s
    served, end = set(), time.monotonic() + 2
    while time.monotonic() < end and len(served) < 3:
        served |= {holder for holder in "abc" if rates.seats(key, holder, 5, 1)}
        time.sleep(0.01)
    rates.close()
    assert served == {"a", "b", "c"}


def test_a_slow_down_halves_what_was_taken_lately(rates, key):
    rates.take(key, Limits(), 100)
    rates.give_back(key, 20)
    assert rates.slow_down(key) == 40
    assert rates.ceiling(key) == pytest.approx(40, rel=0.01)


def test_a_slow_down_halves_the_rate_that_held_even_if_more_was_taken_in_a_burst(rates, key):
    rates.take(key, Limits(per_second=50), 25)
    time.sleep(0.5)
    rates.take(key, Limits(per_second=50), 25)
    time.sleep(0.4)
    rates.take(key, Limits(per_second=50), 25)
    assert rates.slow_down(key) == 25


def test_many_slow_downs_within_a_second_count_once_and_later_ones_again(rates, key):
    rates.take(key, Limits(), 100)
    assert {rates.slow_down(key) for _ in range(20)} == {50}
    time.sleep(1.05)
    assert rates.slow_down(key) == pytest.approx(25, rel=0.05)


def test_a_slow_down_without_mail_lately_leaves_a_fifth_of_a_message_per_second(rates, redis, key):
    assert rates.slow_down(key) == 0.2
    assert redis.pttl(f"mailer:rates:{key}") > 0
    assert rates.take(key, Limits(), 10).granted == 0


def test_a_ceiling_holds_for_every_process(processes, services, rates, key):
    rates.take(key, Limits(), 200)
    assert rates.slow_down(key) == 100
    takes = [processes.submit(_take, services.redis_url, key, Limits(), 1.0) for _ in range(PROCESSES)]
    starts, ends, granted = zip(*[one.result() for one in takes], strict=True)
    # The ceiling grows by less than a tenth in these seconds.
    assert 0 < sum(granted) <= 110 * (max(ends) - min(starts)) + 55


def test_a_ceiling_grows_by_a_tenth_each_time(quick, key):
    quick.take(key, Limits(), 100)
    before = time.monotonic()
    quick.slow_down(key)
    after = time.monotonic()
    time.sleep(0.25)
    least = (time.monotonic() - after) / 0.05
    ceiling = quick.ceiling(key)
    most = (time.monotonic() - before) / 0.05
    assert 50 * 1.1**least * 0.999 <= ceiling <= 50 * 1.1**most * 1.001


def test_a_ceiling_ends_at_the_configured_rate(quick, key):
    quick.take(key, Limits(per_second=100), 50)
    assert quick.slow_down(key) == 25
    time.sleep(0.05 * 16)
    assert quick.ceiling(key) is None
    assert quick.take(key, Limits(per_second=100), 100).granted == 50


def test_a_ceiling_ends_at_ten_times_the_rate_of_before(quick, key):
    quick.take(key, Limits(), 100)
    assert quick.slow_down(key) == 50
    time.sleep(0.05 * 20)
    assert 50 * 1.1**20 * 0.99 < quick.ceiling(key) < 1000
    time.sleep(0.05 * 13)
    assert quick.ceiling(key) is None
    assert quick.take(key, Limits(), 5000).granted == 5000


def test_a_server_that_has_lost_its_scripts_gets_them_again(rates, redis, key):
    rates.take(key, Limits(per_hour=10), 4)
    redis.script_flush()
    assert rates.take(key, Limits(per_hour=10), 10).granted == 6


def test_a_flushed_database_forgets_and_breaks_nothing(rates, redis, key):
    rates.take(key, Limits(per_second=10, per_hour=10), 4)
    rates.seats(key, "a", 5, 5)
    redis.flushdb()
    rates.give_back(key, 4)
    assert [rates.used(key), rates.ceiling(key), redis.exists(f"mailer:rates:{key}")] == [(0, 0), None, 0]
    assert rates.take(key, Limits(per_second=10, per_hour=10), 5).granted == 5
    assert rates.seats(key, "b", 5, 5) == 5


def test_a_connection_that_broke_in_between_is_not_noticed(services, proxy, key):
    rates = Rates(_through(proxy, services.redis_url))
    rates.take(key, Limits(per_hour=10), 4)
    proxy.reset()
    assert rates.take(key, Limits(per_hour=10), 10).granted == 6
    rates.close()


@pytest.mark.parametrize("was_connected", [True, False])
def test_a_mute_server_is_waited_for_two_seconds_then_not_at_all(services, proxy, key, was_connected):
    rates = Rates(_through(proxy, services.redis_url))
    if was_connected:
        rates.take(key, Limits(), 1)
    proxy.swallow()
    assert _seconds_to_fail(rates, key) < 2.5
    assert max(_seconds_to_fail(rates, key) for _ in range(10)) < 0.05
    rates.close()


def test_a_server_that_refuses_fails_at_once_and_is_asked_again_after_five_seconds(services, proxy, key):
    rates = Rates(_through(proxy, services.redis_url))
    proxy.cut()
    assert _seconds_to_fail(rates, key) < 0.5
    proxy.restore()
    assert _seconds_to_fail(rates, key) < 0.05
    time.sleep(5.05)
    assert rates.take(key, Limits(), 1).granted == 1
    rates.close()


@pytest.mark.parametrize(
    ("days", "limits", "allowed"),
    [
        (0, {}, 500),
        (1, {}, 750),
        (3, {}, 1688),
        (-5, {}, 500),
        (18, {}, 738_946),
        (19, {}, None),
        (100_000, {}, None),
        (3, {"per_day": 2000}, 1688),
        (4, {"per_day": 2000}, None),
        (0, {"per_day": 100}, None),
        (2, {"warm_up_first_day": 50, "warm_up_growth": 2}, 200),
        (0, {"warm_up_from": None}, None),
    ],
)
def test_a_new_server_is_given_more_each_day_until_its_limit(days, limits, allowed):
    values = {"name": "new", "url": "smtp://mail.example", "warm_up_from": FIRST_DAY} | limits
    assert warm_up(Transport(**values), FIRST_DAY + timedelta(days=days)) == allowed


def _take(redis_url: str, key: str, limits: Limits, seconds: float) -> tuple[float, float, int]:
    """Take for so long, in a process of its own; return when it began and ended, and how many."""
    rates = Rates(redis_url)
    start, granted = time.time(), 0
    while time.time() < start + seconds:
        grant = rates.take(key, limits, 25)
        granted += grant.granted
        time.sleep(0.001 if grant.granted else min(grant.wait_seconds, 0.05))
    rates.close()
    return start, time.time(), granted


def _ask_in_turn(rates: Rates, key: str, wanted: dict[str, int], most: int) -> None:
    for _ in range(3):
        for holder, count in wanted.items():
            rates.seats(key, holder, count, most)


def _seconds_to_fail(rates: Rates, key: str) -> float:
    start = time.monotonic()
    with pytest.raises(RatesUnavailable, match="REDIS_URL"):
        rates.take(key, Limits(), 1)
    return time.monotonic() - start


def _to_server(redis_url: str) -> Connect:
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return to_unix_socket(parts.path)
    return lambda: socket.create_connection((parts.hostname or "localhost", parts.port or 6379))


def _through(proxy: Proxy, redis_url: str) -> str:
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return f"redis://127.0.0.1:{proxy.port}?{parts.query}"
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}".lstrip("@")).geturl()
