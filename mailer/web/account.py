"""All that is a reader's, without an old mail at hand (R7, R16): ask for the link, then change address, download, erase.

The link goes to the mailbox itself and works for an hour, so these pages show the whole address and may do what can't be
undone; those of a mail's own links (preferences.py, unsubscribing.py) may not, since mails are forwarded.
"""

from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Form
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailer import addresses, clock, i18n, links, queue
from mailer.audience import abuse, moves, readers, subscriptions
from mailer.counting import tracking
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.audience import Subscription, SubscriptionState
from mailer.newsroom import newsletters
from mailer.web import dependencies, errors, faces, pages, rhythm

router = APIRouter()

ADDRESS_MISSING: Final = "Enter your email address"
ADDRESS_INCOMPLETE: Final = "Enter a full address, like name@example.com"

log = structlog.get_logger()


class Expired(Exception):
    """The link is too old, or went to a mailbox that the reader has left since."""


@router.api_route("/preferences", methods=["GET", "HEAD"])
def ask(request: Request, email: str = "") -> Response:
    """Ask for the address that the link shall go to."""
    return _ask(request, email=email, error=None)


@router.post("/preferences")
def request_link(request: Request, email: Annotated[str, Form()] = "") -> Response:
    """Have the link mailed. The answer never tells whether the address is known: nothing here looks."""
    try:
        address = addresses.normalise(email)
    except addresses.AddressInvalid:
        return _ask(request, email=email, error=ADDRESS_INCOMPLETE if email.strip() else ADDRESS_MISSING)
    return _request(request, address)


@router.api_route("/preferences/sent", methods=["GET", "HEAD"])
def link_sent(request: Request) -> Response:
    """Tell what happens next, whoever asked."""
    language, newsletter = _house(request)
    return pages.render(request, "link_sent", language=language, newsletter=newsletter)


@router.api_route("/account/{token}", methods=["GET", "HEAD"])
def show(request: Request, token: str) -> Response:
    """List everything that the address gets, and what else can be done."""
    try:
        with transaction() as session:
            return _account(request, session, _open(session, token), token, error=None)
    except Expired:
        return _expired(request, token)


@router.post("/account/{token}/again")
def ask_again(request: Request, token: str) -> Response:
    """Mail a fresh link to the address that an old one went to."""
    with transaction() as session:
        subscription = subscriptions.get(session, links.read(links.Purpose.MANAGE, token).id)
        address = subscription.subscriber.address
    return _request(request, address)


@router.post("/account/{token}/address")
def change_address(request: Request, token: str, email: Annotated[str, Form()] = "") -> Response:
    """Have a new address asked by mail. The answer never tells whether it is known, or asked at all."""
    now = clock.now()
    try:
        with transaction() as session:
            subscription = _open(session, token)
            try:
                delivery_id = moves.ask(session, subscription.id, email, now=now)
            except addresses.AddressInvalid:
                error = ADDRESS_INCOMPLETE if email.strip() else ADDRESS_MISSING
                return _account(request, session, subscription, token, error=error, email=email)
            page = _page(
                request, "address_asked", subscription, address=addresses.normalise(email), token=token, here=None
            )
    except Expired:
        return _expired(request, token)
    if delivery_id is not None:
        _ring(queue.SEND)
    return page


@router.post("/account/{token}/tracking")
def agree_to_tracking(
    request: Request, token: str, subscription: Annotated[int, Form()], agrees: Annotated[bool, Form()]
) -> Response:
    """Note whether a reader agrees to be known by what they open and follow, for one of their newsletters."""
    try:
        with transaction() as session:
            opened = _open(session, token)
            if subscription in [one.id for one in readers.standing(session, opened.subscriber_id)]:
                origin = dependencies.origin(request, source="account")
                tracking.agree(session, subscription, agrees=agrees, origin=origin, now=clock.now())
            session.expire_all()
            return _account(request, session, _open(session, token), token, error=None)
    except Expired:
        return _expired(request, token)


@router.post("/account/{token}/download")
def download(request: Request, token: str) -> Response:
    """Hand out all that is kept of a reader, as a JSON file."""
    try:
        with transaction() as session:
            subscription = _open(session, token)
            kept = readers.export(session, subscription.subscriber_id)
    except Expired:
        return _expired(request, token)
    headers = {"Content-Disposition": 'attachment; filename="my-data.json"'}
    return Response(readers.as_json(kept), media_type="application/json", headers=headers)


@router.api_route("/account/{token}/erase", methods=["GET", "HEAD"])
def ask_to_erase(request: Request, token: str) -> Response:
    """Ask whether everything is to be erased, and say what stays."""
    try:
        with transaction() as session:
            return _page(request, "erase", _open(session, token), token=token)
    except Expired:
        return _expired(request, token)


@router.post("/account/{token}/erase")
def erase(request: Request, token: str) -> Response:
    """Erase all that is kept of a reader but the address's hash."""
    try:
        with transaction() as session:
            subscription = _open(session, token)
            newsletter = faces.publication(subscription.newsletter)
            language = dependencies.language(request, subscription.language)
            readers.erase(session, subscription.subscriber_id, now=clock.now())
    except Expired:
        return _expired(request, token)
    return pages.render(request, "erased", language=language, newsletter=newsletter, here=None)


@router.api_route("/address/{token}", methods=["GET", "HEAD"])
def open_new_address(request: Request, token: str) -> Response:
    """Ask in the new mailbox for the press of a button; opening changes nothing."""
    try:
        with transaction() as session:
            change, subscription = moves.find(session, _read_change(token))
            template = "address_changed" if change.done_at else "confirm_address"
            return _page(request, template, subscription, address=change.new_address, token=token)
    except (Expired, subscriptions.SubscriptionGone):
        return _expired(request, None)


