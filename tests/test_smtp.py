"""The SMTP client against a server that plays every part."""

import time
from collections.abc import Callable

import pytest

from mailer.delivery.transports.outgoing import Outgoing
from mailer.delivery.transports.verdicts import Verdict
from tests.conftest import Servers
from tests.smtp_server import DROP, SILENCE, ScriptedServer, scripted_server
from tests.transports import Heard, dispatching, outgoing, send_all, transport, turn_until

WITHOUT_PIPELINING = ("8BITMIME",)
Send = Callable[..., Heard]


@pytest.fixture
def send(services: Servers) -> Send:
    """Send messages to a server and return what became of them."""

    def send(server: ScriptedServer, count: int = 5, *, connections: int = 1, timeout_seconds: float = 5) -> Heard:
        one = transport(server, connections=connections)
        with dispatching(one, redis_url=services.redis_url, timeout_seconds=timeout_seconds) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(count)))
        return heard

    return send


@pytest.mark.parametrize("extensions", [("PIPELINING",), WITHOUT_PIPELINING])
def test_every_message_arrives_once_with_its_content(send: Send, extensions: tuple[str, ...]) -> None:
    with scripted_server(extensions=extensions) as server:
        heard = send(server, 20, connections=3)
    assert heard.verdicts() == [Verdict.ACCEPTED] * 20
    assert sorted(server.recipients) == sorted(f"r{n}@example.org" for n in range(20))
    assert {content for _, content in server.accepted} == {
        f"Subject: {n}\r\n\r\nHello {n}\r\n".encode() for n in range(20)
    }


def test_content_and_the_next_envelope_leave_in_one_write_when_pipelining(send: Send) -> None:
    with scripted_server() as server:
        send(server, 3)
    assert any(b"\r\n.\r\nMAIL FROM" in write and write.endswith(b"DATA\r\n") for write in server.writes)


def test_commands_wait_for_their_answers_without_pipelining(send: Send) -> None:
    with scripted_server(extensions=WITHOUT_PIPELINING) as server:
        send(server, 3)
    assert not any(write.count(b"\r\n") > 1 and b"MAIL FROM" in write for write in server.writes)


