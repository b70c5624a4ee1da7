"""The SMTP client against a server that plays every part."""

import time
from collections.abc import Iterator

import pytest

from mailer.transports.outgoing import Outgoing, Result, Verdict
from mailer.transports.route import Route, RouteMisconfigured, RouteUnavailable, route_from_url
from mailer.transports.smtp import SmtpPool
from tests.smtp_server import DROP, SILENCE, ScriptedServer, scripted_server

WITHOUT_PIPELINING = ("8BITMIME",)


def the_route(server: ScriptedServer, *, connections: int = 1, timeout_seconds: float = 5) -> Route:
    return route_from_url(
        server.url, helo_name="lettre.example", connections=connections, timeout_seconds=timeout_seconds
    )


class Run:
    """What one call of send reported."""

    def __init__(
        self, server: ScriptedServer, count: int = 5, *, connections: int = 1, timeout_seconds: float = 5
    ) -> None:
        self.handed: list[int] = []
        self.results: dict[int, Result] = {}
        self.error: Exception | None = None
        self.pool = SmtpPool(the_route(server, connections=connections, timeout_seconds=timeout_seconds))
        self.again(count)

    def again(self, count: int) -> None:
        try:
            self.pool.send(outgoing(count), count=count, on_handed=self.handed.append, on_result=self._take)
        except (RouteUnavailable, RouteMisconfigured) as error:
            self.error = error
        finally:
            self.pool.close()

    def _take(self, key: int, result: Result) -> None:
        assert key not in self.results, "reported twice"
        self.results[key] = result

    def verdicts(self) -> list[Verdict]:
        return [self.results[key].verdict for key in sorted(self.results)]


def outgoing(count: int) -> Iterator[Outgoing]:
    for number in range(count):
        yield Outgoing(
            key=number,
            sender="lettre@courrier.example",
            recipient=f"r{number}@example.org",
            content=lambda number=number: f"Subject: {number}\r\n\r\nHello {number}\r\n".encode(),
        )


@pytest.mark.parametrize("extensions", [("PIPELINING",), WITHOUT_PIPELINING])
def test_every_message_arrives_once_with_its_content(extensions: tuple[str, ...]) -> None:
    with scripted_server(extensions=extensions) as server:
        run = Run(server, 20, connections=3)
    assert run.verdicts() == [Verdict.ACCEPTED] * 20
    assert sorted(server.recipients) == sorted(f"r{n}@example.org" for n in range(20))
    assert {content for _, content in server.accepted} == {
        f"Subject: {n}\r\n\r\nHello {n}\r\n".encode() for n in range(20)
    }


def test_content_and_the_next_envelope_leave_in_one_write_when_pipelining() -> None:
    with scripted_server() as server:
        Run(server, 3)
    assert any(b"\r\n.\r\nMAIL FROM" in write and write.endswith(b"DATA\r\n") for write in server.writes)


def test_commands_wait_for_their_answers_without_pipelining() -> None:
    with scripted_server(extensions=WITHOUT_PIPELINING) as server:
        Run(server, 3)
    assert not any(write.count(b"\r\n") > 1 and b"MAIL FROM" in write for write in server.writes)


