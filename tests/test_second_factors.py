"""The second step of signing in: which codes are taken, and how often."""

from datetime import timedelta

import pyotp
import pytest
from sqlalchemy.orm import Session

from mailer.models.accounts import Account
from mailer.newsroom import accounts, second_factors, team
from tests.factories import NOW

STEP = timedelta(seconds=30)


@pytest.fixture
def camille(session: Session, environment: None) -> Account:
    return accounts.create(
        session, "camille@courrier.example", name="Camille", password="a long enough passphrase", language="fr", now=NOW
    )


def code_of(session: Session, account: Account, *, at=NOW) -> str:
    return pyotp.TOTP(second_factors.begin(session, account)).at(at)


def switched_on(session: Session, account: Account) -> list[str]:
    return second_factors.confirm(session, account, code_of(session, account), now=NOW)


def test_it_counts_once_a_code_has_confirmed_it(session: Session, camille: Account) -> None:
    secret = second_factors.begin(session, camille)
    assert second_factors.begin(session, camille) == secret
    assert secret.encode() not in (camille.totp_secret or b"")
    with pytest.raises(second_factors.CodeWrong):
        second_factors.confirm(session, camille, "000000", now=NOW - timedelta(days=365))
    assert camille.totp_confirmed_at is None
    assert len(set(switched_on(session, camille))) == second_factors.RECOVERY_CODES
    assert camille.totp_confirmed_at == NOW


def test_a_code_is_taken_once(session: Session, camille: Account) -> None:
    switched_on(session, camille)
    later = NOW + 2 * STEP
    code = code_of(session, camille, at=later)
    second_factors.take(session, camille, code, now=later)
    with pytest.raises(second_factors.CodeWrong):
        second_factors.take(session, camille, code, now=later)


def test_a_code_older_than_one_that_was_taken_is_not_taken(session: Session, camille: Account) -> None:
    switched_on(session, camille)
    later = NOW + 10 * STEP
    second_factors.take(session, camille, code_of(session, camille, at=later), now=later)
    with pytest.raises(second_factors.CodeWrong):
        second_factors.take(session, camille, code_of(session, camille, at=later - STEP), now=later)


@pytest.mark.parametrize(("off", "is_taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_half_a_minute_off(session: Session, camille: Account, off: int, is_taken: bool) -> None:
    switched_on(session, camille)
    later = NOW + 100 * STEP
    code = code_of(session, camille, at=later + off * STEP)
    if is_taken:
        second_factors.take(session, camille, code, now=later)
    else:
        with pytest.raises(second_factors.CodeWrong):
            second_factors.take(session, camille, code, now=later)


def test_a_recovery_code_opens_once_however_it_is_typed(session: Session, camille: Account) -> None:
    code, *_ = switched_on(session, camille)
    second_factors.take(session, camille, f" {code.upper()} ", now=NOW)
    assert second_factors.count_codes(session, camille.id) == second_factors.RECOVERY_CODES - 1
    with pytest.raises(second_factors.CodeWrong):
        second_factors.take(session, camille, code, now=NOW)


def test_the_codes_of_another_open_nothing(session: Session, camille: Account) -> None:
    paul = accounts.create(
        session, "p@x.example", name="P", password="a long enough passphrase", language="fr", now=NOW
    )
    switched_on(session, camille)
    with pytest.raises(second_factors.CodeWrong):
        second_factors.take(session, camille, switched_on(session, paul)[0], now=NOW)


@pytest.mark.parametrize("typed", ["", "x", "１２３４５６", "é" * 40, "-1", "000000000000"])
def test_nonsense_is_a_wrong_code(session: Session, camille: Account, typed: str) -> None:
    switched_on(session, camille)
    with pytest.raises(second_factors.CodeWrong):
        second_factors.take(session, camille, typed, now=NOW + STEP)


def test_a_factor_that_is_required_is_missing_until_it_is_set_up(session: Session, camille: Account) -> None:
    assert not second_factors.is_missing(session, camille)
    team.require_second_factor(session, is_required=True)
    assert second_factors.is_missing(session, camille)
    switched_on(session, camille)
    assert not second_factors.is_missing(session, camille)
