"""The pages of the local inbox: a list, and each message as a reader's program would show it. No scripts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message as EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mailer.embedded.inbox_store import Message, Store, as_json, decode

_PAGE_LENGTH: Final = 100
_REFRESH_SECONDS: Final = 4
_VIEWS: Final = {
    "html": "HTML",
    "phone": "Phone",
    "dark": "Dark",
    "text": "Text",
    "headers": "Headers",
    "source": "Source",
}
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# What came by mail is a stranger's document: no script, no form, no origin of its own. Links open outside the sandbox,
# since the page behind one (a confirmation, say) needs its own forms to work.
_MAIL_HEADERS: Final = _PAGE_HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; img-src https: http: data:; font-src https: http: data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        "sandbox allow-popups allow-popups-to-escape-sandbox"
    )
}
_SCHEME_QUERY = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)", re.IGNORECASE)
_HEAD = re.compile(r"<head(?:\s[^>]*)?>|(?<=>)(?=\s*<(?:meta|title|style|body))", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Bodies:
    html: str | None
    text: str | None


class _Pages:
    """The endpoints; they read the one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def index(self, request: Request) -> Response:
        messages = self._store.newest_first()
        page = min(_page_number(request), max(1, -(-len(messages) // _PAGE_LENGTH)))
        shown = messages[(page - 1) * _PAGE_LENGTH : page * _PAGE_LENGTH]
        context = {
            "messages": shown,
            "count": len(messages),
            "older": page + 1 if page * _PAGE_LENGTH < len(messages) else None,
            "newer": page - 1 if page > 1 else None,
            "refresh_seconds": _REFRESH_SECONDS if page == 1 else None,
        }
        return self._render("inbox_list.html", context)

    async def message(self, request: Request) -> Response:
        message, content = self._read(request)
        parsed = BytesParser().parsebytes(content)
        bodies = _bodies(parsed)
        view = request.query_params.get("view", "html" if bodies.html is not None else "text")
        if view not in _VIEWS:
            raise HTTPException(404, "There is no such view.")
        context = {
            "message": message,
            "views": _VIEWS,
            "view": view,
            "bodies": bodies,
            "headers": [(name, decode(str(value))) for name, value in parsed.raw_items()],
            "source": content.decode(errors="replace") if view == "source" else "",
            "size_bytes": len(content),
        }
        return self._render("inbox_message.html", context)

    async def html(self, request: Request) -> Response:
        _, content = self._read(request)
        html = _bodies(BytesParser().parsebytes(content)).html
        if html is None:
            raise HTTPException(404, "This message has no HTML part.")
        scheme = "dark" if request.query_params.get("scheme") == "dark" else "light"
        return HTMLResponse(_as_seen(html, scheme), headers=_MAIL_HEADERS)

    async def source(self, request: Request) -> Response:
        message, content = self._read(request)
        disposition = {"Content-Disposition": f'attachment; filename="{message.id}.eml"'}
        return Response(content, media_type="message/rfc822", headers=_MAIL_HEADERS | disposition)

    async def messages_json(self, _request: Request) -> Response:
        return JSONResponse([as_json(message) for message in self._store.newest_first()], headers=_PAGE_HEADERS)

    async def message_json(self, request: Request) -> Response:
        return JSONResponse(as_json(self._read(request)[0]), headers=_PAGE_HEADERS)

    def _read(self, request: Request) -> tuple[Message, bytes]:
        message = self._store.find(request.path_params["id"])
        try:
            if message is not None:
                return message, self._store.content(message)
        except FileNotFoundError:
            pass
        raise HTTPException(404, "This message is not kept here, or no longer.")

    def _render(self, template: str, context: Mapping[str, object]) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(context), headers=_PAGE_HEADERS)


def create_app(store: Store) -> Starlette:
    """Return the web application that shows a store's messages, and gives them as JSON under /messages.json."""
    pages = _Pages(store)
    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/messages.json", pages.messages_json),
            Route("/messages/{id:str}.json", pages.message_json),
            Route("/messages/{id:str}.eml", pages.source),
            Route("/messages/{id:str}/html", pages.html),
            Route("/messages/{id:str}", pages.message),
        ]
    )


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "1")
    return int(text) if text.isdecimal() and 0 < int(text) < 1000 else 1


def _bodies(message: EmailMessage) -> _Bodies:
    """Return the first HTML and the first plain text part that is no attachment, decoded as well as can be."""
    found: dict[str, str] = {}
    for part in message.walk():
        if part.is_multipart() or part.get_content_disposition() == "attachment":
            continue
        found.setdefault(part.get_content_type(), _text_of(part))
    return _Bodies(html=found.get("text/html"), text=found.get("text/plain"))


def _text_of(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"), errors="replace")
    except (LookupError, ValueError):  # a charset that does not exist
        return content.decode(errors="replace")


def _as_seen(html: str, scheme: str) -> str:
    """Prepare a mail's HTML for the frame: links open outside it, and it believes that the reader prefers `scheme`."""
    html = _SCHEME_QUERY.sub(
        lambda query: "(min-width:0)" if query.group(1).lower() == scheme else "(max-width:0)", html
    )
    extra = f'<base target="_blank"><style>:root{{color-scheme:{scheme}}}</style>'
    return _HEAD.sub(lambda head: head.group() + extra, html, count=1) if _HEAD.search(html) else extra + html
