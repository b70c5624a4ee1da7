"""What surrounds every page: security headers, a page instead of a stack trace, and a limit on what is sent to us."""

import asyncio
import logging
import re
import secrets
import traceback
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailer import settings
from mailer.audience import subscriptions
from mailer.counting import tracked
from mailer.mail_settings import LOOPBACK_HOSTS
from mailer.web import errors

PUBLIC_BODY_BYTES: Final = 64 * 1024
# A push may carry the whole text of many articles.
BODY_BYTES: Final = {"/admin": 1024 * 1024, "/api/": 8 * 1024 * 1024}
# Longest wait for a whole request body.
BODY_SECONDS: Final = 10.0

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Nearly every page shows an address or opens with a token; the few others say so themselves.
    "Cache-Control": "no-store",
}
_HSTS: Final = "max-age=31536000"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_%-]{32,}=*")

log = structlog.get_logger()


class _TooLarge(Exception):
    """The request's body is larger than any form of ours."""


class SecurityHeaders:
    """Add the headers that every answer carries, unless the page has set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in fixed_headers().items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Incidents:
    """Answer what nobody foresaw with a page that names an incident, and log where it happened under that name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except Exception as error:  # noqa: BLE001 - the outermost loop
            incident = secrets.token_hex(4)
            # Not the error's text: a database's names the address that it stumbled over.
            frames = traceback.format_tb(error.__traceback__)
            log.error("unexpected error", incident=incident, error=type(error).__qualname__, traceback="".join(frames))
            if not has_started:
                response = await run_in_threadpool(errors.page, Request(scope), 500, incident=incident)
                await response(scope, receive, send)


class BodyLimit:
    """Read a request's body before anything parses it, and refuse one that is too large or too slow."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        limit = next((most for path, most in BODY_BYTES.items() if scope["path"].startswith(path)), PUBLIC_BODY_BYTES)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_body(Headers(scope=scope), receive, limit)
        except _TooLarge:
            await (await run_in_threadpool(errors.page, Request(scope), 413))(scope, receive, send)
            return
        except TimeoutError:
            await (await run_in_threadpool(errors.page, Request(scope), 408))(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)


def fixed_headers() -> dict[str, str]:
    """Return the headers that every answer carries, unless the page has set its own."""
    return _HEADERS | {"Strict-Transport-Security": _HSTS} if _is_https_for_good() else _HEADERS


def without_secrets(record: logging.LogRecord) -> bool:
    """Cut tokens, query and the reader's address out of a line of uvicorn's access log; leave out what is asked by thousands."""
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, version, status = record.args
        if str(path).startswith((tracked.CLICK_PATH, tracked.OPEN_PATH)):
            return False
        network = subscriptions.truncate(str(client).rpartition(":")[0].strip("[]"))
        shown = _TOKEN.sub("…", str(path).partition("?")[0])
        record.args = (network or "-", method, shown, version, status)
    return True


def _is_https_for_good() -> bool:
    # A browser would remember it for every port of localhost, and open no other program there.
    chosen = settings.load()
    return chosen.public_url.startswith("https://") and chosen.public_host not in LOOPBACK_HOSTS


async def _read_body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """Return the body; None if the client went away."""
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _TooLarge
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise _TooLarge
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_read = False

    async def replay() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
