"""The REST API under /api/v1. Every route declares the scope that a token needs; api/route.py refuses one that does not."""

from typing import Final

from fastapi import APIRouter

from mailer.web.api import (
    administration,
    articles,
    feeds,
    issues,
    joining,
    newsletters,
    pushing,
    reference,
    reports,
    sending,
    subscribers,
    webhooks,
)

_PARTS: Final = (
    newsletters,
    feeds,
    articles,
    # After articles: its address ends in anything.
    pushing,
    issues,
    sending,
    reports,
    subscribers,
    joining,
    webhooks,
    administration,
)

operations: Final = APIRouter(prefix=reference.BASE)
for _part in _PARTS:
    operations.include_router(_part.router)

router: Final = APIRouter()
router.include_router(operations)
router.include_router(reference.router(operations))
