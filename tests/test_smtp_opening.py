"""How a connection is opened: addresses, greeting, EHLO, TLS and login, against a server that plays every part."""

import datetime
import socket
import ssl
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mailer.delivery.transports.outgoing import Capabilities
from mailer.delivery.transports.route import (
    Route,
    RouteMisconfigured,
    RouteUnavailable,
    open_connection,
    route_from_transport,
    route_from_url,
)
from mailer.embedded import certificates
from mailer.mail_settings import Transport
from tests.smtp_server import DROP, SILENCE, addresses_found, opened, says, scripted_server, the_route, tls_context

USERS = {"lettre": "secret"}


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.create(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(localhost: certificates.Certificates, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for localhost that we trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost.ca_file))
    return tls_context(localhost.cert_file, localhost.key_file)


# Greeting and EHLO


def test_what_the_server_offers_is_read_from_its_answer_to_ehlo() -> None:
    extensions = ("PIPELINING", "size 35882577", "8bitmime", "DSN", "SMTPUTF8", "AUTH PLAIN login", "AUTH=CRAM-MD5", "")
    with scripted_server(extensions=extensions) as server:
        capabilities = opened(the_route(server))
    assert server.commands[0] == "EHLO lettre.example"
    assert capabilities == Capabilities(
        pipelining=True,
        smtputf8=True,
        eight_bit=True,
        dsn=True,
        size=35882577,
        auth=frozenset({"PLAIN", "LOGIN", "CRAM-MD5"}),
    )


@pytest.mark.parametrize(
    ("said", "size"), [("SIZE", 0), ("SIZE 0", 0), ("SIZE lots", 0), ("SIZE -1", 0), ("HELP", None)]
)
def test_a_size_without_a_number_is_no_limit(said: str, size: int | None) -> None:
    with scripted_server(extensions=(said,)) as server:
        assert opened(the_route(server)).size == size


def test_a_greeting_of_several_lines_is_one_greeting() -> None:
    with scripted_server(says("CONNECT", "220-welcome\r\n220-to\r\n220 us")) as server:
        opened(the_route(server))


@pytest.mark.parametrize("refusal", ["500 what?", "502 5.5.1 not implemented"])
def test_a_server_that_knows_no_ehlo_gets_helo_and_no_extensions(refusal: str) -> None:
    with scripted_server(says("EHLO", refusal)) as server:
        assert opened(the_route(server)) == Capabilities()
    assert server.commands[:2] == ["EHLO lettre.example", "HELO lettre.example"]


@pytest.mark.parametrize(("stage", "what"), [("CONNECT", "greeting"), ("EHLO", "EHLO")])
@pytest.mark.parametrize("reply", ["421 4.7.0 too many connections", "450 4.3.2 later"])
def test_a_busy_server_is_unavailable_in_its_own_words(stage: str, what: str, reply: str) -> None:
    with scripted_server(says(stage, reply)) as server, pytest.raises(RouteUnavailable, match=f"{what} with {reply}"):
        open_connection(the_route(server))


def test_a_server_that_refuses_us_is_misconfigured() -> None:
    with scripted_server(says("CONNECT", "554 5.7.1 not you")) as server:
        with pytest.raises(RouteMisconfigured, match=r"greeting with 554 5\.7\.1 not you") as raised:
            open_connection(the_route(server))
        assert raised.value.code == "blocked"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("250-one\r\n220 two", "mixes two replies"),
        ("250-fine\r\n250 \udcff\udcfe\0", "bytes that no extension has"),
        ("\r\n".join(["250-X"] * 5_000), "has no end"),
        ("250-" + "x" * 100_000, "has no end"),
        ("250 fine\r\n250 MAIL was not asked yet", "out of turn"),
        (DROP, "closed the connection"),
    ],
)
def test_an_answer_to_ehlo_that_is_none_is_refused_at_once(reply: str, words: str) -> None:
    with scripted_server(says("EHLO", reply)) as server, pytest.raises(RouteUnavailable, match=words):
        open_connection(the_route(server))
    assert server.commands == ["EHLO lettre.example"]


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        ("SSH-2.0-OpenSSH_9.2", "does not speak SMTP"),
        ("220 hello\r\n250 EHLO was not said yet", "out of turn"),
        ("199 hello", "does not speak SMTP"),
    ],
)
def test_a_greeting_that_is_none_is_not_answered(greeting: str, words: str) -> None:
    with scripted_server(says("CONNECT", greeting)) as server, pytest.raises(RouteUnavailable, match=words):
        open_connection(the_route(server))
    assert server.commands == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("192.0.2.7", "[192.0.2.7]"),
        ("[192.0.2.7]", "[192.0.2.7]"),
        ("2001:db8::7", "[IPv6:2001:db8::7]"),
        ("[IPv6:2001:db8::7]", "[IPv6:2001:db8::7]"),
        ("lettre.bücher.example", "lettre.xn--bcher-kva.example"),
    ],
)
def test_an_address_is_said_in_brackets_and_a_name_in_ascii(name: str, said: str) -> None:
    with scripted_server() as server:
        opened(replace(the_route(server), helo_name=name))
    assert server.commands[0] == f"EHLO {said}"


