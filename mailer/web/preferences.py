"""A reader's preferences, opened by the link at the foot of a mail (R8)."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailer import addresses, clock, i18n, links, newsletters, subscriptions
from mailer.db import transaction
from mailer.models.audience import Subscription, SubscriptionState
from mailer.web import dependencies, errors, pages, rhythm

router = APIRouter(prefix="/p")


@router.api_route("/{token}", methods=["GET", "HEAD"])
def show(request: Request, token: str) -> Response:
    """Show what can be chosen."""
    link = links.read(links.Purpose.PREFERENCES, token)
    with transaction() as session:
        subscription = subscriptions.get(session, link.id)
    return _page(request, subscription, token, is_saved=False)


@router.post("/{token}")
def save(request: Request, token: str, language: Annotated[str, Form()] = "") -> Response:
    """Keep what was chosen and show it again."""
    link = links.read(links.Purpose.PREFERENCES, token)
    if language not in i18n.LANGUAGES:
        return errors.page(request, 422)
    with transaction() as session:
        subscription = subscriptions.get(session, link.id)
        if subscription.state != SubscriptionState.ENDED and subscription.language != language:
            origin = dependencies.origin(request, source="preferences")
            subscriptions.change_language(session, link.id, language, origin=origin, now=clock.now())
            subscription = subscriptions.get(session, link.id)
    return _page(request, subscription, token, is_saved=True)


def _page(request: Request, subscription: Subscription, token: str, *, is_saved: bool) -> Response:
    unsubscribe_path = f"/u/{links.sign(links.Purpose.UNSUBSCRIBE, subscription.id)}"
    if subscription.state == SubscriptionState.ENDED:
        return RedirectResponse(unsubscribe_path, status_code=303)
    language = dependencies.language(request, subscription.language)
    newsletter = subscription.newsletter
    slot = newsletters.next_slot(newsletter, now=clock.now())
    return pages.render(
        request,
        "preferences",
        language=language,
        newsletter=pages.publication(newsletter),
        address=addresses.mask(subscription.subscriber.address),
        next_issue=rhythm.moment(language, slot, newsletter.timezone) if slot else None,
        is_saved=is_saved,
        subscription_language=subscription.language,
        language_names=pages.LANGUAGE_NAMES,
        token=token,
        unsubscribe_path=unsubscribe_path,
    )
