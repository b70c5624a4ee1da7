"""Read a feed's address: bounded in time, size and redirects, and only from hosts that may be reached. No parsing."""

import contextlib
import http
import ssl
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import httpcore
import httpx

from mailer import __version__
from mailer.feeds import network, urls
from mailer.feeds.troubles import SENTENCES, Trouble

USER_AGENT: Final = f"newsroom-mailer/{__version__} (feed reader)"
ACCEPT: Final = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/rdf+xml;q=0.9, "
    "application/xml;q=0.8, text/xml;q=0.8, application/json;q=0.7, */*;q=0.5"
)
_CHUNK_BYTES: Final = 65_536
_LONGEST_HEADER: Final = 1000
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_LASTING_REDIRECTS: Final = (301, 308)
# Only "gone" is for good: a 404 is as often a deployment or a broken rewrite rule, and back-off makes asking cheap.
_LASTING_FAILURES: Final = (410,)
_ZLIB_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE: Final = -15


class FeedUnreachable(Exception):
    """No feed came from the address; `trouble` and `values` say why, the message is one sentence for an editor.

    `temporary`: asking again later may help. False for an address that can never be read (not http, no host), one in a
    private network, and 410 Gone. `status`: the HTTP status that the address answered, None if it answered none.
    """

    def __init__(self, trouble: Trouble, *, temporary: bool, status: int | None = None, **values: str) -> None:
        self.message = SENTENCES[trouble].format(**values)
        super().__init__(self.message)
        self.trouble = trouble
        self.values = values
        self.temporary = temporary
        self.status = status


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """How much one reading may take; `body_bytes` counts after decompression.

    `cuts_body`: of a longer body its beginning is enough; otherwise it is refused.
    """

    total_seconds: float = 20
    connect_seconds: float = 5
    body_bytes: int = 10_000_000
    redirects: int = 5
    cuts_body: bool = False


@dataclass(frozen=True, kw_only=True)
class FetchedFeed:
    """What the address answered.

    `url` is where the body came from, without a password; `moved_to` the address to ask from now on (with the
    password, if the asked one had it), None unless every redirect on the way said that it is for good.
    """

    body: bytes = field(repr=False)
    content_type: str | None
    etag: str | None
    last_modified: str | None
    url: str
    moved_to: str | None = field(repr=False)


def fetch(
    url: str,
    *,
    etag: str | None = None,
    last_modified: str | None = None,
    accept: str = ACCEPT,
    limits: FetchLimits = FetchLimits(),
    private_networks: Iterable[network.Network] = (),
) -> FetchedFeed | None:
    """Read the feed at `url`; None when it has not changed since the answer that gave `etag` and `last_modified`.

    Ends within `limits.total_seconds`. Raises FeedUnreachable. Talks to the network, never to an address outside the
    public internet unless it is in `private_networks`.
    """
    target = urls.web_address(url)
    if target is None:
        raise FeedUnreachable(Trouble.NO_ADDRESS, temporary=False)
    conditions = {"If-None-Match": _kept(etag), "If-Modified-Since": _kept(last_modified)}
    headers = {"User-Agent": USER_AGENT, "Accept": accept, "Accept-Encoding": "gzip, deflate"}
    headers |= {name: value for name, value in conditions.items() if value}
    client = network.open_client(
        deadline=network.Deadline.after(limits.total_seconds),
        connect_seconds=limits.connect_seconds,
        private_networks=private_networks,
    )
    with client:
        return _follow(client, target, headers, limits)


def _follow(
    client: httpx.Client, target: httpx.URL, headers: dict[str, str], limits: FetchLimits
) -> FetchedFeed | None:
    seen = {target}
    lasting = True
    for _ in range(limits.redirects + 1):
        with _explained(target, limits):
            response = client.send(client.build_request("GET", target, headers=headers), stream=True)
            with contextlib.closing(response):
                if response.status_code not in _REDIRECTS:
                    moved_to = str(target) if lasting and len(seen) > 1 else None
                    return _read(response, target, moved_to, limits)
        lasting = lasting and response.status_code in _LASTING_REDIRECTS
        target = _next_target(target, response.headers.get("location"))
        if target in seen:
            raise FeedUnreachable(Trouble.REDIRECT_CIRCLE, host=_host(target), temporary=True)
        seen.add(target)
    raise FeedUnreachable(Trouble.REDIRECTS_TOO_OFTEN, host=_host(target), count=str(limits.redirects), temporary=True)


def _read(response: httpx.Response, target: httpx.URL, moved_to: str | None, limits: FetchLimits) -> FetchedFeed | None:
    if response.status_code == 304 and "if-none-match" in response.request.headers:
        return None
    if response.status_code == 304 and "if-modified-since" in response.request.headers:
        return None
    if response.status_code not in (200, 203):
        raise FeedUnreachable(
            Trouble.STATUS,
            temporary=response.status_code not in _LASTING_FAILURES,
            status=response.status_code,
            host=_host(target),
            answer=_status(response.status_code),
        )
    return FetchedFeed(
        body=_body(response, target, limits),
        content_type=_kept(response.headers.get("content-type")),
        etag=_kept(response.headers.get("etag")),
        last_modified=_kept(response.headers.get("last-modified")),
        url=str(target.copy_with(userinfo=b"")),
        moved_to=moved_to,
    )


