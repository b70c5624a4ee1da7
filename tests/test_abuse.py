"""How many sign-ups are taken: limits that slide, in Redis and without it, and proof of work."""

import base64
import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from mailer import settings
from mailer.audience import abuse, proof
from mailer.audience.abuse import Verdict
from mailer.embedded.services import Servers
from tests.conftest import forget
from tests.factories import NOW

NETWORK = "192.0.2.0/24"


@pytest.fixture(params=["redis", "no redis"])
def limits(
    request: pytest.FixtureRequest, environment: None, services: Servers, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Small limits in Redis, or four times larger ones without it, which is the same. Returns the share that holds."""
    with Redis.from_url(services.redis_url) as redis:
        redis.flushdb()
    times = 1 if request.param == "redis" else abuse.LOCAL_DIVISOR
    if times > 1:
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    for name, most in {"NETWORK": 6, "ADDRESS": 2, "DOMAIN": 4, "HOUR": 8}.items():
        key = "MAILER_SIGNUPS_PER_HOUR" if name == "HOUR" else f"MAILER_SIGNUPS_PER_{name}"
        monkeypatch.setenv(key, str(most * times))
    forget()
    return times


def weigh(address: str = "lea@example.org", network: str | None = None, **values: Any) -> Verdict:
    return abuse.weigh(address, network, **{"now": NOW, **values})


def test_a_mailbox_is_looked_at_a_few_times_a_day_from_wherever_it_is_typed(limits: int) -> None:
    verdicts = [weigh(network=f"198.51.{number}.0/24") for number in range(4)]
    assert verdicts == [Verdict.TAKEN, Verdict.TAKEN, Verdict.ADDRESS, Verdict.ADDRESS]
    assert weigh(network="203.0.113.0/24", now=NOW + timedelta(hours=27)) == Verdict.TAKEN


@pytest.mark.parametrize(
    ("address", "other"),
    [("lea@example.org", "LEA+news@Example.org"), ("lea.martin@gmail.com", "l.e.a.martin+2@googlemail.com")],
)
def test_spellings_of_one_mailbox_count_together(limits: int, address: str, other: str) -> None:
    assert [weigh(address), weigh(other), weigh(address), weigh(other)] == [
        Verdict.TAKEN,
        Verdict.TAKEN,
        Verdict.ADDRESS,
        Verdict.ADDRESS,
    ]


def test_a_network_has_to_wait_ten_minutes(limits: int) -> None:
    def one(number: int, **values: Any) -> Verdict:
        return weigh(f"r{number}@d{number}.example", NETWORK, **values)

    assert [one(number) for number in range(6)] == [Verdict.TAKEN] * 6
    assert one(6) == Verdict.NETWORK
    assert one(7, now=NOW + timedelta(minutes=9)) == Verdict.NETWORK
    assert one(8, now=NOW + timedelta(minutes=11, seconds=1)) == Verdict.TAKEN


def test_a_form_that_was_not_shown_by_us_counts_three_times(limits: int) -> None:
    verdicts = [weigh(f"r{number}@d{number}.example", NETWORK, is_stamped=False) for number in range(3)]
    assert verdicts == [Verdict.TAKEN, Verdict.TAKEN, Verdict.NETWORK]


def test_a_domain_is_spared_a_flood_and_a_large_provider_may_have_more(limits: int) -> None:
    assert [weigh(f"r{number}@school.example") for number in range(5)] == [Verdict.TAKEN] * 4 + [Verdict.DOMAIN]
    found = [weigh(f"r{number}@gmail.com", f"198.51.{number}.0/24") for number in range(4)]
    assert found == [Verdict.TAKEN] * 4


def test_in_all_so_many_an_hour(limits: int) -> None:
    verdicts = [weigh(f"r{n}@d{n}.example", f"198.51.{n}.0/24") for n in range(9)]
    assert verdicts == [Verdict.TAKEN] * 8 + [Verdict.ALL]


def test_what_is_not_taken_uses_up_nothing(limits: int) -> None:
    for _ in range(10):
        weigh("a@d1.example")
    assert weigh("b@d1.example") == Verdict.TAKEN
    assert weigh("a@d1.example", act="link") == Verdict.TAKEN


def test_without_redis_a_process_lets_a_quarter_pass_and_says_so_once(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "40")
    forget()
    taken = [weigh(f"r{n}@d{n}.example", NETWORK) for n in range(40)].count(Verdict.TAKEN)
    assert taken == 10
    # Loggers of modules are kept, so another test may have turned this one elsewhere.
    warned = list(abuse.counter()._warned_at)
    assert len(warned) == 2
    assert warned[0].startswith("sign-ups are counted by each process alone")
    assert warned[1].startswith("signup limited")
    assert not re.search("@|example|192", f"{warned} {list(abuse.counter()._local)}")


def test_without_redis_a_flood_of_new_mailboxes_finds_the_door_shut_and_fills_no_memory(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    for name in ("NETWORK", "DOMAIN", "HOUR"):
        monkeypatch.setenv(f"MAILER_SIGNUPS_PER_{name}", "10000000")
    forget()
    verdicts = [weigh(f"r{n}@d{n}.example", f"n{n}") for n in range(abuse.MOST_LOCAL_KEYS // 3 + 100)]
    assert verdicts[0] == Verdict.TAKEN
    assert verdicts[-1] != Verdict.TAKEN
    assert len(abuse.counter()._local) <= abuse.MOST_LOCAL_KEYS
    assert weigh("late@late.example", now=NOW + timedelta(days=2)) == Verdict.TAKEN


def test_redis_is_told_no_address(environment: None, services: Servers) -> None:
    with Redis.from_url(services.redis_url) as redis:
        redis.flushdb()
        weigh("lea@example.org", NETWORK)
        keys = redis.keys("mailer:abuse:*")
        assert len(keys) == 4
        assert not any(b"lea" in key or b"example" in key or b"192" in key for key in keys)
        assert all(0 < redis.ttl(key) <= 1.1 * 86_400 + 1 for key in keys)


# --- proof of work


def solved(challenge: dict[str, Any], /, **changed: Any) -> str:
    """What the browser sends back."""
    salt, wanted = challenge["salt"], challenge["challenge"]
    number = next(n for n in range(proof.MOST + 1) if hashlib.sha256(f"{salt}{n}".encode()).hexdigest() == wanted)
    kept = {name: challenge[name] for name in ("algorithm", "challenge", "salt", "signature")}
    return base64.b64encode(json.dumps({**kept, "number": number, **changed}).encode()).decode()


def test_a_solution_is_good_once_and_for_an_hour(environment: None) -> None:
    payload = solved(proof.challenge(now=NOW))
    late = solved(proof.challenge(now=NOW))
    assert proof.is_valid(payload, now=NOW)
    assert not proof.is_valid(payload, now=NOW)
    assert not proof.is_valid(late, now=NOW + proof.LIFETIME + timedelta(seconds=1))
    assert proof.is_valid(late, now=NOW + proof.LIFETIME)


def test_what_we_did_not_ask_for_is_no_solution(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = proof.challenge(now=NOW)
    number = json.loads(base64.b64decode(solved(asked)))["number"]
    later = str(asked["salt"]).replace("?expires=", "?expires=9")
    for changed in ({"number": number + 1}, {"salt": later}, {"signature": "0" * 64}, {"challenge": "0" * 64}):
        assert not proof.is_valid(solved(asked, **changed), now=NOW)
    monkeypatch.setenv("MAILER_SECRET_KEY", "another secret that is long enough too")
    settings.load.cache_clear()
    assert not proof.is_valid(solved(asked), now=NOW)


@pytest.mark.parametrize(
    "said", [None, 7, [], {}, {"challenge": 1}, {"number": True}, {"signature": "\ud800"}, "[" * 400]
)
def test_rubbish_is_no_solution_and_no_error(environment: None, said: Any) -> None:
    made = {**proof.challenge(now=NOW), "number": 1, **said} if isinstance(said, dict) and said else said
    text = made if isinstance(made, str) else json.dumps(made)
    assert not proof.is_valid(base64.b64encode(text.encode()).decode(), now=NOW)
    assert not proof.is_valid("é" * 2000, now=NOW)
    assert not proof.is_valid("", now=NOW)
