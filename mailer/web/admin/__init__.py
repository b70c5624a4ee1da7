"""The newsroom's desk. Every page but signing in asks for an account: the dependency stands here, once, for all of them."""

from fastapi import APIRouter, Depends

from mailer.web.admin import (
    amending,
    articles,
    checking,
    composing,
    feeds,
    forms,
    issues,
    leaving,
    measuring,
    newsletters,
    overview,
    session,
    settling,
    signing_in,
    subscribers,
    topics,
    writing,
)

_desk = APIRouter(dependencies=[Depends(session.require_account)])
_parts = (
    overview,
    writing,
    composing,
    checking,
    leaving,
    settling,
    amending,
    issues,
    newsletters,
    feeds,
    forms,
    articles,
    topics,
    subscribers,
    measuring,
)
for _part in _parts:
    _desk.include_router(_part.router, prefix="/admin")

router = APIRouter()
router.include_router(signing_in.router, prefix="/admin")
router.include_router(_desk)
