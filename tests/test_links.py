"""Tokens open one door each, and only genuine ones."""

import random
import re
from datetime import UTC, datetime, timedelta

import pytest

from mailer import links
from mailer.links import Purpose

NOW = datetime(2026, 11, 20, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_token_says_what_was_signed(purpose: Purpose) -> None:
    token = links.sign(purpose, 12345, 678)
    assert links.read(purpose, token) == links.Token(id=12345, extra=678)
    assert len(token) == links.TOKEN_LENGTH


def test_a_token_of_another_purpose_opens_nothing() -> None:
    token = links.sign(Purpose.ONE_CLICK, 1)
    for purpose in set(Purpose) - {Purpose.ONE_CLICK}:
        with pytest.raises(links.TokenInvalid):
            links.read(purpose, token)


def test_no_changed_bit_goes_unnoticed() -> None:
    token = links.sign(Purpose.UNSUBSCRIBE, 7, 9)
    for index, character in enumerate(token):
        for other in "AZaz09-_":
            if other != character:
                with pytest.raises(links.TokenInvalid):
                    links.read(Purpose.UNSUBSCRIBE, token[:index] + other + token[index + 1 :])


@pytest.mark.parametrize(
    "token", ["", "x", "é" * 40, "A" * 40, "=" * 40, "A" * 39 + "\n", "A" * 4000, "a b" * 13 + "a"]
)
def test_nonsense_is_refused(token: str) -> None:
    with pytest.raises(links.TokenInvalid):
        links.read(Purpose.CONFIRM, token)


def test_guesses_open_nothing() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    chance = random.Random(1)
    for _ in range(20_000):
        with pytest.raises(links.TokenInvalid):
            links.read(Purpose.CONFIRM, "".join(chance.choices(alphabet, k=40)))


def test_a_token_expires_but_still_says_whose_it_was() -> None:
    token = links.sign_now(Purpose.CONFIRM, 5, NOW)
    lifetime = links.CONFIRM_LIFETIME
    assert links.read_fresh(Purpose.CONFIRM, token, lifetime=lifetime, now=NOW + lifetime).id == 5
    with pytest.raises(links.TokenExpired) as expired:
        links.read_fresh(Purpose.CONFIRM, token, lifetime=lifetime, now=NOW + lifetime + timedelta(seconds=1))
    assert expired.value.token.id == 5


def test_a_message_id_is_the_same_on_every_attempt_and_different_for_each_delivery() -> None:
    assert links.message_id(1, "courrier.example") == links.message_id(1, "courrier.example")
    assert len({links.message_id(n, "courrier.example") for n in range(1000)}) == 1000


def test_a_token_survives_the_small_letters_of_a_mailbox() -> None:
    token = links.sign(Purpose.ONE_CLICK, 2**63 - 1, 2**32 - 1)
    written = links.in_mailbox(token)
    assert re.fullmatch(r"[a-z2-7]{48}", written)
    assert links.from_mailbox(written) == links.from_mailbox(written.upper()) == token


@pytest.mark.parametrize("text", ["", "x", "é" * 48, "1" * 48, "a" * 47])
def test_a_cut_mailbox_is_no_token(text: str) -> None:
    with pytest.raises(links.TokenInvalid):
        links.read(Purpose.ONE_CLICK, links.from_mailbox(text))
