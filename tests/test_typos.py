"""Addresses that were probably mistyped, and those that only look so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer import addresses
from mailer.audience import typos


@pytest.mark.parametrize(
    ("domain", "meant"),
    [
        ("gmial.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmai.com", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("gnail.cm", "gmail.com"),
        ("hotmial.fr", "hotmail.fr"),
        ("outlok.com", "outlook.com"),
        ("lapsote.net", "laposte.net"),
        ("orage.fr", "orange.fr"),
        ("wanado.fr", "wanadoo.fr"),
        ("yandx.ru", "yandex.ru"),
        ("protonmial.com", "protonmail.com"),
        ("courrier.con", "courrier.com"),
        # One letter is Cyrillic; the domain comes as it is stored.
        ("xn--gmil-63d.com", "gmail.com"),
        ("gma1l.com", "gmail.com"),
    ],
)
def test_a_slip_is_noticed(domain: str, meant: str) -> None:
    assert typos.suggestion(f"Lea.M@{domain}") == f"Lea.M@{meant}"


@pytest.mark.parametrize(
    "domain",
    [
        *("gmail.com", "mail.com", "email.com", "gmx.de", "gmx.fr", "ymail.com", "me.com", "hotmail.ch", "yahoo.it"),
        *("example.org", "sfe.fr", "paris.fr", "xn--e1afmkfd.xn--p1ai", "xn--.com", "courrier.example", "a.b"),
    ],
)
def test_what_may_well_be_right_is_left_alone(domain: str) -> None:
    assert typos.suggestion(f"lea@{domain}") is None


@given(st.text(max_size=300))
def test_whatever_is_typed_a_suggestion_is_an_address_of_a_known_kind(domain: str) -> None:
    found = typos.suggestion(f"lea@{domain}")
    assert found is None or addresses.normalise(found) == found


@pytest.mark.parametrize("domain", sorted(typos.PROVIDERS))
def test_no_provider_is_taken_for_a_slip_of_another(domain: str) -> None:
    assert typos.suggestion(f"lea@{domain}") is None
