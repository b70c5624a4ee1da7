"""The newsroom's desk. Every page but signing in asks for an account: the dependency stands here, once, for all of them."""

from fastapi import APIRouter, Depends

from mailer.web.admin import (
    checking,
    composing,
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
)

_desk = APIRouter(dependencies=[Depends(session.require_account)])
for _part in (overview, composing, checking, leaving, settling, issues, newsletters, forms, subscribers, measuring):
    _desk.include_router(_part.router, prefix="/admin")

router = APIRouter()
router.include_router(signing_in.router, prefix="/admin")
router.include_router(_desk)