@pytest.mark.parametrize("extensions", [("PIPELINING",), WITHOUT_PIPELINING])
@pytest.mark.parametrize(
    ("stage", "reply", "verdict"),
    [
        ("RCPT", "550 5.1.1 no such user", Verdict.REFUSED),
        ("RCPT", "450 4.2.0 greylisted", Verdict.DEFERRED),
        ("DATA", "451 4.3.0 not now", Verdict.DEFERRED),
        ("RCPT", "550 5.7.1 relaying denied", Verdict.BLOCKED),
        ("RCPT", "552 too many recipients", Verdict.DEFERRED),
        ("DATA", "554 5.5.1 no valid recipients", Verdict.REFUSED),
        ("CONTENT", "554 5.6.0 bad content", Verdict.REFUSED),
        ("CONTENT", "554 5.7.1 spam", Verdict.BLOCKED),
        ("CONTENT", "452 4.2.2 full", Verdict.DEFERRED),
    ],
)
def test_a_refusal_touches_only_its_own_recipient(
    send: Send, stage: str, reply: str, verdict: Verdict, extensions: tuple[str, ...]
) -> None:
    def script(at: str, who: str) -> str | None:
        return reply if at == stage and who == "r2@example.org" else None

    with scripted_server(script, extensions=extensions) as server:
        heard = send(server)
    assert heard.verdicts() == [Verdict.ACCEPTED, Verdict.ACCEPTED, verdict, Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert heard.results[2].reply == reply
    assert "r2@example.org" not in server.recipients


def test_a_server_that_takes_content_for_nobody_gets_an_empty_message_and_no_content(send: Send) -> None:
    # RFC 2920 3.1: RCPT was refused, DATA answered 354 all the same.
    def script(at: str, who: str) -> str | None:
        return "550 5.1.1 unknown" if at == "RCPT" and who == "r1@example.org" else None

    with scripted_server(script) as server:
        heard = send(server, 3)
    assert heard.verdicts() == [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.ACCEPTED]
    assert 1 not in heard.handed_keys
    assert b"Hello 1" not in b"".join(server.writes)


def test_a_refused_sender_is_our_fault_and_no_recipients(send: Send) -> None:
    with scripted_server(lambda at, _: "553 5.1.8 sender not allowed" if at == "MAIL" else None) as server:
        heard = send(server)
    assert heard.verdicts() == [Verdict.BLOCKED] * 5
    assert {(result.stage, result.reply) for result in heard.results.values()} == {
        ("MAIL", "553 5.1.8 sender not allowed")
    }


def test_a_connection_lost_before_the_dot_is_made_good_on_another(send: Send) -> None:
    dropped = []

    def script(at: str, who: str) -> str | None:
        if at == "RCPT" and who == "r2@example.org" and not dropped:
            dropped.append(who)
            return DROP
        return None

    with scripted_server(script) as server:
        heard = send(server)
    assert heard.verdicts() == [Verdict.ACCEPTED] * 5
    assert sorted(server.recipients) == [f"r{n}@example.org" for n in range(5)]


def test_a_connection_lost_after_the_dot_leaves_exactly_that_message_uncertain(send: Send) -> None:
    def script(at: str, who: str) -> str | None:
        return DROP if at == "CONTENT" and who == "r2@example.org" else None

    with scripted_server(script) as server:
        heard = send(server)
    assert heard.results[2].verdict is Verdict.UNCERTAIN
    assert [heard.results[n].verdict for n in (0, 1, 3, 4)] == [Verdict.ACCEPTED] * 4
    assert server.recipients.count("r3@example.org") == 1


def test_421_after_the_dot_defers_that_message_and_the_rest_goes_on(send: Send) -> None:
    said = []

    def script(at: str, who: str) -> str | None:
        if at == "CONTENT" and who == "r1@example.org" and not said:
            said.append(who)
            return "421 4.7.0 slow down"
        return None

    with scripted_server(script) as server:
        heard = send(server)
    assert heard.results[1].verdict is Verdict.DEFERRED
    assert len(server.accepted) == 4


def test_a_server_that_drops_every_connection_is_left_alone_and_refuses_nobody(send: Send) -> None:
    with scripted_server(lambda at, _: DROP if at == "MAIL" else None) as server:
        heard = send(server, 20)
    assert set(heard.verdicts()) <= {Verdict.DEFERRED}
    assert heard.trouble().code == "server_unreachable"
    assert len(heard.held_keys) >= 15
    assert server.connections < 12


def test_a_message_that_breaks_every_connection_is_put_off_alone(send: Send) -> None:
    with scripted_server(lambda at, who: DROP if at == "RCPT" and who.startswith("r2@") else None) as server:
        heard = send(server)
    assert heard.results[2].verdict is Verdict.DEFERRED
    assert "broke off 3 times" in heard.results[2].reply
    assert [heard.results[n].verdict for n in (0, 1, 3, 4)] == [Verdict.ACCEPTED] * 4


def test_a_silent_server_is_given_up_after_the_time_limit(send: Send) -> None:
    with scripted_server(lambda at, _: SILENCE if at in ("MAIL", "RCPT", "DATA") else None) as server:
        began = time.monotonic()
        heard = send(server, timeout_seconds=0.3)
    assert Verdict.ACCEPTED not in heard.verdicts()
    assert Verdict.UNCERTAIN not in heard.verdicts()
    assert time.monotonic() - began < 10


def test_a_server_that_drips_its_answer_gains_no_time_by_it(services: Servers) -> None:
    # 200 letters, 0.02 s each: the answer to the final dot would take four seconds.
    def script(at: str, _: str) -> str | None:
        return "250 2.0.0 " + "x" * 190 if at == "CONTENT" else None

    with (
        scripted_server(script, drip=0.02, extensions=()) as server,
        dispatching(transport(server), redis_url=services.redis_url, timeout_seconds=0.7) as (dispatcher, heard),
    ):
        began = time.monotonic()
        send_all(dispatcher, heard, list(outgoing(1)))
        seconds = time.monotonic() - began
    assert heard.verdicts() == [Verdict.UNCERTAIN]
    assert seconds < 4


def test_silence_after_the_dot_is_uncertain_only_after_twice_the_time_limit(send: Send) -> None:
    with scripted_server(lambda at, _: SILENCE if at == "CONTENT" else None) as server:
        began = time.monotonic()
        heard = send(server, 1, timeout_seconds=0.5)
    assert heard.results[0].verdict is Verdict.UNCERTAIN
    assert time.monotonic() - began >= 1


def test_an_answer_that_is_missing_is_not_made_up_from_the_next_one(send: Send) -> None:
    silent: list[str] = []

    def script(at: str, who: str) -> str | None:
        if at == "MAIL" and not silent:
            silent.append(who)
            return SILENCE
        return None

    with scripted_server(script) as server:
        heard = send(server, 3)
    assert heard.verdicts() == [Verdict.ACCEPTED] * 3
    assert server.recipients == ["r0@example.org", "r1@example.org", "r2@example.org"]


def test_a_late_answer_after_the_dot_is_waited_for(send: Send) -> None:
    def script(at: str, _: str) -> None:
        if at == "CONTENT":
            time.sleep(0.8)

    with scripted_server(script) as server:
        heard = send(server, 2, timeout_seconds=0.5)
    assert heard.verdicts() == [Verdict.ACCEPTED] * 2


@pytest.mark.parametrize("greeting", ["421 too many connections", "450 not now"])
def test_a_busy_greeting_hands_everything_back_for_later(send: Send, greeting: str) -> None:
    with scripted_server(lambda at, _: greeting if at == "CONNECT" else None) as server:
        heard = send(server)
    assert heard.results == {}
    assert (heard.trouble().code, heard.trouble().is_ours) == ("server_unreachable", False)


def test_a_refusing_greeting_is_ours_to_mend(send: Send) -> None:
    with scripted_server(lambda at, _: "554 go away" if at == "CONNECT" else None) as server:
        heard = send(server)
    assert heard.results == {}
    assert heard.trouble().is_ours
    assert "554 go away" in heard.trouble().words


def test_starttls_that_is_not_offered_sends_nothing_in_clear(services: Servers) -> None:
    with scripted_server() as server:
        secret = transport(server, url=f"smtp+starttls://u:p@127.0.0.1:{server.port}")
        with dispatching(secret, redis_url=services.redis_url) as (dispatcher, heard):
            send_all(dispatcher, heard, list(outgoing(2)))
    assert heard.trouble().code == "tls_refused"
    assert heard.trouble().is_ours
    assert not any("AUTH" in command or "MAIL" in command for command in server.commands)


def test_a_non_ascii_address_is_refused_by_us_when_the_server_lacks_smtputf8(services: Servers) -> None:
    message = Outgoing(key=1, sender="lettre@courrier.example", recipient="léa@example.org", content=lambda: b"x\r\n")
    with (
        scripted_server(extensions=("PIPELINING",)) as server,
        dispatching(transport(server), redis_url=services.redis_url) as (dispatcher, heard),
    ):
        send_all(dispatcher, heard, [message])
    assert heard.results[1].verdict is Verdict.REFUSED
    assert "SMTPUTF8" in heard.results[1].reply


def test_a_message_larger_than_the_server_takes_is_not_begun_and_is_ours(services: Servers) -> None:
    message = Outgoing(key=1, sender="a@b.example", recipient="r@example.org", content=lambda: b"x\r\n", size=2001)
    with (
        scripted_server(extensions=("PIPELINING", "SIZE 2000")) as server,
        dispatching(transport(server), redis_url=services.redis_url) as (dispatcher, heard),
    ):
        send_all(dispatcher, heard, [message])
    assert (heard.results[1].verdict, heard.results[1].stage) == (Verdict.BLOCKED, "SIZE")
    assert not any(command.startswith("MAIL") for command in server.commands)


def test_a_copy_that_cannot_be_made_is_refused_alone(services: Servers) -> None:
    def fails() -> bytes:
        raise ValueError("no such slot")

    poison = Outgoing(key=99, sender="a@b.example", recipient="r@example.org", content=fails)
    with (
        scripted_server() as server,
        dispatching(transport(server), redis_url=services.redis_url) as (dispatcher, heard),
    ):
        send_all(dispatcher, heard, [*outgoing(2), poison, *outgoing(2, first=2)])
    assert heard.results[99].verdict is Verdict.REFUSED
    assert "no such slot" in heard.results[99].reply
    assert [heard.results[n].verdict for n in range(4)] == [Verdict.ACCEPTED] * 4


def test_connections_are_kept_between_two_rounds(services: Servers) -> None:
    with (
        scripted_server() as server,
        dispatching(transport(server), redis_url=services.redis_url) as (dispatcher, heard),
    ):
        for first in (0, 3):
            send_all(dispatcher, heard, list(outgoing(3, first=first)))
    assert server.connections == 1
    assert len(server.accepted) == 6


def test_a_connection_that_the_server_closed_meanwhile_costs_no_message(services: Servers) -> None:
    with (
        scripted_server() as server,
        dispatching(transport(server), redis_url=services.redis_url) as (dispatcher, heard),
    ):
        send_all(dispatcher, heard, list(outgoing(1)))
        server.hang_up()
        send_all(dispatcher, heard, list(outgoing(2, first=1)))
    assert heard.verdicts() == [Verdict.ACCEPTED] * 3
    assert server.connections == 2


def test_no_more_connections_are_opened_than_the_messages_need(send: Send) -> None:
    with scripted_server() as server:
        send(server, 1, connections=10)
    assert server.connections == 1


def test_hundreds_of_connections_are_served_by_one_loop(services: Servers) -> None:
    with (
        scripted_server(delay_seconds=0.02) as server,
        dispatching(transport(server, connections=200), redis_url=services.redis_url) as (dispatcher, heard),
    ):
        send_all(dispatcher, heard, list(outgoing(800)))
        turn_until(dispatcher, lambda: dispatcher.count_under_way() == 0)
    assert len(server.accepted) == 800
    assert server.connections > 100