@pytest.mark.parametrize("extensions", [("PIPELINING",), WITHOUT_PIPELINING])
@pytest.mark.parametrize(
    ("stage", "reply", "verdict"),
    [
        ("RCPT", "550 5.1.1 no such user", Verdict.REFUSED),
        ("RCPT", "450 4.2.0 greylisted", Verdict.DEFERRED),
        ("DATA", "451 4.3.0 not now", Verdict.DEFERRED),
        ("CONTENT", "554 5.7.1 spam", Verdict.REFUSED),
        ("CONTENT", "452 4.2.2 full", Verdict.DEFERRED),
    ],
)
def test_a_refusal_touches_only_its_own_recipient(
    stage: str, reply: str, verdict: Verdict, extensions: tuple[str, ...]
) -> None:
    def script(at: str, who: str) -> str | None:
        return reply if at == stage and who == "r2@example.org" else None

    with scripted_server(script, extensions=extensions) as server:
        run = Run(server)
    assert run.verdicts() == [Verdict.ACCEPTED, Verdict.ACCEPTED, verdict, Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert run.results[2].reply == reply
    assert "r2@example.org" not in server.recipients


def test_a_server_that_takes_content_for_nobody_gets_an_empty_message_and_no_content() -> None:
    # RFC 2920 3.1: RCPT was refused, DATA answered 354 all the same.
    def script(at: str, who: str) -> str | None:
        return "550 5.1.1 unknown" if at == "RCPT" and who == "r1@example.org" else None

    with scripted_server(script) as server:
        run = Run(server, 3)
    assert run.verdicts() == [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.ACCEPTED]
    assert 1 not in run.handed
    assert b"Hello 1" not in b"".join(server.writes)


def test_a_refused_sender_stops_everything_and_refuses_nobody() -> None:
    with scripted_server(lambda at, _: "553 5.7.1 sender not allowed" if at == "MAIL" else None) as server:
        run = Run(server)
    assert isinstance(run.error, RouteMisconfigured)
    assert "553 5.7.1 sender not allowed" in str(run.error)
    assert run.results == {}


def test_a_connection_lost_before_the_dot_is_made_good_on_another() -> None:
    dropped = []

    def script(at: str, who: str) -> str | None:
        if at == "RCPT" and who == "r2@example.org" and not dropped:
            dropped.append(who)
            return DROP
        return None

    with scripted_server(script) as server:
        run = Run(server)
    assert run.verdicts() == [Verdict.ACCEPTED] * 5
    assert sorted(server.recipients) == [f"r{n}@example.org" for n in range(5)]


def test_a_connection_lost_after_the_dot_leaves_exactly_that_message_uncertain() -> None:
    def script(at: str, who: str) -> str | None:
        return DROP if at == "CONTENT" and who == "r2@example.org" else None

    with scripted_server(script) as server:
        run = Run(server)
    assert run.results[2].verdict is Verdict.UNCERTAIN
    assert [run.results[n].verdict for n in (0, 1, 3, 4)] == [Verdict.ACCEPTED] * 4
    assert server.recipients.count("r3@example.org") == 1


def test_421_after_the_dot_defers_that_message_and_the_rest_goes_on() -> None:
    said = []

    def script(at: str, who: str) -> str | None:
        if at == "CONTENT" and who == "r1@example.org" and not said:
            said.append(who)
            return "421 4.7.0 slow down"
        return None

    with scripted_server(script) as server:
        run = Run(server)
    assert run.results[1].verdict is Verdict.DEFERRED
    assert len(server.accepted) == 4


def test_a_server_that_drops_every_connection_is_unavailable_and_nothing_is_reported() -> None:
    with scripted_server(lambda at, _: DROP if at == "MAIL" else None) as server:
        run = Run(server)
    assert isinstance(run.error, RouteUnavailable)
    assert run.results == {}


def test_a_silent_server_is_given_up_after_the_time_limit() -> None:
    with scripted_server(lambda at, _: SILENCE if at == "MAIL" else None) as server:
        began = time.monotonic()
        run = Run(server, timeout_seconds=0.3)
    assert isinstance(run.error, RouteUnavailable)
    assert time.monotonic() - began < 10


def test_a_busy_greeting_is_unavailable_and_a_refusing_one_misconfigured() -> None:
    with scripted_server(lambda at, _: "421 too many connections" if at == "CONNECT" else None) as server:
        assert isinstance(Run(server).error, RouteUnavailable)
    with scripted_server(lambda at, _: "554 go away" if at == "CONNECT" else None) as server:
        assert isinstance(Run(server).error, RouteMisconfigured)


def test_starttls_that_is_not_offered_sends_nothing_in_clear() -> None:
    with scripted_server() as server:
        route = route_from_url(
            f"smtp+starttls://u:p@127.0.0.1:{server.port}", helo_name="lettre.example", connections=1, timeout_seconds=5
        )
        with pytest.raises(RouteMisconfigured, match="does not offer STARTTLS"):
            SmtpPool(route).send(outgoing(1), count=1, on_handed=lambda _: None, on_result=lambda *_: None)
    assert not any("AUTH" in command or "MAIL" in command for command in server.commands)


def test_a_non_ascii_address_is_refused_by_us_when_the_server_lacks_smtputf8() -> None:
    message = Outgoing(key=1, sender="lettre@courrier.example", recipient="léa@example.org", content=lambda: b"x\r\n")
    results: dict[int, Result] = {}
    with scripted_server(extensions=("PIPELINING",)) as server:
        pool = SmtpPool(the_route(server))
        pool.send(iter([message]), count=1, on_handed=lambda _: None, on_result=results.__setitem__)
        pool.close()
    assert results[1].verdict is Verdict.REFUSED
    assert "SMTPUTF8" in results[1].reply


def test_connections_are_kept_between_two_calls() -> None:
    with scripted_server() as server:
        pool = SmtpPool(the_route(server))
        for _ in range(2):
            pool.send(outgoing(3), count=3, on_handed=lambda _: None, on_result=lambda *_: None)
        pool.close()
    assert server.connections == 1
    assert len(server.accepted) == 6


def test_no_more_connections_are_opened_than_the_messages_need() -> None:
    with scripted_server() as server:
        Run(server, 1, connections=10)
    assert server.connections == 1
