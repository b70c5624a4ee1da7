"""How we log in to an SMTP server, what is told when it does not let us in, and what is never told."""

import base64
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mailer.delivery.transports.login import Credentials, log_in
from mailer.delivery.transports.replies import Reply
from mailer.delivery.transports.route import RouteMisconfigured, RouteUnavailable, open_connection
from mailer.embedded import certificates
from tests.smtp_server import ScriptedServer, addresses_found, opened, says, scripted_server, the_route, tls_context

PASSWORD = "s3cret-of-léa"
USERS = {"lettre": PASSWORD}


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.create(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def account(localhost: certificates.Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server with a user, lettre, that knows every way to log in; a test takes some away."""
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost.ca_file))
    tls = tls_context(localhost.cert_file, localhost.key_file)
    with scripted_server(
        tls=tls, extensions_in_tls=("AUTH CRAM-MD5 LOGIN PLAIN XOAUTH2",), passwords=dict(USERS)
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        ("CRAM-MD5 LOGIN PLAIN XOAUTH2", "PLAIN"),
        ("CRAM-MD5 LOGIN", "LOGIN"),
        ("GSSAPI CRAM-MD5", "CRAM-MD5"),
    ],
)
def test_the_first_way_that_both_know_is_used(account: ScriptedServer, offered: str, used: str) -> None:
    account.extensions_in_tls = (f"AUTH {offered}",)
    opened(the_route(account, login=f"lettre:{PASSWORD}"))
    assert account.logins == [(used, "lettre")]


@pytest.mark.parametrize("forced", ["plain", "login", "cram-md5", "xoauth2"])
def test_the_way_that_the_url_names_is_used_even_if_it_is_not_offered(account: ScriptedServer, forced: str) -> None:
    account.extensions_in_tls = ()
    account.passwords["lettre"] = "ya29.token"
    opened(the_route(account, login="lettre:ya29.token", options=f"?auth={forced}"))
    assert account.logins == [(forced.upper(), "lettre")]


@pytest.mark.parametrize(
    ("user", "secret", "forced", "dialogue"),
    [
        # RFC 2195 2
        (
            "tim",
            "tanstaaftanstaaf",
            "cram-md5",
            [
                ("AUTH CRAM-MD5", "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"),
                ("dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw", None),
            ],
        ),
        ("tim", "tanstaaftanstaaf", "plain", [("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm", None)]),
        # Google's own example
        (
            "someuser@example.com",
            "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
            "xoauth2",
            [
                (
                    "AUTH XOAUTH2 dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNr"
                    "QmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==",
                    None,
                )
            ],
        ),
    ],
)
def test_what_is_said_is_what_the_published_examples_say(
    user: str, secret: str, forced: str, dialogue: list[tuple[str, str | None]]
) -> None:
    left = list(dialogue)

    def converse(line: str) -> Reply:
        expected, challenge = left.pop(0)
        assert line == expected
        return Reply(code=235, text="2.7.0 come in") if challenge is None else Reply(code=334, text=challenge)

    log_in(converse, frozenset(), Credentials(username=user, secret=secret), forced=forced)
    assert left == []


def test_a_server_that_asks_for_the_token_again_gets_it(account: ScriptedServer) -> None:
    account.takes_token_with_command = False
    opened(the_route(account, login=f"lettre:{PASSWORD}"))
    assert account.logins == [("PLAIN", "lettre")]


def test_a_way_that_the_server_offers_and_does_not_know_is_passed_over(account: ScriptedServer) -> None:
    account.script = lambda at, said: "504 5.5.4 unknown" if at == "AUTH" and "PLAIN" in said else None
    opened(the_route(account, login=f"lettre:{PASSWORD}"))
    assert account.logins == [("LOGIN", "lettre")]


def test_nobody_logs_in_without_a_user_name(account: ScriptedServer) -> None:
    opened(the_route(account))
    assert not any("AUTH" in line for line in account.commands)


@pytest.mark.parametrize("forced", ["plain", "login", "cram-md5"])
def test_a_wrong_password_is_for_the_operator_and_tried_once(account: ScriptedServer, forced: str) -> None:
    with pytest.raises(RouteMisconfigured, match=r"535 5\.7\.8 no such user or password; check the user") as raised:
        open_connection(the_route(account, login="lettre:wrong-one", options=f"?auth={forced}"))
    assert raised.value.code == "login_refused"
    assert sum(line.startswith("AUTH") for line in account.commands) == 1


def test_a_login_that_cannot_be_checked_now_is_tried_later(account: ScriptedServer) -> None:
    account.script = says("AUTH", "454 4.7.0 directory is down")
    with pytest.raises(RouteUnavailable, match=r"login \(PLAIN\) with 454 4\.7\.0 directory is down"):
        open_connection(the_route(account, login=f"lettre:{PASSWORD}"))


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        ("534 5.7.9 Application-specific password required", "app password"),
        ("535 5.7.139 Authentication unsuccessful", "auth=xoauth2"),
        ("550 5.7.30 Basic authentication is not supported", "auth=xoauth2"),
        ("530 5.7.0 Must issue a STARTTLS command first", r"use smtp\+starttls://"),
    ],
)
def test_a_refusal_comes_with_what_to_do(account: ScriptedServer, reply: str, remedy: str) -> None:
    account.script = says("AUTH", reply)
    with pytest.raises(RouteMisconfigured, match=remedy):
        open_connection(the_route(account, login=f"lettre:{PASSWORD}"))


@pytest.mark.parametrize(
    ("offered", "words"), [((), "offers no login here"), (("AUTH GSSAPI NTLM",), r"it offers GSSAPI, NTLM")]
)
def test_no_way_to_log_in_is_told_with_what_is_offered(
    account: ScriptedServer, offered: tuple[str, ...], words: str
) -> None:
    account.extensions_in_tls = offered
    with pytest.raises(RouteMisconfigured, match=words):
        open_connection(the_route(account, login=f"lettre:{PASSWORD}"))


def test_a_challenge_that_cannot_be_read_ends_it(account: ScriptedServer) -> None:
    account.script = says("AUTH", "334 !!!")
    with pytest.raises(RouteMisconfigured, match="can't be read"):
        open_connection(the_route(account, login=f"lettre:{PASSWORD}", options="?auth=cram-md5"))


@pytest.mark.parametrize("forced", ["plain", "xoauth2"])
def test_a_server_that_echoes_the_secret_does_not_bring_it_into_the_error(account: ScriptedServer, forced: str) -> None:
    def echo(at: str, said: str) -> str | None:
        token = said.rpartition(" ")[2]
        return f"535 5.7.8 {PASSWORD} {base64.b64encode(PASSWORD.encode()).decode()} {token}" if at == "AUTH" else None

    account.script = echo
    route = the_route(account, login=f"lettre:{PASSWORD}", options=f"?auth={forced}")
    with pytest.raises(RouteMisconfigured) as raised:
        open_connection(route)
    told = f"{raised.value!r} {raised.value.__cause__!r} {route!r}"
    told += repr(Credentials(username="lettre", secret=PASSWORD))
    assert "535 5.7.8 *** *** ***" in told
    assert PASSWORD not in told
    assert base64.b64encode(PASSWORD.encode()).decode().rstrip("=") not in told


def test_a_token_is_read_from_its_file_at_every_login(account: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    route = replace(the_route(account, login="lettre"), token_file=file)
    for token in ("ya29.first", "ya29.second"):
        file.write_text(token + "\n")
        account.passwords["lettre"] = token
        opened(route)
    assert account.logins == [("XOAUTH2", "lettre")] * 2


def test_what_is_wrong_with_a_token_is_told(account: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("ya29.expired")
    route = replace(the_route(account, login="lettre"), token_file=tmp_path / "token")
    with pytest.raises(RouteMisconfigured, match=r"535 .*status 401, schemes bearer.*renew the access token") as raised:
        open_connection(route)
    assert "ya29" not in str(raised.value)
    assert account.commands[-1] == "", "the refusal comes only after an empty answer"


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        ("!!!", "it does not say why"),
        (base64.b64encode(b"no JSON").decode(), "it does not say why"),
        (base64.b64encode(b'["a\\u0007b"]').decode(), r"said \['a.*b'\]"),
        (base64.b64encode(b'{"status": "4\\u00070"}').decode(), "status 4 0"),
    ],
)
def test_a_server_that_garbles_what_is_wrong_with_a_token_is_still_quoted_readably(
    account: ScriptedServer, challenge: str, words: str
) -> None:
    account.script = lambda at, _: {"AUTH": f"334 {challenge}", "": "535 5.7.8 no"}.get(at)
    with pytest.raises(RouteMisconfigured, match=words) as raised:
        open_connection(the_route(account, login="lettre:token", options="?auth=xoauth2"))
    assert str(raised.value).isprintable()


def test_a_refusal_is_quoted_at_no_more_than_readable_length(account: ScriptedServer) -> None:
    account.script = says("AUTH", "535 5.7.8 " + "no " * 1000)
    with pytest.raises(RouteMisconfigured) as raised:
        open_connection(the_route(account, login=f"lettre:{PASSWORD}"))
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two words", b"\xff", b"x" * 20_000])
def test_a_token_file_that_holds_no_token_is_named(
    account: ScriptedServer, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RouteMisconfigured, match=str(file)):
        open_connection(replace(the_route(account, login="lettre"), token_file=file))
    assert not any("AUTH" in line for line in account.commands)


def test_a_token_file_without_a_user_is_told(account: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(RouteMisconfigured, match="its URL names no user"):
        open_connection(replace(the_route(account), token_file=tmp_path / "token"))


@pytest.mark.parametrize("options", ["", "?auth=plain", "?auth=xoauth2"])
def test_a_password_is_never_sent_where_others_can_listen(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    with scripted_server(extensions=("AUTH PLAIN LOGIN",), passwords=USERS) as server:
        route = replace(the_route(server, login=f"lettre:{PASSWORD}", options=options), host="mx.example")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses_found(server.port))
        with pytest.raises(RouteMisconfigured, match=r"in clear|no login that we know"):
            open_connection(route)
    assert server.commands == ["EHLO lettre.example"]


def test_where_others_can_listen_a_digest_may_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(extensions=("AUTH PLAIN CRAM-MD5",), passwords=USERS) as server:
        route = replace(the_route(server, login=f"lettre:{PASSWORD}"), host="mx.example")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses_found(server.port))
        opened(route)
    assert server.logins == [("CRAM-MD5", "lettre")]


def test_on_the_same_machine_a_password_may_go_in_clear() -> None:
    with scripted_server(extensions=("AUTH PLAIN CRAM-MD5",), passwords=USERS) as server:
        opened(the_route(server, login=f"lettre:{PASSWORD}"))
    assert server.logins == [("PLAIN", "lettre")]
