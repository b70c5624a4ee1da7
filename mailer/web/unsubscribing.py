"""Leaving: the link at the foot of a mail (R9–R11, R13), and the mail program's own button (R12, RFC 8058).

Whoever was forwarded a mail has its link too: it can end what the mail's reader gets, and bring it back, and no more.
"""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, clock, i18n, links
from mailer.audience import readers, subscriptions
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.audience import EndedReason, LeftBecause, Subscription, SubscriptionState
from mailer.newsroom import newsletters
from mailer.web import dependencies, faces, pages, rhythm

router = APIRouter(prefix="/u")

BECAUSE: Final = {
    LeftBecause.TOO_MANY: "Too many messages",
    LeftBecause.NOT_INTERESTED: "Topics that do not interest me",
    LeftBecause.NEVER_ASKED: "I never asked for it",
    LeftBecause.OTHER: "Another reason",
}


@router.api_route("/{token}", methods=["GET", "HEAD"])
def open_link(request: Request, token: str) -> Response:
    """Ask whether to leave (R9), or say that it is done already (R11)."""
    return _ask(request, links.read(links.Purpose.UNSUBSCRIBE, token), token)


@router.post("/{token}")
def press_button(request: Request, token: str, which: Annotated[str, Form()] = "this") -> Response:
    """End the subscription, or all of the reader's (R10); a second time changes nothing."""
    link, now = links.read(links.Purpose.UNSUBSCRIBE, token), clock.now()
    try:
        with transaction() as session:
            origin = dependencies.origin(request, source=_source(link))
            if which == "all":
                subscriptions.end_all(session, link.id, origin=origin, now=now)
            else:
                subscriptions.end(session, link.id, EndedReason.UNSUBSCRIBED, origin=origin, now=now)
            subscription = subscriptions.get(session, link.id)
    except subscriptions.SubscriptionNotFound:
        return _already_left(request, None, token, now=now)
    return _left(request, subscription, token, is_from_all=which == "all")


@router.post("/{token}/reason")
def explain(request: Request, token: str, because: Annotated[LeftBecause, Form()]) -> Response:
    """Note why somebody left, by the press of one button."""
    link, now = links.read(links.Purpose.UNSUBSCRIBE, token), clock.now()
    try:
        with transaction() as session:
            origin = dependencies.origin(request, source=_source(link))
            subscriptions.explain(session, link.id, because, origin=origin, now=now)
            subscription = subscriptions.get(session, link.id)
    except subscriptions.SubscriptionNotFound:
        return _already_left(request, None, token, now=now)
    if not subscriptions.can_resume(subscription, now=now):
        return _already_left(request, subscription, token, now=now)
    return _left(request, subscription, token, is_explained=True)


@router.post("/{token}/undo")
def undo(request: Request, token: str) -> Response:
    """Bring a reader back who left by themselves (R13)."""
    link, now = links.read(links.Purpose.UNSUBSCRIBE, token), clock.now()
    with transaction() as session:
        origin = dependencies.origin(request, source=_source(link))
        subscriptions.resume_all(session, link.id, origin=origin, now=now)
        subscription = subscriptions.get(session, link.id)
    if subscription.state != SubscriptionState.CONFIRMED:
        return _already_left(request, subscription, token, now=now)
    slot = newsletters.next_slot(subscription.newsletter, now=now)
    language = dependencies.language(request, subscription.language)
    next_issue = rhythm.moment(language, slot, subscription.newsletter.timezone) if slot else None
    return _page(request, "welcome_back", subscription, next_issue=next_issue, here=f"/u/{token}")


@router.api_route("/{token}/one-click", methods=["GET", "HEAD"])
def open_one_click(request: Request, token: str) -> Response:
    """Show somebody who opens the mail program's address the page with the button; opening changes nothing."""
    link = links.read(links.Purpose.ONE_CLICK, token)
    return _ask(request, link, links.sign(links.Purpose.UNSUBSCRIBE, link.id, link.extra), is_in_mail=False)


@router.post("/{token}/one-click")
def one_click(request: Request, token: str) -> Response:
    """End the subscription for a mail program (RFC 8058): 200 without a body, whatever the token, as often as it asks.

    The body is not read: its one sentence says what the address says, and a program that words or encodes it oddly still
    speaks for a reader who wants to leave.
    """
    try:
        link = links.read(links.Purpose.ONE_CLICK, token)
        with transaction() as session:
            origin = dependencies.origin(request, source=_source(link))
            subscriptions.end(session, link.id, EndedReason.ONE_CLICK, origin=origin, now=clock.now())
    except (links.TokenInvalid, subscriptions.SubscriptionNotFound):
        pass
    return Response()


def _ask(request: Request, link: links.Token, token: str, *, is_in_mail: bool = True) -> Response:
    """Show the button. The address in a mail's header, which may be forwarded alone, does not open the preferences."""
    try:
        with transaction() as session:
            subscription = subscriptions.get(session, link.id)
            standing = readers.standing(session, subscription.subscriber_id)
    except subscriptions.SubscriptionNotFound:
        return _already_left(request, None, token, now=clock.now())
    if subscription.state == SubscriptionState.ENDED:
        return _already_left(request, subscription, token, now=clock.now())
    return _page(
        request,
        "unsubscribe",
        subscription,
        token=token,
        # Not which: whoever was forwarded the mail would learn it.
        has_others=sum(one.state == SubscriptionState.CONFIRMED for one in standing) > 1,
        preferences_path=f"/p/{links.sign(links.Purpose.PREFERENCES, subscription.id)}" if is_in_mail else None,
        here=f"/u/{token}",
    )


def _left(
    request: Request, subscription: Subscription, token: str, *, is_from_all: bool = False, is_explained: bool = False
) -> Response:
    language = dependencies.language(request, subscription.language)
    return _page(
        request,
        "unsubscribed",
        subscription,
        token=token,
        is_from_all=is_from_all,
        is_explained=is_explained,
        reasons=[(one.value, i18n.gettext(language, words)) for one, words in BECAUSE.items()],
        here=f"/u/{token}",
    )


def _already_left(request: Request, subscription: Subscription | None, token: str, *, now: datetime) -> Response:
    """Say that there is nothing to leave; without a subscription (it was erased) nobody is named."""
    if subscription is None:
        language = dependencies.language(request)
        values = {"address": None, "left_on": None, "can_resume": False, "may_ask_again": False}
        return pages.render(request, "already_left", language=language, status=200, **values)
    left_on = None
    if subscription.ended_at is not None:
        local = subscription.ended_at.astimezone(schedules.zone(subscription.newsletter.timezone))
        left_on = i18n.format_date(dependencies.language(request, subscription.language), local)
    return _page(
        request,
        "already_left",
        subscription,
        token=token,
        left_on=left_on,
        can_resume=subscriptions.can_resume(subscription, now=now),
        # Who complained of spam is never mailed again: the form would promise a message that does not come.
        may_ask_again=subscription.ended_reason != EndedReason.COMPLAINED,
        here=f"/u/{token}",
    )


def _page(request: Request, template: str, subscription: Subscription, **values: object) -> Response:
    """Render a page about one subscription. The address is masked: newsletters are forwarded, links and all."""
    return pages.render(
        request,
        template,
        language=dependencies.language(request, subscription.language),
        status=200,
        newsletter=faces.publication(subscription.newsletter),
        address=addresses.mask(subscription.subscriber.address),
        **values,
    )


def _source(link: links.Token) -> str:
    return f"issue {link.extra}" if link.extra else "mail"
