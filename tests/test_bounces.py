"""Mails that came back, as servers of many kinds write them: for whom, of which class, and why."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.bounces import parts
from mailer.delivery.bounces.explain import explain
from mailer.delivery.bounces.reasons import Kind, Reason
from tests.command import mailer

BOUNCED = Path(__file__).parent / "bounced"
EXPECTED = [
    ("notes", "kijitora@u1.example.co.jp", "hard", "user_unknown"),
    ("kddi", "kijitora@x.dion.ne.jp", "soft", "mailbox_full"),
    ("x1-02", "kijitora@example.org", "hard", "user_unknown"),
    ("msgserver", "sabineko@example.org", "hard", "user_unknown"),
    ("mailmarshal", "dummyuser@blabla.x.com", "hard", "user_unknown"),
    ("verizon", "000000000000@vtext.com", "hard", "user_unknown"),
    ("zoho", "shironeko@example.org", "hard", "user_unknown"),
    ("v5", "kijitora@neko.example.org", "hard", "host_unknown"),
    ("ses", "bounce@simulator.amazonses.com", "hard", "user_unknown"),
    ("ses2", "no@docomo.ne.jp", "hard", "user_unknown"),
    ("amazonworkmail", "lea@example.com", "hard", "user_unknown"),
    ("domino", "lea@notes.example", "hard", "user_unknown"),
    ("dragonfly", "lea@google.example.com", "ours", "authentication"),
    ("exchange-fr", "lea@mairie.example", "soft", "mailbox_full"),
    ("exim-unrouteable", "lea@example.org", "hard", "user_unknown"),
    ("expired", "lea@gone.example", "soft", "network"),
    ("gmail", "lea@example.com", "hard", "user_unknown"),
    ("gmail-delay", "lea@example.com", "not a bounce", "delayed"),
    ("hotmail-arf", "lea@hotmail.example", "not a bounce", "complaint"),
    ("mailru", "lea@mail.example", "hard", "disabled"),
    ("nxdomain", "lea@gone.example", "hard", "user_unknown"),
    ("opensmtpd", "lea@nowhere.example", "hard", "host_unknown"),
    ("orange-limit", "lea@orange.example", "ours", "blocked"),
    ("outlook-block", "lea@hotmail.example", "ours", "blocked"),
    ("qmail-full", "lea@example.com", "soft", "mailbox_full"),
    ("reply", None, "not a bounce", "other"),
    ("smtputf8", "лена@почта.example", "hard", "user_unknown"),
    ("spam", "lea@gmx.example", "ours", "policy"),
    ("v5sendmail", "lea@example.com", "hard", "user_unknown"),
    ("vacation-fr", "lea@example.fr", "not a bounce", "auto_reply"),
    ("x1", "lea@example.jp", "hard", "user_unknown"),
    ("yahoo-dead", "lea@yahoo.example", "hard", "user_unknown"),
]


def raw(name: str) -> bytes:
    return (BOUNCED / f"{name}.eml").read_bytes()


@pytest.mark.parametrize(("name", "recipient", "kind", "reason"), EXPECTED)
def test_a_mail_that_came_back(name: str, recipient: str | None, kind: str, reason: str) -> None:
    found = explain(raw(name)).first
    assert (found.recipient, found.kind, found.reason) == (recipient, kind, reason)


def test_every_sample_has_an_expectation() -> None:
    assert {path.stem for path in BOUNCED.glob("*.eml")} == {row[0] for row in EXPECTED}


def test_line_ends_make_no_difference() -> None:
    for name, *_ in EXPECTED:
        assert explain(raw(name).replace(b"\n", b"\r\n")).first.kind == explain(raw(name)).first.kind


def test_a_report_on_several_tells_each() -> None:
    group = b"\nFinal-Recipient: rfc822; lea@yahoo.example\n"
    more = b"Action: failed\nStatus: 4.2.2\nDiagnostic-Code: smtp; 452 4.2.2 Mailbox full\n"
    both = raw("yahoo-dead").replace(group, b"\nFinal-Recipient: rfc822; max@yahoo.example\n" + more + group)
    told = [(one.recipient, one.kind, one.status) for one in explain(both).failures]
    assert told == [("max@yahoo.example", Kind.SOFT, "4.2.2"), ("lea@yahoo.example", Kind.HARD, "5.0.0")]


def test_the_address_that_was_written_to_counts_when_a_mail_was_forwarded() -> None:
    forwarded = raw("orange-limit").replace(b"Final-Recipient: rfc822; lea@", b"Final-Recipient: rfc822; l.m@")
    assert explain(forwarded).first.recipient == "lea@orange.example"


def test_what_was_temporary_is_never_hard() -> None:
    temporary = raw("gmail").replace(b"5.1.1", b"4.1.1")
    assert explain(temporary).first.kind == Kind.SOFT


def test_the_returned_mail_is_named() -> None:
    assert explain(raw("dragonfly")).message_id == "<66681288.e06d1.3824794@df.example.jp>"


def test_a_complaint_taken_back_is_none() -> None:
    report = (
        b"From: x@isp.example\nContent-Type: multipart/report; report-type=feedback-report; boundary=x\n\n"
        b"--x\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nOriginal-Rcpt-To: <lea@isp.example>\n\n"
        b"--x\nContent-Type: message/rfc822\n\nFrom: lettre@courrier.example\n\nx\n--x--\n"
    )
    found = explain(report).first
    assert (found.recipient, found.reason) == ("lea@isp.example", Reason.COMPLAINT)
    assert explain(report.replace(b": abuse", b": not-spam")).first.reason == Reason.OTHER


@given(st.binary(max_size=400))
def test_any_bytes_are_explained(content: bytes) -> None:
    assert explain(content).failures


@given(st.sampled_from([row[0] for row in EXPECTED]), st.integers(0, 3000), st.binary(max_size=40))
def test_a_damaged_mail_is_explained(name: str, at: int, put: bytes) -> None:
    content = raw(name)
    assert explain(content[:at] + put + content[at + len(put) :]).failures
    assert explain(content[:at]).failures


def test_a_huge_mail_costs_little() -> None:
    assert len(explain(raw("qmail-full") + b"a@b.example\n" * 1_000_000).failures) == 1
    assert parts.MOST_BYTES < 12_000_000


def test_the_command_tells_people_and_programs() -> None:
    ran = mailer("bounces", "explain", str(BOUNCED / "gmail.eml"))
    assert ran.out.startswith("lea@example.com: hard, user unknown\n")
    value = json.loads(mailer("bounces", "explain", str(BOUNCED / "outlook-block.eml"), "--json").out)
    assert (value["recipient"], value["class"], value["status"]) == ("lea@hotmail.example", "ours", "5.7.1")
    assert mailer("bounces", "explain", "no-such-file").code == 3
