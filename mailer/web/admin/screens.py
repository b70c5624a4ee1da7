"""From plain values to a page of the desk, and from what went wrong to a sentence on one."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mailer import i18n, queue, settings
from mailer.articles import topics
from mailer.delivery import remedies, settling
from mailer.issues import amending, issues, schedules
from mailer.newsroom import accounts, newsletters
from mailer.web import dependencies, pages
from mailer.web.admin import kept, words
from mailer.web.admin.session import Desk, FormForged, SignInRequired, check_origin, csrf_token, read_form

# With no-referrer, browsers would send "Origin: null" along with our own forms.
HEADERS: Final = {"Referrer-Policy": "same-origin", "X-Robots-Tag": "noindex"}
FRAMING_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; frame-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# A page that stands in a frame of ours.
FRAMED_POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)
MENU: Final = (
    ("overview", "/admin", "Overview"),
    ("issues", "/admin/issues", "Issues"),
    ("subscribers", "/admin/subscribers", "Subscribers"),
    ("newsletters", "/admin/newsletters", "Newsletters"),
    ("forms", "/admin/forms", "Forms"),
)
# What a page says once after a button; the address carries only the word.
NOTICES: Final = {
    "saved": "Your changes are saved.",
    "drafted": "The issue is drafted. Nothing leaves before you send it.",
    "scheduled": "The issue is scheduled.",
    "unscheduled": "The issue is a draft again.",
    "leaving": "The issue leaves within seconds.",
    "paused": "Sending is paused. What is already being handed over ends within seconds.",
    "resumed": "Sending goes on.",
    "cancelled": "The rest is cancelled. What was accepted stays accepted.",
    "pulled": "The article is out of the rest of the issue, and of the web copy.",
    "replaced": "The rest of the issue gets the article as it is now.",
    "corrected": "The web copies are corrected. The next issue tells the readers who were given the article.",
    "settled-resend": "They are sent again within seconds.",
    "settled-accepted": "They are counted as accepted.",
    "settled-refused": "They are counted as refused.",
    "settled-nothing": "Nothing was uncertain any more, so nothing was changed.",
    "reopened": "The issue is a draft again.",
    "checked": "The mail, its links and its pictures are checked.",
    "arranged": "The articles are rearranged.",
    "automatic": "The articles are in automatic order again.",
    "feed-added": "The feed is added; it is read within seconds.",
    "feed-removed": "The feed is removed; its articles stay.",
    "article-hold": "The article is held. No issue takes it until it is released.",
    "article-release": "The article is released and counts as first seen now.",
    "article-release-all": "All held articles are released and count as first seen now.",
    "article-withdraw": "The article is withdrawn. No issue takes it by itself.",
    "article-unpin": "The article is no longer pinned.",
    "article-picture": "The pictures that could not be had are fetched once more within seconds.",
    "pinned": "The article stands first until then.",
    "ranked": "The topics are ranked anew.",
    "topic-deleted": "The topic is deleted.",
    "feed-read": "The feed is read within seconds; load this page again to see how it went.",
}
_STATUS: Final[dict[type[Exception], int]] = {
    FormForged: 403,
    issues.IssueNotFound: 404,
    newsletters.NewsletterNotFound: 404,
    newsletters.FeedNotFound: 404,
    topics.TopicNotFound: 404,
    newsletters.ArticleNotFound: 404,
    amending.ArticleNotFound: 404,
    RequestValidationError: 404,
    issues.IssueStateForbids: 409,
    issues.IssueEmpty: 409,
    settling.BatchInUse: 409,
    newsletters.NewsletterInvalid: 422,
    schedules.ScheduleInvalid: 422,
    accounts.AccountInvalid: 422,
}
_TITLES: Final = {
    401: "Sign in first",
    403: "This form can’t be accepted",
    404: "There is no such page",
    409: "That is not possible any more",
    422: "Something in the form needs a change",
    429: "Too many attempts",
}
_ADVICE: Final = {
    401: "Your session is over. Nothing was changed; sign in and do it again.",
    403: "It does not come from this session. Open the page again and repeat what you did.",
    404: "The address may be mistyped, or what it showed is gone.",
    409: "The issue changed meanwhile, or has nothing to send. Open its page again to see where it stands.",
    422: "Go back and correct it.",
    429: "Wait a minute, then try again.",
}

log = structlog.get_logger()


class DeskRoute(APIRoute):
    """A route whose failures become pages of the desk instead of readers' pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the usual handler."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInRequired:
                return _ask_to_sign_in(request, await _typed(request))
            except tuple(_STATUS) as error:
                status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
                detail = "" if status in (403, 404) else str(error)
                return problem(request, status, detail=detail, typed=await _typed(request))

        return answer


