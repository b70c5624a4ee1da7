"""Subscribers: how they stand with each newsletter, found by exact address."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses
from mailer.db import transaction
from mailer.models.audience import Subscriber, Subscription, SubscriptionState
from mailer.web.admin import screens, session

router = APIRouter(route_class=screens.DeskRoute)

PAGE_LENGTH: Final = 50
_LARGEST_ID: Final = 2**63 - 1


@router.api_route("/subscribers", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current, address: str = "", state: str = "", before: int = 0) -> Response:
    """List subscriptions, newest first, a page at a time."""
    address = address.replace("\0", "").strip()[:320]
    state = state if state in tuple(SubscriptionState) else ""
    statement = select(Subscription).options(joinedload(Subscription.subscriber), joinedload(Subscription.newsletter))
    if address:
        chosen = select(Subscriber.id).where(Subscriber.address_key == _key(address))
        statement = statement.where(Subscription.subscriber_id.in_(chosen))
    if state:
        statement = statement.where(Subscription.state == SubscriptionState(state))
    if 0 < before <= _LARGEST_ID:
        statement = statement.where(Subscription.id < before)
    with transaction() as database:
        found = list(database.execute(statement.order_by(Subscription.id.desc()).limit(PAGE_LENGTH + 1)).scalars())
    return screens.render(
        request,
        desk,
        "subscribers",
        here="subscribers",
        address=address,
        state=state,
        subscription_states=list(SubscriptionState),
        found=found[:PAGE_LENGTH],
        before=found[PAGE_LENGTH - 1].id if len(found) > PAGE_LENGTH else None,
    )


def _key(address: str) -> str:
    try:
        return addresses.key(addresses.normalise(address))
    except addresses.AddressInvalid:
        return addresses.key(address)