@pytest.mark.parametrize("name", ["", "a b", "x\r\nMAIL FROM:<>", "-x", "é é"])
def test_a_helo_name_that_is_none_is_never_said(name: str) -> None:
    with scripted_server() as server, pytest.raises(RouteMisconfigured, match="MAILER_HELO_NAME"):
        open_connection(replace(the_route(server), helo_name=name))
    assert server.commands == []


# Deadlines and addresses


def test_a_server_that_drips_its_reply_gets_no_more_time_than_a_silent_one() -> None:
    with scripted_server(drip=0.05) as server:
        began = time.monotonic()
        with pytest.raises(RouteUnavailable, match=r"no complete reply in 0\.3 s"):
            open_connection(the_route(server, timeout_seconds=0.3))
        assert time.monotonic() - began < 0.9, "its greeting alone takes 1 s"


def test_a_silent_server_is_given_up_and_tls_is_suggested() -> None:
    with (
        scripted_server(says("CONNECT", SILENCE)) as server,
        pytest.raises(RouteUnavailable, match="begins with TLS, use smtps://"),
    ):
        open_connection(the_route(server, timeout_seconds=0.2))


def test_a_server_that_never_answers_the_tls_handshake_is_given_up(tls: ssl.SSLContext) -> None:
    with scripted_server(says("CONNECT", SILENCE)) as server:
        route = replace(the_route(server, timeout_seconds=0.2), security="smtps")
        with pytest.raises(RouteUnavailable, match="timed out"):
            open_connection(route)


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound, scripted_server() as server:
        bound.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, **__: addresses_found(bound.getsockname()[1], server.port)
        )
        opened(the_route(server))
    assert server.connections == 1


def test_a_host_whose_addresses_all_refuse_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses_found(port, port))
        route = route_from_url(f"smtp://mx.example:{port}", helo_name="x", connections=1, timeout_seconds=5)
        with pytest.raises(RouteUnavailable, match=rf"mx\.example:{port} cannot be reached: .*refused"):
            open_connection(route)


@pytest.mark.parametrize("host", ["mx.invalid", "a..b"])
def test_a_name_that_does_not_exist_is_unavailable(host: str) -> None:
    route = route_from_url(f"smtp://{host}:25", helo_name="x", connections=1, timeout_seconds=5)
    with pytest.raises(RouteUnavailable, match="cannot be found"):
        open_connection(route)


# TLS


@pytest.mark.parametrize("at_once", [False, True])
def test_nothing_but_the_way_to_tls_is_said_in_clear(tls: ssl.SSLContext, at_once: bool) -> None:
    with scripted_server(tls=tls, tls_at_once=at_once, extensions=("AUTH PLAIN",), passwords=USERS) as server:
        opened(the_route(server, login="lettre:secret"))
    assert server.in_clear == ([] if at_once else ["EHLO lettre.example", "STARTTLS"])
    assert server.logins == [("PLAIN", "lettre")]


def test_what_was_offered_in_clear_is_forgotten_in_tls(tls: ssl.SSLContext) -> None:
    with scripted_server(tls=tls, extensions=("PIPELINING", "AUTH PLAIN"), extensions_in_tls=("DSN",)) as server:
        assert opened(the_route(server)) == Capabilities(dsn=True)


def test_tls_older_than_1_2_is_refused(tls: ssl.SSLContext) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with scripted_server(tls=tls) as server, pytest.raises(RouteMisconfigured, match=r"does not speak TLS 1\.2"):
        open_connection(the_route(server))


