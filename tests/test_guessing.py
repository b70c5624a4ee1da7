"""How often somebody may be wrong, with a real Valkey and without one."""

from datetime import timedelta

import pytest

from mailer import settings
from mailer.audience import abuse
from mailer.newsroom import guessing
from mailer.newsroom.guessing import Guess, Guesser
from tests.conftest import SmtpInbox
from tests.factories import NOW


def somebody(account: str = "camille@courrier.example", network: str = "192.0.2.0/24", **values: str) -> Guesser:
    return Guesser(guess=Guess.PASSWORD, account=account, network=network, **values)


def fail(who: Guesser, times: int, *, now=NOW) -> None:
    for _ in range(times):
        guessing.note(who, now=now)


def test_the_more_somebody_is_wrong_the_longer_the_wait(installation: SmtpInbox) -> None:
    waits, now = [], NOW
    for _ in range(40):
        wait = guessing.wait(somebody(), now=now)
        waits.append(wait)
        now += wait * 1.2 if wait else timedelta(seconds=1)
        if not wait:
            guessing.note(somebody(), now=now)
    assert waits[:6] == [None] * 5 + [timedelta(minutes=1)]
    first = [waits.index(timedelta(minutes=one)) for one in (1, 10, 60)]
    assert first == sorted(first)


def test_an_account_is_guarded_against_many_networks(installation: SmtpInbox) -> None:
    for number in range(60):
        fail(somebody(network=f"10.0.{number}.0/24"), 1)
    assert guessing.wait(somebody(network="203.0.113.0/24"), now=NOW) == timedelta(hours=1)


def test_strangers_do_not_keep_a_known_browser_out(installation: SmtpInbox) -> None:
    for number in range(60):
        fail(somebody(network=f"10.0.{number}.0/24"), 1)
    assert guessing.wait(somebody(browser="camille@courrier.example"), now=NOW) is None
    assert guessing.wait(somebody(browser="paul@courrier.example"), now=NOW) is not None


def test_a_network_is_stopped_whatever_accounts_it_tries(installation: SmtpInbox) -> None:
    for number in range(60):
        fail(somebody(f"a{number}@courrier.example"), 1)
    assert guessing.wait(somebody("next@courrier.example"), now=NOW) == timedelta(minutes=10)
    assert guessing.wait(somebody("next@courrier.example", "203.0.113.0/24"), now=NOW) is None


def test_it_stays_limited_while_redis_is_away(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    settings.load.cache_clear()
    abuse.counter.cache_clear()
    fail(somebody(), 3)
    assert guessing.wait(somebody(), now=NOW) is not None
    assert guessing.wait(somebody("other@courrier.example"), now=NOW) is None


def test_an_account_gets_few_mails(installation: SmtpInbox) -> None:
    assert [guessing.may_mail(somebody(), now=NOW) for _ in range(4)] == [True, True, True, False]
