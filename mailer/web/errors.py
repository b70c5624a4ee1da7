"""From what went wrong to a page that says what to do: exceptions become HTTP here, those of links in dead_links.py."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import structlog
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mailer.issues import issues
from mailer.newsroom import newsletters
from mailer.web import dependencies, faces, pages, problems

# Title and advice by status; others get those of 400.
MESSAGES: Final = {
    400: ("This request can’t be understood", "Go back and try again."),
    404: ("Page not found", "The address may have been cut or mistyped. Check that it is complete."),
    405: ("This page can’t be used that way", "Go back and use the button of the page."),
    408: ("That took too long", "The connection is slow or was cut. Try again."),
    413: ("That is too much", "What was sent is longer than any form here. Go back and shorten it."),
    422: ("Part of the form can’t be read", "Go back and fill it in again."),
    429: (
        "Too many attempts, try again in 10 minutes",
        "Many requests came from where you are. This pause keeps robots out; you need do nothing else.",
    ),
    500: ("A problem on our side", "It is not your doing. Try again in a few minutes."),
    503: ("We will be back in a few minutes", "The service is interrupted for a moment. Try again soon."),
}

log = structlog.get_logger()


def page(request: Request, status: int, *, incident: str | None = None, reads: bool = True) -> Response:
    """Build the page for a status, as the newsletter looks that the address names, or else the publisher.

    `incident` is a name that the operator finds in the log. `reads` False: without asking the database.
    """
    if request.url.path.startswith(problems.PREFIX):
        return problems.of_status(status, incident=incident)
    title, advice = MESSAGES.get(status, MESSAGES[400])
    look = faces.of(request)
    newsletter, house = look.named_by(request, reads=reads), look.house(reads=reads)
    language = dependencies.language(request, newsletter.language if newsletter else None)
    values = {"title": title, "advice": advice, "incident": incident, "newsletter": newsletter, "face": house}
    return pages.render(request, "error", language=language, status=status, here=here(request), **values)


def here(request: Request) -> str | None:
    """Return where the same page is in another language; None after a form. Never the address of another site."""
    return quote(f"/{request.url.path.lstrip('/')}") if request.method in ("GET", "HEAD") else None


def _http(request: Request, error: HTTPException) -> Response:
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    response = page(request, error.status_code)
    response.headers.update(error.headers or {})
    return response


def _unreadable(request: Request, error: RequestValidationError) -> Response:
    is_path = any(problem["loc"][:1] == ("path",) for problem in error.errors())
    return page(request, 404 if is_path else 422)


def _not_found(request: Request, _error: Exception) -> Response:
    return page(request, 404)


def _unavailable(request: Request, error: Exception) -> Response:
    log.error("database unavailable", error=type(error).__qualname__)
    response = page(request, 503, reads=False)
    response.headers["Retry-After"] = "60"
    return response


HANDLERS: Final[dict[int | type[Exception], Callable[[Request, Any], Any]]] = {
    HTTPException: _http,
    RequestValidationError: _unreadable,
    newsletters.NewsletterNotFound: _not_found,
    issues.IssueNotFound: _not_found,
    OperationalError: _unavailable,
}
