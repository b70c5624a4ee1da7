"""The link in a confirmation mail (R3–R6).

Opening it changes nothing, since mail scanners open every link; the button does. One exception: the browser that filled
in the form, known by its cookie, confirms by opening the link.
"""

from datetime import datetime

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailer import clock, links
from mailer.audience import signups, subscriptions
from mailer.db import transaction
from mailer.models.audience import Subscription, SubscriptionState
from mailer.web import collecting, dependencies, faces, pages, preferences, public

router = APIRouter(prefix="/confirm")


@router.api_route("/{token}", methods=["GET", "HEAD"])
def open_link(request: Request, token: str) -> Response:
    """Ask for the last press of a button, or confirm at once in the browser that filled in the form."""
    now = clock.now()
    with transaction() as session:
        subscription, asked_at = _read(session, token, now=now)
        if asked_at is None or subscription.state == SubscriptionState.ENDED:
            return _expired(request, subscription, token)
        if subscription.state == SubscriptionState.CONFIRMED:
            return _confirmed(request, session, subscription, is_new=False, now=now)
        if _is_same_browser(request, session, subscription, now=now):
            return _confirm(request, session, subscription, asked_at=asked_at, now=now, is_same_browser=True)
        return pages.render(
            request,
            "confirm",
            language=dependencies.language(request, subscription.language),
            newsletter=faces.publication(subscription.newsletter),
            address=subscription.subscriber.address,
            token=token,
        )


@router.post("/{token}")
def press_button(request: Request, token: str) -> Response:
    """Confirm (R4); a second time changes nothing (R4b)."""
    now = clock.now()
    with transaction() as session:
        subscription, asked_at = _read(session, token, now=now)
        if asked_at is None:
            return _expired(request, subscription, token)
        is_same_browser = _is_same_browser(request, session, subscription, now=now)
        return _confirm(request, session, subscription, asked_at=asked_at, now=now, is_same_browser=is_same_browser)


@router.post("/{token}/again")
def ask_again(request: Request, token: str) -> Response:
    """Mail a new link to the address that the old one went to."""
    now = clock.now()
    with transaction() as session:
        subscription, _ = _read(session, token, now=now)
        asked = signups.Asked(address=subscription.subscriber.address, language=subscription.language)
        origin = dependencies.origin(request, source="expired link")
        request_id = signups.request(session, subscription.newsletter_id, asked, origin=origin, now=now)
    collecting.ring_for_signups([request_id])
    response = RedirectResponse(pages.keep(request)("/check-inbox"), status_code=303)
    newsletter = subscription.newsletter
    dependencies.remember_signup(
        response,
        dependencies.Signup(
            request_id=request_id, at=now, slug=newsletter.slug, language=asked.language, address=asked.address
        ),
    )
    return response


def _read(session: Session, token: str, *, now: datetime) -> tuple[Subscription, datetime | None]:
    """Return whose link it is and when it was made; None if that is too long ago.

    Raises TokenInvalid or SubscriptionNotFound.
    """
    try:
        link = links.read_fresh(links.Purpose.CONFIRM, token, lifetime=links.CONFIRM_LIFETIME, now=now)
    except links.TokenExpired as expired:
        return subscriptions.get(session, expired.token.subscription_id), None
    return subscriptions.get(session, link.subscription_id), link.issued_at


def _is_same_browser(request: Request, session: Session, subscription: Subscription, *, now: datetime) -> bool:
    if request.method == "HEAD" or dependencies.is_prefetch(request):
        return False
    lifetime = dependencies.SAME_BROWSER_LIFETIME
    signup = dependencies.remembered_signup(request, lifetime=lifetime, now=now)
    return signup is not None and signups.subscription_of(session, signup.request_id) == subscription.id


def _confirm(
    request: Request,
    session: Session,
    subscription: Subscription,
    *,
    asked_at: datetime,
    now: datetime,
    is_same_browser: bool,
) -> Response:
    origin = dependencies.origin(request, source="confirmation link")
    try:
        is_new = signups.confirm(
            session, subscription, asked_at=asked_at, origin=origin, now=now, is_same_browser=is_same_browser
        )
    except subscriptions.SubscriptionGone:
        return _expired(request, subscription, None)
    # With what was chosen on the form.
    subscription = subscriptions.get(session, subscription.id)
    return _confirmed(request, session, subscription, is_new=is_new, now=now)


def _confirmed(
    request: Request, session: Session, subscription: Subscription, *, is_new: bool, now: datetime
) -> Response:
    language = dependencies.language(request, subscription.language)
    newsletter = subscription.newsletter
    return pages.render(
        request,
        "confirmed",
        language=language,
        newsletter=faces.publication(newsletter),
        is_new=is_new,
        address=subscription.subscriber.address,
        first_issue=preferences.next_issue(language, subscription, now=now),
        latest_issue=public.latest_issue_path(session, newsletter),
        preferences_path=f"/p/{links.sign(links.Purpose.PREFERENCES, subscription.id)}",
        **preferences.choices(session, subscription, language, now=now),
    )


def _expired(request: Request, subscription: Subscription, token: str | None) -> Response:
    return pages.render(
        request,
        "expired",
        language=dependencies.language(request, subscription.language),
        status=410,
        newsletter=faces.publication(subscription.newsletter),
        is_confirmation=token is not None,
        again=token and f"/confirm/{token}/again",
        has_form=False,
        offered=[],
    )
