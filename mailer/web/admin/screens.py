"""From plain values to a page of the desk, and from what went wrong to a sentence on one."""

import functools
import math
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mailer import i18n, queue, settings
from mailer.articles import topics
from mailer.audience import readers, subscriptions
from mailer.db import transaction
from mailer.delivery import remedies, servers, settling
from mailer.issues import amending, approvals, issues, schedules
from mailer.models.accounts import Role
from mailer.models.audit import Actor
from mailer.newsroom import accounts, newsletters, team, webhooks
from mailer.web import dependencies, pages, recording
from mailer.web.admin import acts, kept, menu, settings_pages, words
from mailer.web.admin.session import (
    Desk,
    FormForged,
    RoleLacking,
    SecondFactorRequired,
    SignInRequired,
    check_origin,
    csrf_token,
    declared,
    read_form,
)

# With no-referrer, browsers would send "Origin: null" along with our own forms.
HEADERS: Final = {"Referrer-Policy": "same-origin", "X-Robots-Tag": "noindex"}
# Scripts are files of ours; they fetch from here only.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' https: data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FRAMING_POLICY: Final = f"{POLICY}; frame-src 'self'"
# A page that stands in a frame of ours.
FRAMED_POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)
# How the desk looks in a browser, whatever the device: kept in a cookie, so that the first paint is right.
THEME_COOKIE: Final = "mailer_theme"
THEMES: Final = {"system": "As the device", "light": "Light", "dark": "Dark"}
# What a page says once after a button; the address carries only the word.
NOTICES: Final = {
    "token-revoked": "The token lets nobody in any more.",
    "webhook-called": "It is called within seconds; load this page again to see how it went.",
    "webhook-removed": "The webhook is removed.",
    "saved": "Your changes are saved.",
    "invited": "The invitation is on its way.",
    "password": "Your password is changed. You are signed out everywhere else.",
    "signed-out": "Signed out there.",
    "drafted": "The issue is drafted. Nothing leaves before you send it.",
    "scheduled": "The issue is scheduled.",
    "unscheduled": "The issue is a draft again.",
    "leaving": "The issue leaves within seconds.",
    "approved": "You agreed to this issue. If anything in it changes, that counts no longer.",
    "disapproved": "Your consent is taken back.",
    "changed-meanwhile": "Somebody changed this issue after you opened it, so nothing was done. Look it through again.",
    "undone": "The issue is a draft again. Nothing left.",
    "duplicated": "The copy is a draft. Nothing leaves before you send it.",
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
    "added": "The article is added.",
    "there-already": "The article is in the issue already.",
    "no-address": "That is not the address of a page; it must start with https://.",
    "no-article": "No article can be read at that address.",
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
    "segment-saved": "The segment is saved. Its address can be shared with everybody at the desk.",
    "segment-deleted": "The segment is deleted. Nobody in it was touched.",
    "reader-asked": "The mail that asks to confirm leaves within seconds.",
    "reader-asked-again": "The mail leaves once more within seconds, unless one left a moment ago or too many did today.",
    "reader-added": "The reader is added, with the proof.",
    "reader-ended": "The subscription is ended. No mail of it leaves any more.",
    "reader-changed": "The preferences are changed, from the next issue on.",
    "reader-described": "It is noted, for the mails to come.",
    "reader-unchanged": "It was so already, so nothing was changed.",
    "reader-moving": "The new address is asked by mail. Nothing changes before it agrees.",
    "reader-erased": "Everything about this reader is erased. A hash of the address stays, so that no import brings them back.",
    "readers-ended": "The subscriptions are ended. No mail of them leaves any more.",
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
    readers.ReaderNotFound: 404,
    subscriptions.SubscriptionNotFound: 404,
    RequestValidationError: 404,
    issues.IssueStateForbids: 409,
    issues.IssueEmpty: 409,
    settling.BatchInUse: 409,
    newsletters.NewsletterInvalid: 422,
    schedules.ScheduleInvalid: 422,
    accounts.AccountInvalid: 422,
    accounts.AccountNotFound: 404,
    team.TeamForbids: 409,
    webhooks.WebhookNotFound: 404,
    approvals.ApprovalMissing: 409,
    approvals.ApprovalForbidden: 409,
    servers.ServerNotFound: 404,
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
    """A route that says which role may use it, and whose failures become pages of the desk instead of readers' pages."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Refuse to exist without a role. Raises RoleUndeclared."""
        super().__init__(path, endpoint, **options)
        self.asks_for = declared(self.dependant, f"{endpoint.__module__}.{endpoint.__name__}")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the usual handler."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except SignInRequired:
                return _ask_to_sign_in(request, await _typed(request))
            except SecondFactorRequired:
                return back("/admin/account/second-factor")
            except RoleLacking as error:
                return problem(request, 403, lacking=error.role)
            except tuple(_STATUS) as error:
                status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
                detail = "" if status in (403, 404) else str(error)
                return problem(request, status, detail=detail, typed=await _typed(request))
            if request.method not in ("GET", "HEAD") and response.status_code < 400:
                await run_in_threadpool(self._record, request)
            return response

        return answer

    def _record(self, request: Request) -> None:
        """Enter what was done into the audit log, unless nobody is signed in or the route changed nothing."""
        desk: Desk | None = getattr(request.state, "desk", None)
        if desk is None or getattr(request.state, "changed_nothing", False):
            return
        act = recording.with_button(recording.action(self.endpoint), desk.typed("act"))
        recording.record(request, act, actor=Actor.ACCOUNT, actor_id=desk.account_id, actor_name=desk.name)


def render(
    request: Request, desk: Desk, template: str, *, here: str, status: int = 200, **values: object
) -> HTMLResponse:
    """Render templates/admin/`template`.html for the account at the desk. `here` is the entry of the menu."""
    return _page(template, _context(request, desk, here) | values, status)


def _context(request: Request, desk: Desk, here: str) -> dict[str, object]:
    chosen = settings.load()
    notice = NOTICES.get(request.query_params.get("done", ""))
    with transaction() as database:
        waiting = menu.waiting(database, desk.newsletter_ids)
        is_caught = servers.is_sandbox(database)
        has_server = bool(servers.routes(database))
    notes = menu.notes(desk.language, waiting)
    return {
        **_basics(desk.language),
        "desk": desk,
        "here_path": request.url.path,
        "waiting": waiting,
        "menu": [(path, label, name == here, notes.get(name, "")) for name, path, label in menu.ENTRIES],
        "settings_pages": settings_pages.PAGES,
        "sandbox": is_caught,
        "has_server": has_server,
        "inbox_url": chosen.inbox_url,
        "notice": notice,
        "errors": {},
        "refresh_seconds": None,
        "has_htmx": False,
        "theme": theme if (theme := request.cookies.get(THEME_COOKIE)) in THEMES else "system",
        "themes": list(THEMES.items()),
        "acts_of": acts.of,
        "when": functools.partial(words.moment, desk.language),
        "distance": lambda value: words.distance(desk.language, value, desk.now),
        "explanations": remedies.EXPLANATIONS,
        "decision": functools.partial(words.decision, desk.language),
        "reason": functools.partial(words.reason, desk.language),
        "change_words": functools.partial(words.change, desk.language),
        "slot_words": functools.partial(words.slot, desk.language),
        "choice_words": functools.partial(words.choice, desk.language),
        "status_words": functools.partial(words.status, desk.language),
    }


def fragment(language: str, template: str, **values: object) -> str:
    """Render a part of a page by itself, for a script that puts it in place of the old one."""
    context = {**_basics(language), "reason": functools.partial(words.reason, language), **values}
    return pages.environment().get_template(f"admin/{template}.html").render(context)


def render_outside(
    request: Request, template: str, *, status: int = 200, language: str | None = None, **values: object
) -> HTMLResponse:
    """Render a page without the desk around it, in the browser's language unless another is given."""
    return _page(template, {**_basics(language or dependencies.desk_language(request)), **values}, status)


def sign_in(
    request: Request, *, leads_to: str, email: str = "", error: str | None = None, held: str = "", status: int = 200
) -> HTMLResponse:
    """Ask for address and password. `held` is a packed form that goes on after that."""
    service = urlsplit(settings.load().oidc_issuer).hostname
    values = {"next": leads_to, "email": email, "error": error, "held": held, "service": service}
    return render_outside(request, "sign_in", status=status, **values)


def wait(request: Request, how_long: timedelta) -> HTMLResponse:
    """Say that there were too many attempts, and when to try again."""
    minutes = math.ceil(how_long.total_seconds() / 60)
    response = render_outside(request, "wait", status=429, minutes=minutes)
    response.headers["Retry-After"] = str(minutes * 60)
    return response


def again(request: Request, held: kept.Kept, *, language: str, token: str) -> HTMLResponse:
    """Show a form that came too late once more, to be sent in the session `token`."""
    return render_outside(request, "again", language=language, held=held, csrf=csrf_token(token))


def problem(
    request: Request, status: int, *, detail: str = "", typed: kept.Kept | None = None, lacking: Role | None = None
) -> HTMLResponse:
    """Say what went wrong and what to do. `detail` is the domain's own sentence; what was typed is there to be copied.

    `lacking` is the role that whoever is signed in does not have.
    """
    values = {"title": _TITLES[status], "advice": _ADVICE[status], "detail": detail}
    if lacking is not None:
        values |= {"title": "Your role does not allow this", "advice": words.LACKING[lacking]}
    return render_outside(request, "problem", status=status, texts=typed.texts if typed else [], **values)


def back(path: str, *, done: str = "", **query: str) -> RedirectResponse:
    """Lead to a page after a button was pressed; `done` is a word of NOTICES."""
    wanted = urlencode({**query, "done": done} if done else query)
    return RedirectResponse(f"{path}?{wanted}" if wanted else path, status_code=303, headers=HEADERS)


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
        "roles": words.ROLES,
        "colors": words.COLORS,
    }


def _page(template: str, context: dict[str, object], status: int) -> HTMLResponse:
    html = pages.environment().get_template(f"admin/{template}.html").render(context)
    headers = {**HEADERS, "Content-Security-Policy": POLICY}
    if context.get("has_frame"):
        headers["Content-Security-Policy"] = FRAMING_POLICY
    if context.get("is_framed"):
        headers["Content-Security-Policy"] = FRAMED_POLICY
    return HTMLResponse(html, status_code=status, headers=headers)
