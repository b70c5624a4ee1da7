"""Reading an address: a real HTTP server plays everything that the web does to a feed reader."""

import contextlib
import datetime
import functools
import gzip
import http.server
import ipaddress
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailer.feeds import network
from mailer.feeds.fetch import FeedUnreachable, FetchedFeed, FetchLimits, fetch

BODY = "<rss version='2.0'><channel><title>Le Courrier d’Asie centrale</title></channel></rss>".encode()
HERE = (ipaddress.ip_network("127.0.0.1/32"),)
LIMITS = FetchLimits(total_seconds=3, connect_seconds=1, body_bytes=100_000, redirects=5)

Play = Callable[[http.server.BaseHTTPRequestHandler], None]


class Stage:
    """A server on the loopback interface; `plays` maps a path to what the server does when asked for it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.plays: dict[str, Play] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        stage = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stage.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    stage.plays[self.path](self)
                self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *arguments: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=functools.partial(self._server.serve_forever, 0.02), daemon=True)
        self._thread.start()

    def url(self, path: str = "/feed", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def answer(status: int = 200, body: bytes = BODY, **headers: str) -> Play:
    def play(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"content-length": str(len(body))} | given).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return play


def drip(piece: bytes, seconds: float, *, start: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Play:
    def play(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        while True:
            request.wfile.write(piece)
            request.wfile.flush()
            time.sleep(seconds)

    return play


def read(url: str, **arguments: object) -> FetchedFeed:
    feed = fetch(url, **({"limits": LIMITS, "private_networks": HERE} | arguments))  # type: ignore[arg-type]
    assert feed is not None
    return feed


def failure(url: str, **arguments: object) -> FeedUnreachable:
    with pytest.raises(FeedUnreachable) as caught:
        read(url, **arguments)
    assert str(caught.value).endswith(".")
    return caught.value


def test_a_feed_is_read_with_what_the_next_reading_needs(stage: Stage) -> None:
    modified = "Mon, 24 Nov 2025 08:00:00 GMT"
    stage.plays["/feed"] = answer(content_type="text/xml; charset=utf-8", etag='"v1"', last_modified=modified)
    assert read(stage.url()) == FetchedFeed(
        body=BODY,
        content_type="text/xml; charset=utf-8",
        etag='"v1"',
        last_modified=modified,
        url=stage.url(),
        moved_to=None,
    )


def test_an_unchanged_feed_is_none(stage: Stage) -> None:
    stage.plays["/feed"] = answer(304, b"")
    assert fetch(stage.url(), etag='"v1"', limits=LIMITS, private_networks=HERE) is None
    assert fetch(stage.url(), last_modified="yesterday", limits=LIMITS, private_networks=HERE) is None
    assert stage.requests[0][1]["if-none-match"] == '"v1"'
    assert stage.requests[1][1]["if-modified-since"] == "yesterday"


def test_unchanged_without_a_condition_is_an_error(stage: Stage) -> None:
    stage.plays["/feed"] = answer(304, b"")
    assert "304 Not Modified" in failure(stage.url()).message


def test_the_reader_says_who_it_is_and_advertises_what_it_can_unpack(stage: Stage) -> None:
    stage.plays["/feed"] = answer()
    read(stage.url())
    headers = stage.requests[0][1]
    assert headers["user-agent"].startswith("newsroom-mailer/")
    assert "application/atom+xml" in headers["accept"]
    assert headers["accept-encoding"] == "gzip, deflate"
    assert headers["host"] == f"127.0.0.1:{stage.port}"


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, wbits=-15)),
        ("identity", BODY),
    ],
)
def test_compressed_answers_are_unpacked(stage: Stage, coding: str, packed: bytes) -> None:
    stage.plays["/feed"] = answer(body=packed, content_encoding=coding)
    assert read(stage.url()).body == BODY


@pytest.mark.parametrize(
    "packed", [gzip.compress(BODY, mtime=0)[:-12], b"not gzip at all", gzip.compress(BODY, mtime=0)[:20] + BODY]
)
def test_damaged_compression_is_a_temporary_failure(stage: Stage, packed: bytes) -> None:
    stage.plays["/feed"] = answer(body=packed, content_encoding="gzip")
    error = failure(stage.url())
    assert "damaged" in error.message
    assert error.temporary


def test_an_encoding_that_was_not_asked_for_is_refused(stage: Stage) -> None:
    stage.plays["/feed"] = answer(content_encoding="br")
    assert "“br”" in failure(stage.url()).message


def test_a_gzip_bomb_stops_at_the_limit(stage: Stage) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(10_000_000)) for _ in range(20)) + packer.flush()
    stage.plays["/feed"] = answer(body=bomb, content_encoding="gzip")
    started = time.monotonic()
    error = failure(stage.url(), limits=FetchLimits(body_bytes=1_000_000))
    assert error.message == f"The feed at 127.0.0.1:{stage.port} is larger than 1 MB."
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_of_a_body_that_may_be_cut_the_beginning_is_enough(stage: Stage, coding: str) -> None:
    body = b"<html>" + bytes(300_000)
    stage.plays["/feed"] = answer(body=gzip.compress(body) if coding == "gzip" else body, content_encoding=coding)
    limits = FetchLimits(body_bytes=100_000, cuts_body=True)
    fetched = fetch(stage.url(), limits=limits, private_networks=HERE)
    assert fetched is not None
    assert fetched.body == body[:100_000]


def test_a_failure_tells_the_status(stage: Stage) -> None:
    stage.plays["/feed"] = answer(404)
    assert failure(stage.url()).status == 404
    assert failure("http://127.0.0.1:1/").status is None


def test_compressed_data_that_unpacks_to_nothing_for_ever_stops_too(stage: Stage) -> None:
    nothing = b"\x00\x00\x00\xff\xff" * 10_000
    start = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]
    stage.plays["/feed"] = drip(nothing, 0, start=start)
    assert "larger than" in failure(stage.url()).message


def test_endless_chunks_stop_at_the_limit(stage: Stage) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    stage.plays["/feed"] = drip(b"1000\r\n" + bytes(4096) + b"\r\n", 0, start=start)
    assert "larger than 0.1 MB" in failure(stage.url()).message


def test_an_announced_size_over_the_limit_is_not_even_read(stage: Stage) -> None:
    stage.plays["/feed"] = drip(b"", 0.5, start=b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    started = time.monotonic()
    assert "larger than" in failure(stage.url()).message
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Slow: ", id="headers"),
        pytest.param(b"", id="status line"),
    ],
)
def test_one_byte_at_a_time_ends_at_the_deadline(stage: Stage, start: bytes) -> None:
    stage.plays["/feed"] = drip(b"H", 0.1, start=start)
    started = time.monotonic()
    error = failure(stage.url(), limits=FetchLimits(total_seconds=1))
    assert error.message == f"127.0.0.1:{stage.port} did not finish within 1 s."
    assert error.temporary
    assert time.monotonic() - started < 1.5


def test_redirects_cannot_stretch_the_deadline(stage: Stage) -> None:
    def slow(request: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(0.4)
        answer(302, b"", location=f"/{int(request.path[1:]) + 1}")(request)

    stage.plays.update({f"/{number}": slow for number in range(9)})
    assert "did not finish within 1 s" in failure(stage.url("/0"), limits=FetchLimits(total_seconds=1)).message


def test_a_host_that_does_not_accept_connections_is_refused_soon() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/feed"
        assert failure(url).message.endswith("refused the connection.")


def test_a_resolver_that_hangs_ends_at_the_deadline() -> None:
    def hang(host: str, port: int) -> list[str]:
        time.sleep(2)
        return ["127.0.0.1"]

    client = network.open_client(deadline=network.Deadline.after(0.3), connect_seconds=5, resolve=hang)
    started = time.monotonic()
    with client, pytest.raises(network.OutOfTime):
        client.get("http://slow.example/")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("status", "phrase", "temporary"),
    [
        (404, "404 Not Found", True),
        (410, "410 Gone", False),
        (403, "403 Forbidden", True),
        (500, "500 Internal Server Error", True),
        (503, "503 Service Unavailable", True),
        (204, "204 No Content", True),
        (799, "799", True),
    ],
)
def test_other_answers_are_failures_of_two_kinds(stage: Stage, status: int, phrase: str, temporary: bool) -> None:
    stage.plays["/feed"] = answer(status, b"")
    error = failure(stage.url())
    assert error.message == f"127.0.0.1:{stage.port} answered {phrase}."
    assert error.temporary is temporary


def test_a_web_page_and_an_empty_body_are_for_the_parser_to_judge(stage: Stage) -> None:
    stage.plays["/page"] = answer(body=b"<!doctype html>", content_type="text/html")
    stage.plays["/empty"] = answer(body=b"")
    assert read(stage.url("/page")).body == b"<!doctype html>"
    assert read(stage.url("/empty")).body == b""


def test_a_body_shorter_than_announced_is_not_taken_for_whole(stage: Stage) -> None:
    stage.plays["/feed"] = answer(content_length=str(len(BODY) + 10))
    assert "broke off" in failure(stage.url()).message


@pytest.mark.parametrize("start", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"\x00" * 200_000])
def test_something_else_than_http_is_a_temporary_failure(stage: Stage, start: bytes) -> None:
    stage.plays["/feed"] = drip(b"", 0.2, start=start)
    assert failure(stage.url(), limits=FetchLimits(total_seconds=1)).temporary


def test_headers_that_cannot_be_kept_are_left_out(stage: Stage) -> None:
    stage.plays["/feed"] = answer(etag='"é"', last_modified="x" * 2000, content_type="text/xml")
    feed = read(stage.url())
    assert (feed.etag, feed.last_modified, feed.content_type) == (None, None, "text/xml")


def test_lasting_redirects_give_the_new_address(stage: Stage) -> None:
    stage.plays["/feed"] = answer(301, b"", location="/feed/")
    stage.plays["/feed/"] = answer(308, b"", location=stage.url("/new.xml"))
    stage.plays["/new.xml"] = answer()
    feed = read(stage.url())
    assert feed.url == feed.moved_to == stage.url("/new.xml")


def test_one_passing_redirect_keeps_the_old_address(stage: Stage) -> None:
    stage.plays["/feed"] = answer(301, b"", location="/b")
    stage.plays["/b"] = answer(302, b"", location="/c")
    stage.plays["/c"] = answer()
    feed = read(stage.url())
    assert (feed.url, feed.moved_to) == (stage.url("/c"), None)


def test_redirects_in_a_circle_are_found_out(stage: Stage) -> None:
    stage.plays["/feed"] = answer(301, b"", location="/b")
    stage.plays["/b"] = answer(301, b"", location="/feed")
    assert "in a circle" in failure(stage.url()).message
    assert len(stage.requests) == 2


def test_redirects_end_after_five(stage: Stage) -> None:
    stage.plays.update({f"/{number}": answer(302, b"", location=f"/{number + 1}") for number in range(9)})
    assert "more than 5 times" in failure(stage.url("/0")).message
    assert len(stage.requests) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/", "//[", "javascript:1", "http://xn--/", "http://a:99999/"]
)
def test_a_redirect_to_something_else_than_the_web_is_refused(stage: Stage, location: str) -> None:
    stage.plays["/feed"] = answer(302, b"", location=location)
    assert "not a web address" in failure(stage.url()).message


def test_a_redirect_without_an_address_is_a_failure(stage: Stage) -> None:
    stage.plays["/feed"] = answer(302, b"")
    assert "without saying where" in failure(stage.url()).message


def test_a_redirect_to_a_private_address_is_refused(stage: Stage) -> None:
    stage.plays["/feed"] = answer(302, b"", location=stage.url(host="127.0.0.2"))
    error = failure(stage.url())
    assert error.message == f"127.0.0.2:{stage.port} is a private address, which the settings do not allow."
    assert not error.temporary
    assert len(stage.requests) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "017700000001", "127.1", "[::ffff:127.0.0.1]"],
)
def test_this_machine_is_not_reached_by_any_of_its_names(stage: Stage, host: str) -> None:
    error = failure(stage.url(host=host), private_networks=())
    assert "private address" in error.message
    assert not error.temporary
    assert stage.requests == []


def test_a_name_of_an_allowed_private_address_is_read(stage: Stage) -> None:
    stage.plays["/feed"] = answer()
    networks = (*HERE, ipaddress.ip_network("::1/128"))
    assert read(stage.url(host="localhost"), private_networks=networks).body == BODY
    assert stage.requests[0][1]["host"] == f"localhost:{stage.port}"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("64:ff9b::808:808", True),
        ("10.0.0.5", False),
        ("172.31.255.255", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.1.1", False),
        ("240.0.0.1", False),
        ("192.88.99.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("2001:db8::1", False),
        ("::ffff:169.254.169.254", False),
        ("::10.0.0.5", False),
        ("64:ff9b::a00:5", False),
        ("2002:a00:5::", False),
    ],
)
def test_only_public_addresses_are_allowed(address: str, allowed: bool) -> None:
    assert network.is_allowed(ipaddress.ip_address(address)) is allowed


def test_a_mapped_address_is_allowed_with_the_network_that_it_maps_to() -> None:
    assert network.is_allowed(ipaddress.ip_address("::ffff:127.0.0.1"), HERE)
    assert not network.is_allowed(ipaddress.ip_address("::ffff:127.0.0.2"), HERE)


def test_a_name_is_resolved_once_and_connected_to_where_it_was_checked(stage: Stage) -> None:
    stage.plays["/feed"] = answer()
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    client = network.open_client(
        deadline=network.Deadline.after(2),
        connect_seconds=1,
        private_networks=HERE,
        resolve=lambda *_: next(answers),
    )
    with client:
        assert client.get(stage.url(host="rebinding.example")).content == BODY
        with pytest.raises(network.AddressRefused, match=r"127\.0\.0\.2"):
            client.get(stage.url(host="rebinding.example"))
    assert [headers["host"] for _, headers in stage.requests] == [f"rebinding.example:{stage.port}"]


def test_private_addresses_among_public_ones_are_passed_over(stage: Stage) -> None:
    stage.plays["/feed"] = answer()
    client = network.open_client(
        deadline=network.Deadline.after(2),
        connect_seconds=1,
        private_networks=HERE,
        resolve=lambda *_: ["::1", "10.0.0.5", "127.0.0.1"],
    )
    with client:
        assert client.get(stage.url(host="mixed.example")).content == BODY


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "file:///etc/passwd", "/feed", "", "http://", "http://a:99999/", "http://[x/", "http://xn--/"],
)
def test_an_address_that_is_none_is_refused_for_good(url: str) -> None:
    assert not failure(url).temporary


def test_an_unknown_name_is_a_temporary_failure() -> None:
    error = failure("https://nowhere.invalid/feed")
    assert error.message == "The name nowhere.invalid is not known."
    assert error.temporary


def test_a_password_in_the_address_goes_to_its_own_host_only(stage: Stage) -> None:
    stage.plays["/feed"] = answer(302, b"", location="/same")
    stage.plays["/same"] = answer(302, b"", location=stage.url("/other", host="localhost"))
    stage.plays["/other"] = answer()
    networks = (*HERE, ipaddress.ip_network("::1/128"))
    feed = read(stage.url().replace("//", "//desk:secret@"), private_networks=networks)
    assert ["authorization" in headers for _, headers in stage.requests] == [True, True, False]
    assert "secret" not in repr(feed)


def test_no_proxy_is_taken_from_the_environment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.plays["/feed"] = answer()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert read(stage.url()).body == BODY


def test_a_certificate_must_be_trusted_and_fit_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    stage = Stage(tls)
    stage.plays["/feed"] = answer()
    try:
        error = failure(stage.url())
        assert "certificate that is not trusted" in error.message
        assert error.temporary
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert read(stage.url()).body == BODY
        client = network.open_client(
            deadline=network.Deadline.after(2),
            connect_seconds=1,
            private_networks=HERE,
            resolve=lambda *_: ["127.0.0.1"],
        )
        with client:
            assert client.get(stage.url(host="courrier.example")).content == BODY
            with pytest.raises(httpcore.ConnectError, match="Hostname mismatch"):
                client.get(stage.url(host="other.example"))
    finally:
        stage.close()


def test_plain_text_on_an_encrypted_port_is_a_temporary_failure(stage: Stage) -> None:
    error = failure(stage.url().replace("http:", "https:"))
    assert "encrypted connection" in error.message
    assert error.temporary


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "courrier.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("courrier.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


def test_the_client_needs_nothing_of_the_request_but_its_address(stage: Stage) -> None:
    stage.plays["/a?b=c%20d"] = answer()
    with network.open_client(deadline=network.Deadline.after(2), connect_seconds=1, private_networks=HERE) as client:
        assert isinstance(client, httpx.Client)
        assert client.get(stage.url("/a?b=c d")).status_code == 200