@router.post("/address/{token}")
def confirm_new_address(request: Request, token: str) -> Response:
    """Let everything go to the new address from now on."""
    try:
        with transaction() as session:
            origin = dependencies.origin(request, source="new address")
            subscription = moves.confirm(session, _read_change(token), origin=origin, now=clock.now())
            page = _page(request, "address_changed", subscription, token=token)
    except (Expired, subscriptions.SubscriptionGone):
        return _expired(request, None)
    _ring(queue.SEND)
    return page


def _open(session: Session, token: str) -> Subscription:
    """Return the subscription that a link was mailed for, its reader's address and newsletter with it.

    Raises TokenInvalid, Expired, or SubscriptionNotFound.
    """
    try:
        link = links.read_fresh(links.Purpose.MANAGE, token, lifetime=links.MANAGE_LIFETIME, now=clock.now())
    except links.TokenExpired as expired:
        raise Expired("This link has expired.") from expired
    subscription = subscriptions.get(session, link.id)
    if moves.moved_since(session, subscription.subscriber_id, link.issued_at):
        # It went to the old mailbox, which has no say any more.
        raise Expired("This link went to an address of before.")
    return subscription


def _read_change(token: str) -> int:
    lifetime = links.CHANGE_ADDRESS_LIFETIME
    try:
        return links.read_fresh(links.Purpose.CHANGE_ADDRESS, token, lifetime=lifetime, now=clock.now()).id
    except links.TokenExpired as expired:
        raise Expired("This link has expired.") from expired


def _request(request: Request, address: str) -> Response:
    now = clock.now()
    verdict = abuse.weigh(address, dependencies.origin(request).network, act="link", now=now)
    if verdict == abuse.Verdict.NETWORK:
        return errors.page(request, 429)
    if verdict == abuse.Verdict.TAKEN:
        with transaction() as session:
            request_id = readers.request_link(session, address, now=now)
        _ring(queue.SEND_LINK, request_id)
    asked = dependencies.chosen_language(request)
    return RedirectResponse(f"/preferences/sent?lang={asked}" if asked else "/preferences/sent", status_code=303)


def _ask(request: Request, *, email: str, error: str | None) -> Response:
    language, newsletter = _house(request)
    return pages.render(
        request,
        "find_preferences",
        language=language,
        status=422 if error else 200,
        newsletter=newsletter,
        email=email[: addresses.MAX_LENGTH],
        error=error,
        here="/preferences",
    )


def _account(
    request: Request, session: Session, subscription: Subscription, token: str, *, error: str | None, email: str = ""
) -> Response:
    language = dependencies.language(request, subscription.language)
    listed = [
        (faces.publication(one.newsletter), _state(one, language=language), _path(one), _tracking(one))
        for one in readers.standing(session, subscription.subscriber_id)
    ]
    return _page(
        request,
        "account",
        subscription,
        status=422 if error else 200,
        listed=listed,
        token=token,
        email=email[: addresses.MAX_LENGTH],
        error=error,
        here=f"/account/{token}",
    )


def _page(
    request: Request, template: str, subscription: Subscription, *, status: int = 200, **values: object
) -> Response:
    return pages.render(
        request,
        template,
        language=dependencies.language(request, subscription.language),
        status=status,
        newsletter=faces.publication(subscription.newsletter),
        **{"address": subscription.subscriber.address, **values},
    )


def _expired(request: Request, token: str | None) -> Response:
    language, newsletter = _house(request)
    values = {"newsletter": newsletter, "token": token, "here": token and f"/account/{token}"}
    return pages.render(request, "account_expired", language=language, status=410, **values)


def _house(request: Request) -> tuple[str, faces.Publication | None]:
    """Return the language of a page that must not know its reader, and the newsletter if there is but one."""
    with transaction() as session:
        offered = [faces.publication(one) for one in newsletters.all_newsletters(session)]
    language = dependencies.language(request, *(one.language for one in offered[:1]))
    return language, offered[0] if len(offered) == 1 else None


def _state(one: Subscription, *, language: str) -> str:
    """Say where a subscription stands: its rhythm, or that it is paused, waits to be confirmed, or has ended."""
    if one.state == SubscriptionState.ENDED:
        return i18n.gettext(language, "Unsubscribed")
    if one.state == SubscriptionState.PENDING:
        return i18n.gettext(language, "Not confirmed yet")
    if one.paused_until is not None and one.paused_until > clock.now():
        until = one.paused_until.astimezone(schedules.zone(one.newsletter.timezone))
        return i18n.gettext(language, "Paused until {date}", date=i18n.format_date(language, until))
    return rhythm.choice(language, one.rhythm)


def _path(one: Subscription) -> str | None:
    """Return where a subscription is changed; for one that ended, where it comes back. None before it is confirmed."""
    if one.state == SubscriptionState.PENDING:
        return None
    is_ended = one.state == SubscriptionState.ENDED
    purpose = links.Purpose.UNSUBSCRIBE if is_ended else links.Purpose.PREFERENCES
    return f"/{'u' if is_ended else 'p'}/{links.sign(purpose, one.id)}"


def _tracking(one: Subscription) -> tuple[int, bool] | None:
    """Return a subscription's id and whether its reader agreed to be known; None if nobody asks."""
    has_agreed = one.tracking_agreed_at is not None
    may_be_asked = one.state == SubscriptionState.CONFIRMED and one.newsletter.tracks_readers
    return (one.id, has_agreed) if may_be_asked or has_agreed else None


def _ring(name: str, *ids: int) -> None:
    """Have a worker mail at once. If Redis is away, the tick finds it within seconds."""
    try:
        queue.enqueue(name, *ids)
    except queue.QueueUnavailable as error:
        log.warning("queue unavailable", task=name, error=str(error))
