"""The newsroom's desk. Which role a page asks for stands at its function; screens.DeskRoute refuses routes without one."""

from fastapi import APIRouter

from mailer.web.admin import (
    account,
    adding,
    all_articles,
    amending,
    articles,
    audit,
    checking,
    choosing,
    composing,
    feeds,
    forms,
    issues,
    leaving,
    measuring,
    newsletters,
    overview,
    person,
    second_factor,
    reporting,
    settings_general,
    settings_sending,
    settings_system,
    settling,
    setup,
    signing_in,
    subscribers,
    team,
    todo,
    topics,
    trying,
    undoing,
    watching,
    welcome,
    writing,
)

_desk = APIRouter()
_parts = (
    choosing,
    second_factor,
    account,
    team,
    audit,
    overview,
    welcome,
    todo,
    settings_general,
    settings_sending,
    settings_system,
    writing,
    composing,
    checking,
    leaving,
    trying,
    undoing,
    settling,
    amending,
    issues,
    watching,
    reporting,
    newsletters,
    feeds,
    forms,
    articles,
    all_articles,
    topics,
    subscribers,
    adding,
    person,
    measuring,
)
for _part in _parts:
    _desk.include_router(_part.router, prefix="/admin")

router = APIRouter()
router.include_router(signing_in.router, prefix="/admin")
router.include_router(setup.router, prefix="/admin")
router.include_router(_desk)
