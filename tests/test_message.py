"""Bytes on the wire: what RFC 5322, 2045 and 2047 ask of every copy."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.mail import message

NOW = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
NONCE = "0123456789ab"
TOKEN = "T" * 40


def a_message(
    *, subject: str = "Bonjour", text: str = "", html: str = "", address: str = "lea@example.org", name: str = "X"
) -> bytes:
    compiled = message.compile_message(
        nonce=NONCE,
        headers={"From": message.mailbox(name, "lettre@courrier.example", header="From")},
        subject=subject,
        text=text,
        html=html,
    )
    reader = message.Reader(address=address, unsubscribe=TOKEN, message_id="1.abc@courrier.example")
    return compiled.fill(reader, now=NOW)


def slot(name: str) -> str:
    return message.placeholder(NONCE, name)


def parts(raw: bytes) -> tuple[str, str]:
    parsed = message_from_bytes(raw, policy=policy.default)
    plain, rich = parsed.iter_parts()
    return plain.get_content(), rich.get_content()


def test_slots_are_filled_in_every_part() -> None:
    raw = a_message(
        text=f"Pour {slot('address')}\n\nhttps://lettre.example/u/{slot('unsubscribe')}\n",
        html=f"<p>{slot('address')}</p><a href='https://lettre.example/u/{slot('unsubscribe')}'>x</a>",
    )
    plain, rich = parts(raw)
    assert plain.splitlines() == ["Pour lea@example.org", "", f"https://lettre.example/u/{TOKEN}"]
    assert f"<p>lea@example.org</p><a href='https://lettre.example/u/{TOKEN}'>" in rich
    assert message_from_bytes(raw)["To"] == "<lea@example.org>"
    assert NONCE.encode() not in raw.replace(f"=_{NONCE}".encode(), b"")


def test_an_address_is_escaped_in_html_only() -> None:
    plain, rich = parts(a_message(text=slot("address"), html=slot("address"), address="a&b@example.org"))
    assert plain.strip() == "a&b@example.org"
    assert rich.strip() == "a&amp;b@example.org"


def test_a_line_that_starts_with_a_dot_is_encoded() -> None:
    raw = a_message(text=".\n..x\n" + "y" * 75 + ".z", html=".")
    assert not re.search(rb"\r\n\.", raw)
    assert parts(raw)[0].splitlines()[:3] == [".", "..x", "y" * 75 + ".z"]


def test_no_line_of_a_body_ends_in_white_space() -> None:
    raw = a_message(text=f"a \n{slot('address')} \nb\t", html="<p>c</p> ")
    assert not re.search(rb"[ \t]\r\n", raw.split(b"\r\n\r\n", 1)[1])
    assert [part.split() for part in parts(raw)] == [["a", "lea@example.org", "b"], ["<p>c</p>"]]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=400))
def test_any_text_comes_back_and_no_line_is_too_long(text: str) -> None:
    raw = a_message(text=text + slot("address") + text, html="<p>x</p>")
    assert max(map(len, raw.split(b"\r\n"))) <= 76
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\r\n\.", raw)
    body = message_from_bytes(raw).get_payload(0).get_payload(decode=True).decode()
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    assert body.replace("\r\n", "\n") == normal + "lea@example.org" + normal


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=300))
def test_any_subject_is_one_safe_header(subject: str) -> None:
    raw = a_message(subject=subject, name=subject)
    head = raw.split(b"\r\n\r\n", 1)[0]
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert names == [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type"]
    for word in re.findall(rb"=\?utf-8\?b\?[^?]*\?=", head):
        assert len(word) <= 75
        decode_header(word.decode())[0][0].decode("utf-8")
    for line in head.split(b"\r\n"):
        assert len(line) <= (76 if b"=?" in line else 998)


@pytest.mark.parametrize(
    "subject", ["L’eau du Syr-Daria 💧 " * 8, "Қазақ киносы: алматы", "plain", "a" * 200, "=?utf-8?q?x?="]
)
def test_a_subject_is_read_back_as_written(subject: str) -> None:
    raw = a_message(subject=subject)
    assert str(make_header(decode_header(message_from_bytes(raw)["Subject"]))) == subject.strip()


def test_a_name_cannot_add_a_recipient_or_a_header() -> None:
    raw = a_message(name='Eve" <eve@evil.example>\r\nBcc: all@evil.example')
    parsed = message_from_bytes(raw, policy=policy.default)
    assert parsed["Bcc"] is None
    assert [one.addr_spec for one in parsed["From"].addresses] == ["lettre@courrier.example"]


def test_an_unknown_header_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="X-Odd"):
        message.compile_message(nonce=NONCE, headers={"X-Odd": "1"}, subject="s", text="t", html="h")


def test_the_date_is_that_of_handing_over() -> None:
    assert message_from_bytes(a_message())["Date"] == "Fri, 20 Nov 2026 07:00:00 +0000"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), min_size=1, max_size=120))
def test_any_value_of_a_slot_comes_back(value: str) -> None:
    plain, rich = parts(a_message(text=f"a{slot('address')}b", html=f"<i>{slot('address')}</i>", address=value))
    assert plain.rstrip("\n") == f"a{value}b"
    assert html_text(rich) == f"<i>{value}</i>"


def html_text(rich: str) -> str:
    return unescape(rich.rstrip("\n"))
