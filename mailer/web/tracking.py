"""The addresses that machines ask for most, in front of all else: pixels, counted links, one-click unsubscribing.

Plain ASGI and no database: a signature is checked, a record goes to the local queue (events.py), and the answer leaves.
After an issue to a million readers there are a thousand of these a second.
"""

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer import clock, links, settings
from mailer.audience import subscriptions
from mailer.counting import events, tracked, tracking
from mailer.db import transaction
from mailer.links import Purpose
from mailer.web import dependencies, middleware

QUEUE_FOLDER: Final = "web"
# One transparent point.
PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01"
    b"\x00\x00\x02\x02D\x01\x00;"
)
_ONE_CLICK_START: Final = "/u/"
_ONE_CLICK_END: Final = "/one-click"
# What a Location header may hold as it is (RFC 3986 2); all else is percent-encoded.
_IN_LOCATION: Final = "%/:?#[]@!$&'()*+,;=~"

Header = tuple[bytes, bytes]
# Mail is read in pages of other sites, which must be allowed to show it.
_PIXEL_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"image/gif"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)


class _TooLong(Exception):
    """The request's body is longer than any of its kind."""


class Front:
    """Answers what it knows, and passes everything else on."""

    def __init__(self, app: ASGIApp, recorder: events.Recorder) -> None:
        """`recorder` takes what is to be noted."""
        self._app, self._recorder = app, recorder
        # Nothing is kept anywhere, and the next site does not learn of the token.
        fixed = {**middleware.fixed_headers(), "X-Robots-Tag": "noindex"}
        self._headers = tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in fixed.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if method in ("GET", "HEAD"):
                if path.startswith(tracked.CLICK_PATH):
                    return await self._click(scope, receive, send)
                if path.startswith(tracked.OPEN_PATH):
                    return await self._open(scope, send)
            elif method == "POST" and path.startswith(_ONE_CLICK_START) and path.endswith(_ONE_CLICK_END):
                return await self._one_click(scope, receive, send)
        return await self._app(scope, receive, send)

    async def _click(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead to where the link of the mail led; one that was cut or changed gets the page for that."""
        token = scope["path"][len(tracked.CLICK_PATH) :]
        try:
            mark, target = tracked.read_click(token, scope["query_string"].decode("latin-1"))
        except links.TokenInvalid:
            await self._app(scope, receive, send)
            return
        self._note(scope, mark)
        await self._answer(send, 302, ((b"location", quote(target, safe=_IN_LOCATION).encode("ascii")),))

    async def _open(self, scope: Scope, send: Send) -> None:
        """Give the pixel, whatever its name: a broken picture would help nobody."""
        with contextlib.suppress(links.TokenInvalid):
            self._note(scope, tracked.read_open(scope["path"][len(tracked.OPEN_PATH) :]))
        is_head = scope["method"] == "HEAD"
        await self._answer(send, 200, _PIXEL_HEADERS, b"" if is_head else PIXEL, length=len(PIXEL))

    async def _one_click(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End the subscription for a mail program (RFC 8058): 200 without a body, whatever the token, as often as it asks.

        The body is not looked at: its one sentence says what the address says, and a program that words or encodes it
        oddly still speaks for a reader who wants to leave.
        """
        try:
            async with asyncio.timeout(middleware.BODY_SECONDS):
                await _drain(receive)
        except (_TooLong, TimeoutError):
            await self._answer(send, 413)
            return
        token = scope["path"][len(_ONE_CLICK_START) : -len(_ONE_CLICK_END)]
        try:
            link = links.read(Purpose.ONE_CLICK, token)
        except links.TokenInvalid:
            await self._answer(send, 200)
            return
        origin = dependencies.origin(Request(scope), source=f"issue {link.extra}" if link.extra else "mail")
        try:
            await self._recorder.keep(tracking.left(link.id, origin=origin, now=clock.now()))
        except events.QueueBroken:
            # The disk is full: the page behind asks the database itself.
            await self._app(scope, _nothing_more, send)
            return
        await self._answer(send, 200)

    def _note(self, scope: Scope, mark: tracked.Mark) -> None:
        request = Request(scope)
        agent = request.headers.get("user-agent")
        network = _network(dependencies.client_host(request))
        is_head = scope["method"] == "HEAD"
        with contextlib.suppress(events.QueueBroken):
            self._recorder.note(tracking.seen(mark, agent=agent, network=network, is_head=is_head, now=clock.now()))

    async def _answer(
        self, send: Send, status: int, headers: Sequence[Header] = (), body: bytes = b"", *, length: int = 0
    ) -> None:
        fixed = (*headers, (b"content-length", b"%d" % length), *self._headers)
        await send({"type": "http.response.start", "status": status, "headers": fixed})
        await send({"type": "http.response.body", "body": body})


def new_recorder() -> events.Recorder:
    """Make what takes this process's records; it begins when it is told or at the first record."""
    return events.Recorder(settings.load().journal_dir / QUEUE_FOLDER, _apply)


def _apply(spool: str, number: int, records: Sequence[events.Record]) -> None:
    try:
        with transaction() as session:
            tracking.apply(session, spool, number, records, now=clock.now())
    except DataError:
        raise
    except (DBAPIError, PoolExhausted) as error:
        # Away, read-only, not migrated yet; or a reader was erased this very moment, which the next try sees.
        raise events.Unavailable(type(error).__qualname__) from error


@functools.lru_cache(maxsize=4096)
def _network(host: str | None) -> str | None:
    return subscriptions.truncate(host)


async def _drain(receive: Receive) -> None:
    """Read a request's body to its end."""
    size, is_more = 0, True
    while is_more:
        message = await receive()
        size, is_more = size + len(message.get("body", b"")), message.get("more_body", False)
        if size > middleware.PUBLIC_BODY_BYTES:
            raise _TooLong


async def _nothing_more() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}