def _body(response: httpx.Response, target: httpx.URL, limits: FetchLimits) -> bytes:
    too_large = FeedUnreachable(
        Trouble.TOO_LARGE, host=_host(target), size=f"{limits.body_bytes / 1_000_000:g}", temporary=True
    )
    announced = response.headers.get("content-length", "")
    if not limits.cuts_body and announced.isascii() and announced.isdigit() and int(announced) > limits.body_bytes:
        raise too_large
    body = bytearray()
    for piece in _decoded(_limited(response.iter_raw(_CHUNK_BYTES), limits, too_large), response, target):
        body += piece
        if limits.cuts_body and len(body) >= limits.body_bytes:
            break
        if len(body) > limits.body_bytes:
            raise too_large
    # Not a slice, which would be a third copy of what may be 10 MB.
    del body[limits.body_bytes :]
    return bytes(body)


def _limited(pieces: Iterator[bytes], limits: FetchLimits, too_large: FeedUnreachable) -> Iterator[bytes]:
    """Count what came over the wire too: compressed data may go on for ever and unpack to nothing."""
    received = 0
    for piece in pieces:
        received += len(piece)
        if received > limits.body_bytes and not limits.cuts_body:
            raise too_large
        yield piece
        if received > limits.body_bytes:
            return


def _decoded(pieces: Iterator[bytes], response: httpx.Response, target: httpx.URL) -> Iterator[bytes]:
    """Undo the content encoding in bounded pieces; httpx would unpack a whole network read, a thousandfold, at once."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        yield from pieces
        return
    if coding not in _ZLIB_WINDOWS:
        raise FeedUnreachable(Trouble.ENCODING, host=_host(target), coding=coding[:40], temporary=True)
    unpacker = None
    for received in pieces:
        if unpacker is None:
            unpacker = zlib.decompressobj(_window(coding, received))
        waiting = received
        while waiting and not unpacker.eof:
            yield unpacker.decompress(waiting, _CHUNK_BYTES)
            waiting = unpacker.unconsumed_tail
    while unpacker is not None and not unpacker.eof:
        rest = unpacker.decompress(b"", _CHUNK_BYTES)
        if not rest:
            raise zlib.error("the compressed stream has no end")
        yield rest


def _window(coding: str, start: bytes) -> int:
    """Servers disagree whether "deflate" has a zlib header (RFC 9110 8.4.1.2 says it does)."""
    has_zlib_header = len(start) > 1 and start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
    return _RAW_DEFLATE if coding == "deflate" and not has_zlib_header else _ZLIB_WINDOWS[coding]


@contextlib.contextmanager
def _explained(target: httpx.URL, limits: FetchLimits) -> Iterator[None]:
    host = _host(target)
    try:
        yield
    except network.AddressRefused as error:
        literal = target.host == str(error.address)
        trouble = Trouble.PRIVATE if literal else Trouble.PRIVATE_NAME
        raise FeedUnreachable(trouble, host=host, address=str(error.address), temporary=False) from error
    except network.NameUnknown as error:
        raise FeedUnreachable(Trouble.NAME_UNKNOWN, host=target.host, temporary=True) from error
    except network.OutOfTime as error:
        seconds = f"{limits.total_seconds:g}"
        raise FeedUnreachable(Trouble.NOT_FINISHED, host=host, seconds=seconds, temporary=True) from error
    except httpcore.ConnectTimeout as error:
        seconds = f"{limits.connect_seconds:g}"
        raise FeedUnreachable(Trouble.NOT_ANSWERED, host=host, seconds=seconds, temporary=True) from error
    except httpcore.ConnectError as error:
        raise _connect_failure(host, error) from error
    except zlib.error as error:
        raise FeedUnreachable(Trouble.COMPRESSION, host=host, temporary=True) from error
    except (httpx.InvalidURL, httpx.RemoteProtocolError, UnicodeError) as error:
        # httpx looks at a redirect's address even when told not to follow; nothing else of its own fails here.
        raise _astray(target) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpx.HTTPError) as error:
        raise FeedUnreachable(Trouble.BROKE_OFF, host=host, temporary=True) from error


def _connect_failure(host: str, error: httpcore.ConnectError) -> FeedUnreachable:
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FeedUnreachable(Trouble.CERTIFICATE, host=host, detail=cause.verify_message, temporary=True)
    if isinstance(cause, ssl.SSLError):
        return FeedUnreachable(Trouble.ENCRYPTION, host=host, detail=cause.reason or "TLS error", temporary=True)
    is_refused = isinstance(cause, ConnectionRefusedError)
    return FeedUnreachable(Trouble.CONNECTION_REFUSED if is_refused else Trouble.NOT_REACHED, host=host, temporary=True)


def _next_target(current: httpx.URL, location: str | None) -> httpx.URL:
    """Return where a redirect leads; the password travels along only while the host, or its https twin, stays."""
    if not location:
        raise FeedUnreachable(Trouble.REDIRECT_NOWHERE, host=_host(current), temporary=True)
    try:
        target = urls.web_address(str(current.join(location)))
    except (httpx.InvalidURL, ValueError):
        target = None
    if target is None:
        raise _astray(current)
    return target.copy_with(userinfo=current.userinfo if _same_site(current, target) else b"")


def _astray(current: httpx.URL) -> FeedUnreachable:
    return FeedUnreachable(Trouble.REDIRECT_ASTRAY, host=_host(current), temporary=True)


def _same_site(current: httpx.URL, target: httpx.URL) -> bool:
    if current.host != target.host:
        return False
    if (current.scheme, current.port) == (target.scheme, target.port):
        return True
    return (current.scheme, current.port, target.scheme, target.port) == ("http", None, "https", None)


def _host(address: httpx.URL) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return host if address.port is None else f"{host}:{address.port}"


def _status(code: int) -> str:
    # The server's own reason phrase is a stranger's text.
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _kept(value: str | None) -> str | None:
    """Return a header's value if it can be stored and sent back as it is."""
    usable = value and value.isascii() and value.isprintable() and len(value) <= _LONGEST_HEADER
    return value if usable else None