def render(
    request: Request, desk: Desk, template: str, *, here: str, status: int = 200, **values: object
) -> HTMLResponse:
    """Render templates/admin/`template`.html for the account at the desk. `here` is the entry of the menu."""
    chosen = settings.load()
    notice = NOTICES.get(request.query_params.get("done", ""))
    context = {
        **_basics(desk.language),
        "desk": desk,
        "here_path": request.url.path,
        "menu": [(path, label, name == here) for name, path, label in MENU],
        "sandbox": chosen.sandbox,
        "inbox_url": chosen.inbox_url,
        "notice": notice,
        "errors": {},
        "refresh_seconds": None,
        "when": functools.partial(words.moment, desk.language),
        "distance": lambda value: words.distance(desk.language, value, desk.now),
        "explanations": remedies.EXPLANATIONS,
        "decision": functools.partial(words.decision, desk.language),
        "reason": functools.partial(words.reason, desk.language),
        "change_words": functools.partial(words.change, desk.language),
        "slot_words": functools.partial(words.slot, desk.language),
        "choice_words": functools.partial(words.choice, desk.language),
        "status_words": functools.partial(words.status, desk.language),
        **values,
    }
    return _page(template, context, status)


def render_outside(
    request: Request, template: str, *, status: int = 200, language: str | None = None, **values: object
) -> HTMLResponse:
    """Render a page without the desk around it, in the browser's language unless another is given."""
    return _page(template, {**_basics(language or dependencies.desk_language(request)), **values}, status)


def sign_in(
    request: Request, *, leads_to: str, email: str = "", error: str | None = None, held: str = "", status: int = 200
) -> HTMLResponse:
    """Ask for address and password. `held` is a packed form that goes on after that."""
    return render_outside(request, "sign_in", status=status, next=leads_to, email=email, error=error, held=held)


def again(request: Request, held: kept.Kept, *, language: str, token: str) -> HTMLResponse:
    """Show a form that came too late once more, to be sent in the session `token`."""
    return render_outside(request, "again", language=language, held=held, csrf=csrf_token(token))


def problem(request: Request, status: int, *, detail: str = "", typed: kept.Kept | None = None) -> HTMLResponse:
    """Say what went wrong and what to do. `detail` is the domain's own sentence; what was typed is there to be copied."""
    values = {"title": _TITLES[status], "advice": _ADVICE[status], "detail": detail}
    return render_outside(request, "problem", status=status, texts=typed.texts if typed else [], **values)


def back(path: str, *, done: str = "") -> RedirectResponse:
    """Lead to a page after a button was pressed; `done` is a word of NOTICES."""
    return RedirectResponse(f"{path}?done={done}" if done else path, status_code=303, headers=HEADERS)


def ring(name: str, *ids: int) -> None:
    """Have a worker act at once. If Redis is away, the tick finds the work within seconds of its return."""
    try:
        queue.enqueue(name, *ids)
    except queue.QueueUnavailable as error:
        log.warning("queue unavailable", task=name, error=str(error))


async def _typed(request: Request) -> kept.Kept | None:
    """Return a form that one of our own pages sent, if it holds text; the request has been read already."""
    try:
        check_origin(request)
    except FormForged:
        return None
    held = kept.of_form(request.url.path, await read_form(request))
    return held if held.texts else None


def _ask_to_sign_in(request: Request, held: kept.Kept | None) -> Response:
    if held is not None:
        notice = "Your session is over, and nothing was changed yet. Sign in: what you typed is kept."
        return sign_in(request, status=401, leads_to="/admin", error=notice, held=held.packed())
    if request.method not in ("GET", "HEAD"):
        return problem(request, 401)
    return back(f"/admin/sign-in?next={quote(request.url.path)}")


def _basics(language: str) -> dict[str, object]:
    return {
        "language": language,
        "is_public": False,
        "host": settings.load().public_host,
        "_": pages.translation(language),
        "ngettext": pages.plural_translation(language),
        "number": functools.partial(i18n.format_number, language),
        "states": words.STATES,
        "colors": words.COLORS,
    }


def _page(template: str, context: dict[str, object], status: int) -> HTMLResponse:
    html = pages.environment().get_template(f"admin/{template}.html").render(context)
    headers = dict(HEADERS)
    if context.get("has_frame"):
        headers["Content-Security-Policy"] = FRAMING_POLICY
    if context.get("is_framed"):
        headers["Content-Security-Policy"] = FRAMED_POLICY
    return HTMLResponse(html, status_code=status, headers=headers)