def test_plain_text_slipped_in_after_starttls_is_refused(tls: ssl.SSLContext) -> None:
    with (
        scripted_server(tls=tls, after_starttls=b"250 AUTH PLAIN\r\n") as server,
        pytest.raises(RouteMisconfigured, match="plain text after STARTTLS") as raised,
    ):
        open_connection(the_route(server))
    assert raised.value.code == "tls_refused"
    assert server.in_clear == server.commands


def test_a_server_that_leaves_in_the_tls_handshake_is_unavailable(tls: ssl.SSLContext) -> None:
    def leave(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        leaving = threading.Thread(target=leave, args=(listening,))
        leaving.start()
        url = f"smtps://localhost:{listening.getsockname()[1]}"
        with pytest.raises(RouteUnavailable, match="broke off the TLS handshake"):
            open_connection(route_from_url(url, helo_name="x", connections=1, timeout_seconds=5))
        leaving.join()


@pytest.mark.parametrize(
    ("reply", "error"), [("454 4.7.0 not now", RouteUnavailable), ("554 5.7.3 never", RouteMisconfigured)]
)
def test_a_starttls_that_is_refused_is_no_reason_to_go_on_in_clear(
    tls: ssl.SSLContext, reply: str, error: type[Exception]
) -> None:
    with (
        scripted_server(says("STARTTLS", reply), tls=tls, extensions=("AUTH PLAIN",)) as server,
        pytest.raises(error, match=f"STARTTLS with {reply}") as raised,
    ):
        open_connection(the_route(server, login="lettre:x"))
    assert getattr(raised.value, "code", "tls_refused") == "tls_refused"
    assert server.commands == ["EHLO lettre.example", "STARTTLS"]


def test_a_server_that_begins_in_clear_is_no_smtps_server(tls: ssl.SSLContext) -> None:
    with scripted_server() as server, pytest.raises(RouteMisconfigured, match=r"use smtp\+starttls://"):
        open_connection(replace(the_route(server), security="smtps"))


def _self_signed(directory: Path, *, name: str, days: int) -> tuple[Path, Path]:
    """Make a certificate that ends in `days`, its own authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("name", "days", "trusted", "reason"),
    [
        ("localhost", -1, True, "expired"),
        ("mx.example", 30, True, "Hostname mismatch"),
        ("localhost", 30, False, "self-signed"),
    ],
)
def test_a_certificate_that_is_not_valid_ends_it_before_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool, name: str, days: int, trusted: bool, reason: str
) -> None:
    cert_file, key_file = _self_signed(tmp_path, name=name, days=days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert_file))
    with scripted_server(tls=tls_context(cert_file, key_file), tls_at_once=at_once, passwords=USERS) as server:
        route = replace(the_route(server, login="lettre:secret"), host="localhost")
        with pytest.raises(RouteMisconfigured, match=f"not valid: .*{reason}") as raised:
            open_connection(route)
    assert raised.value.code == "tls_refused"
    assert server.commands == ([] if at_once else ["EHLO lettre.example", "STARTTLS"])


# Reading a route


def test_a_route_has_all_that_a_transport_says() -> None:
    transport = Transport.model_validate(
        {
            "name": "relay",
            "url": "smtps://l%40x:p%3Aw@[2001:db8::1]?auth=login",
            "domains": ["*.example.org"],
            "connections": 3,
            "token_file": "/run/token",
        }
    )
    route = route_from_transport(transport, helo_name="lettre.example", timeout_seconds=60)
    assert route == Route(
        name="relay",
        host="2001:db8::1",
        port=465,
        security="smtps",
        username="l@x",
        password="p:w",
        auth="login",
        token_file=Path("/run/token"),
        domains=("*.example.org",),
        helo_name="lettre.example",
        connections=3,
        timeout_seconds=60,
    )
    assert str(route) == "relay ([2001:db8::1]:465)"
    assert "p:w" not in repr(route)


@pytest.mark.parametrize(("scheme", "port"), [("smtp", 25), ("smtp+starttls", 587), ("smtps", 465)])
def test_each_scheme_has_its_port(scheme: str, port: int) -> None:
    assert route_from_url(f"{scheme}://mx.example", helo_name="x", connections=1, timeout_seconds=1).port == port
