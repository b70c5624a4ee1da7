"""Pages for everybody: the newsletters, the sign-up form, "check your inbox", an issue on the web."""

import re
from datetime import timedelta
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Form, Path
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mailer import addresses, clock, i18n, issues, newsletters, queue, subscriptions
from mailer.db import transaction
from mailer.models.content import IssueState, Newsletter
from mailer.web import dependencies, pages, rhythm

router = APIRouter()

# Which wording a reader agreed to, in the consent log. Raise it when the words of the form change (a test tells).
FORM_VERSION: Final = "1"
# How long "check your inbox" shows the address that this browser typed.
SHOW_ADDRESS: Final = timedelta(hours=1)
# A public copy has its styles inside and pictures from the publisher's site; whatever an article smuggled in stays inert.
ISSUE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src https: data: http://localhost:*; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
_SOURCE: Final = re.compile(r"[\w.:/-]{1,100}")

log = structlog.get_logger()


class SignupForm(BaseModel):
    """What a form sends, ours or one on the publisher's site."""

    email: str = ""
    lang: str = ""
    source: str = ""
    # A field that people don't see and robots fill in.
    website: str = ""


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """List the newsletters."""
    language = dependencies.language(request)
    with transaction() as session:
        listed = [
            (pages.publication(one), rhythm.promise(language, _cron(one)))
            for one in newsletters.all_newsletters(session)
        ]
    return pages.render(request, "index", language=language, listed=listed, is_public=True)


@router.api_route("/check-inbox", methods=["GET", "HEAD"])
def check_inbox(request: Request) -> Response:
    """Tell what happens next (R2). The address comes from the sign-up that this browser made a moment ago."""
    request_id = dependencies.remembered_signup(request, lifetime=SHOW_ADDRESS, now=clock.now())
    newsletter = address = known_language = None
    with transaction() as session:
        asked = subscriptions.get_request(session, request_id) if request_id else None
        if asked is not None:
            newsletter = pages.publication(session.get_one(Newsletter, asked.newsletter_id))
            address, known_language = asked.address, asked.language
    language = dependencies.language(request, known_language)
    return pages.render(request, "check_inbox", language=language, newsletter=newsletter, address=address)


@router.api_route("/preferences", methods=["GET", "HEAD"])
def preferences(request: Request) -> Response:
    """Tell where the link to one's preferences is found (R7)."""
    with transaction() as session:
        listed = [pages.publication(one) for one in newsletters.all_newsletters(session)]
    language = dependencies.language(request, *(one.language for one in listed[:1]))
    return pages.render(request, "find_preferences", language=language, listed=listed)


@router.api_route("/i/{issue_id}", methods=["GET", "HEAD"])
def issue(issue_id: Annotated[int, Path(ge=1, lt=2**63)]) -> Response:
    """Show an issue as everybody may see it, without any reader's link (R14)."""
    with transaction() as session:
        found = issues.get(session, issue_id)
    if found.web_html is None or found.started_at is None:
        raise issues.IssueNotFound(f"Issue {issue_id} was not sent.")
    headers = {
        "Content-Security-Policy": ISSUE_POLICY,
        "Cache-Control": "public, max-age=300",
        "X-Robots-Tag": "noindex",
    }
    return HTMLResponse(found.web_html, headers=headers)


@router.api_route("/s/{slug}", methods=["GET", "HEAD"])
def back_to_form(request: Request, slug: str) -> Response:
    """Lead somebody who reloads the page of an error back to the form."""
    with transaction() as session:
        newsletter = find(session, slug)
    query = f"?lang={chosen}" if (chosen := dependencies.chosen_language(request)) else ""
    return RedirectResponse(f"/{newsletter.slug}{query}", status_code=303)


@router.post("/s/{slug}")
def subscribe(request: Request, slug: str, typed: Annotated[SignupForm, Form()]) -> Response:
    """Take what somebody typed. The answer never tells whether the address is known: nothing here looks (R1e, R2)."""
    now = clock.now()
    response = RedirectResponse("/check-inbox", status_code=303)
    with transaction() as session:
        newsletter = find(session, slug)
        language = dependencies.language(request, *_spoken(typed.lang), newsletter.language)
        try:
            address = addresses.normalise(typed.email)
        except addresses.AddressInvalid:
            return _form(request, session, newsletter, language=language, typed=typed, is_new=False)
        if typed.website:
            return response
        version = f"page-{FORM_VERSION}/{language}"
        origin = dependencies.origin(request, source=_clean_source(typed.source), form_version=version)
        request_id = subscriptions.request(session, newsletter, address, language=language, origin=origin, now=now)
    ring_for_signup(request_id)
    dependencies.remember_signup(response, request_id, now=now)
    return response


@router.api_route("/{slug}", methods=["GET", "HEAD"])
def form(request: Request, slug: str, email: str = "", source: str = "") -> Response:
    """Show the sign-up form (R1). ?email= fills it in, ?source= says where the link stood."""
    with transaction() as session:
        newsletter = find(session, slug)
        language = dependencies.language(request, newsletter.language)
        typed = SignupForm(email=email, source=source)
        return _form(request, session, newsletter, language=language, typed=typed, is_new=True)


def find(session: Session, slug: str) -> Newsletter:
    """Find a newsletter by what stands in an address. Raises NewsletterNotFound."""
    if not newsletters.SLUG.match(slug):
        raise newsletters.NewsletterNotFound("There is no such newsletter.")
    return newsletters.get(session, slug)


def latest_issue_path(session: Session, newsletter: Newsletter) -> str | None:
    """Return the path of the newest issue that readers have; None before the first."""
    found = issues.latest(session, newsletter.id, limit=1, states=(IssueState.SENDING, IssueState.SENT))
    return f"/i/{found[0].id}" if found else None


def ring_for_signup(request_id: int) -> None:
    """Have a worker answer a sign-up at once. If Redis is away, the tick finds it within seconds."""
    try:
        queue.enqueue(queue.HANDLE_SIGNUP, request_id)
    except queue.QueueUnavailable as error:
        log.warning("queue unavailable", request=request_id, error=str(error))


def _form(
    request: Request, session: Session, newsletter: Newsletter, *, language: str, typed: SignupForm, is_new: bool
) -> Response:
    error = None
    if not is_new:
        error = "Enter a full address, like name@example.com" if typed.email.strip() else "Enter your email address"
    return pages.render(
        request,
        "form",
        language=language,
        status=200 if is_new else 422,
        newsletter=pages.publication(newsletter),
        promise=rhythm.promise(language, _cron(newsletter)),
        latest_issue=latest_issue_path(session, newsletter),
        email=typed.email[: addresses.MAX_LENGTH],
        source=_clean_source(typed.source),
        error=error,
        here=f"/{newsletter.slug}",
        is_public=is_new,
    )


def _cron(newsletter: Newsletter) -> str | None:
    return None if newsletter.is_paused else newsletter.cron


def _spoken(lang: str) -> list[str]:
    return [lang] if lang in i18n.LANGUAGES else []


def _clean_source(source: str) -> str | None:
    return source if _SOURCE.fullmatch(source) else None
