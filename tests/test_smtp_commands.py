"""What a MAIL and a RCPT command hold, whatever the addresses are, and what is refused before it is said."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.transports.outgoing import (
    AddressUnsendable,
    Capabilities,
    Outgoing,
    mail_command,
    rcpt_command,
    undeliverable,
)
from mailer.delivery.transports.replies import MAX_REPLY_BYTES, MAX_REPLY_LINES, Reply, ReplyInvalid

NOTHING = Capabilities()
EVERYTHING = Capabilities(pipelining=True, smtputf8=True, eight_bit=True, dsn=True, size=10_000_000)
READER = "r1@example.org"
# Mostly what makes an address, then what means something in a command or in IDNA, then any character.
NASTY = st.one_of(
    st.sampled_from("abcé."),
    st.sampled_from('\r\n\0\t <>@,:;"\\()[]+=%!|-\x7f\x85\u2028\u00a0\uff20\u3002\ud800語'),
    st.characters(),
)


def outgoing(recipient: str = READER, sender: str = "lettre@courrier.example", *, size: int = 0) -> Outgoing:
    return Outgoing(key=4711, sender=sender, recipient=recipient, content=lambda: b"x\r\n", size=size)


def test_commands_are_bare_when_the_server_offers_nothing() -> None:
    message = outgoing(size=2000)
    assert mail_command(message, NOTHING) == b"MAIL FROM:<lettre@courrier.example>\r\n"
    assert rcpt_command(message, NOTHING) == b"RCPT TO:<r1@example.org>\r\n"


def test_the_size_is_told_to_a_server_that_asks_for_it() -> None:
    assert b" SIZE=2000" in mail_command(outgoing(size=2000), Capabilities(size=5000))
    assert b" SIZE=2000" in mail_command(outgoing(size=2000), Capabilities(size=0)), "0 is: no limit"
    assert b"SIZE" not in mail_command(outgoing(), Capabilities(size=5000)), "nobody knows it"


def test_reports_of_failure_are_asked_for_with_the_headers_only_and_our_key() -> None:
    assert mail_command(outgoing(), Capabilities(dsn=True)).endswith(b"> RET=HDRS ENVID=4711\r\n")
    assert rcpt_command(outgoing("a+b=c@example.org"), Capabilities(dsn=True)) == (
        b"RCPT TO:<a+b=c@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb+3Dc@example.org\r\n"
    )


def test_the_original_recipient_of_a_non_ascii_address_is_of_type_utf_8() -> None:
    command = rcpt_command(outgoing("léa+x@example.org"), EVERYTHING).decode()
    assert command.endswith(r" ORCPT=utf-8;léa\x{2B}x@example.org" + "\r\n")


def test_an_original_recipient_that_would_be_too_long_is_left_out() -> None:
    command = rcpt_command(outgoing("+" * 200 + "@example.org"), EVERYTHING)
    assert b"NOTIFY=" in command
    assert b"ORCPT" not in command


def test_the_body_is_never_announced_as_8_bit() -> None:
    assert b"BODY" not in mail_command(outgoing("léa@example.org", size=9), EVERYTHING)


def test_smtputf8_is_said_only_when_a_local_part_needs_it() -> None:
    assert b"SMTPUTF8" not in mail_command(outgoing(), EVERYTHING)
    assert b"SMTPUTF8" not in mail_command(outgoing("lea@bücher.example"), EVERYTHING)
    assert b" SMTPUTF8" in mail_command(outgoing("léa@example.org"), EVERYTHING)
    assert b" SMTPUTF8" in mail_command(outgoing(sender="rédaction@example.org"), EVERYTHING)


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        ("lea@bücher.example", b"<lea@xn--bcher-kva.example>"),
        ("lea@BÜCHER.example", b"<lea@xn--bcher-kva.example>"),
        ("lea@faß.example", b"<lea@xn--fa-hia.example>"),
        ("lea@例え。テスト", b"<lea@xn--r8jz45g.xn--zckzah>"),
        ("léa@bücher.example", "<léa@xn--bcher-kva.example>".encode()),
        ("lea@[192.0.2.1]", b"<lea@[192.0.2.1]>"),
    ],
)
def test_a_domain_goes_over_the_wire_in_a_labels(address: str, wire: bytes) -> None:
    assert wire in rcpt_command(outgoing(address), NOTHING)


def test_an_empty_sender_is_the_null_path() -> None:
    message = outgoing(sender="")
    assert undeliverable(message, NOTHING) is None
    assert mail_command(message, NOTHING) == b"MAIL FROM:<>\r\n"


@pytest.mark.parametrize(
    "address",
    [
        "r1@example.org>\r\nRCPT TO:<r2@example.org",
        "r1@example.org> NOTIFY=NEVER",
        "r1@example.org,r2@example.org",
        "@relay.example:r1@example.org",
        "r1@example.org\n",
        "r1",
        "",
        "@example.org",
        "r1@",
        "r 1@example.org",
        "r1@ex\u00a0ample.org",
        "r1@-é-.example",
        "r1@é\uff20example.org",
        "r1\ud800@example.org",
    ],
)
def test_an_address_that_no_command_can_carry_is_refused_and_never_said(address: str) -> None:
    message = outgoing(address)
    assert undeliverable(message, EVERYTHING)
    with pytest.raises(AddressUnsendable) as raised:
        rcpt_command(message, EVERYTHING)
    assert "example" not in str(raised.value), "no address in a message that is logged"


def test_a_sender_that_no_command_can_carry_is_refused_too() -> None:
    assert undeliverable(outgoing(sender="a b@example.org"), EVERYTHING)


def test_a_non_ascii_local_part_needs_a_server_with_smtputf8() -> None:
    message = outgoing("léa@example.org")
    assert "SMTPUTF8" in str(undeliverable(message, NOTHING))
    assert undeliverable(message, EVERYTHING) is None
    assert undeliverable(outgoing("lea@bücher.example"), NOTHING) is None


def test_a_message_bigger_than_the_server_takes_is_not_sent() -> None:
    message = outgoing(size=5001)
    assert undeliverable(message, Capabilities(size=5000)) == (
        "the message has up to 5001 octets and the server takes 5000"
    )
    assert undeliverable(message, Capabilities(size=5001)) is None
    assert undeliverable(message, Capabilities(size=0)) is None


@given(local=st.text(NASTY), domain=st.text(NASTY), dsn=st.booleans())
def test_a_command_is_one_line_with_one_address_whatever_the_address_is(local: str, domain: str, dsn: bool) -> None:
    message = outgoing(f"{local}@{domain}", f"{local}@{domain}")
    capabilities = Capabilities(dsn=dsn, smtputf8=True, size=1)
    try:
        mail, rcpt = mail_command(message, capabilities), rcpt_command(message, capabilities)
    except AddressUnsendable:
        assert undeliverable(message, capabilities)
        return
    assert undeliverable(message, capabilities) is None
    address = rb"[^\x00-\x20<>,:;\"\\\x7f@]+@(?:[A-Za-z0-9.-]+|\[[A-Za-z0-9:.]+\])"
    assert re.fullmatch(rb"MAIL FROM:<" + address + rb">[ A-Z0-9=]*\r\n", mail)
    assert re.fullmatch(rb"RCPT TO:<" + address + rb">(?: [^\x00-\x20<>\x7f]+)*\r\n", rcpt)
    assert rcpt.decode(), "UTF-8"


@given(local=st.text(st.sampled_from("az09!#$%&'*+/=?^_`{|}~-."), min_size=1, max_size=64))
def test_an_original_recipient_reads_back_as_the_address(local: str) -> None:
    address = f"{local}@example.org"
    command = rcpt_command(outgoing(address), Capabilities(dsn=True)).decode("ascii")
    xtext = command.removesuffix("\r\n").rpartition("ORCPT=rfc822;")[2]
    assert re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", xtext)
    assert re.sub(r"\+([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), xtext) == address


def test_a_reply_of_several_lines_is_one_text() -> None:
    reply = Reply.from_lines([b"550-5.1.1 The mailbox does", b"550-5.1.1 not exist.", b"550 5.1.1 Really"])
    assert str(reply) == "550 5.1.1 The mailbox does not exist. Really"
    assert reply.lines == ("5.1.1 The mailbox does", "5.1.1 not exist.", "5.1.1 Really")


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [("5.7.1 no", "5.7.1"), ("5.7.515", "5.7.515"), ("no 5.7.1", ""), ("5.7.1x", ""), ("192.0.2.1 no", ""), ("", "")],
)
def test_an_enhanced_code_is_one_only_at_the_beginning(text: str, enhanced: str) -> None:
    assert Reply(code=550, text=text).enhanced == enhanced


def test_a_reply_is_shown_printable_and_short() -> None:
    reply = Reply.from_lines([b"550 a\0b\x1b[31m\xff\t" + b"c" * 500])
    assert str(reply).isprintable()
    assert len(str(reply)) == 200
    assert str(Reply.from_lines([b"250"])) == "250"


@pytest.mark.parametrize(
    "lines",
    [
        [b""],
        [b"25"],
        [b"HTTP/1.1 400 Bad Request"],
        [b"199 no"],
        [b"600 no"],
        [b"2x0 no"],
        ["٢٥٠ no".encode()],
        [b"2500 no"],
        [b"250-fine", b"550 not fine"],
        [b"250-fine", b"hello"],
        [b"250 " + b"x" * MAX_REPLY_BYTES],
        [b"250-" + b"x" * (MAX_REPLY_BYTES // 2), b"250 " + b"x" * (MAX_REPLY_BYTES // 2)],
        [*[b"250-"] * MAX_REPLY_LINES, b"250 "],
    ],
)
def test_what_is_not_a_reply_is_never_taken_for_one(lines: list[bytes]) -> None:
    with pytest.raises(ReplyInvalid):
        Reply.from_lines(lines)
