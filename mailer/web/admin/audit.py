"""Settings > Audit log: who changed what; by person, newsletter and day, a page at a time, and as a table to take away."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer.db import transaction
from mailer.models.audit import Actor, AuditEntry
from mailer.newsroom import audit, newsletters
from mailer.newsroom.audit import Wanted
from mailer.web import csv_export
from mailer.web.admin import audit_words, screens, session

router = APIRouter(prefix="/settings", route_class=screens.DeskRoute)

PAGE_LENGTH: Final = 50
_CHUNK: Final = 1000
_LARGEST_ID: Final = 2**63 - 1
_WHO: Final = re.compile(r"(account|token|command)(?:-([0-9]{1,18}))?\Z")
_HEADER: Final = ("time_utc", "by", "name", "action", "meaning", "newsletter", "about", "network")


@router.api_route("/audit", methods=["GET", "HEAD"])
def index(
    request: Request,
    desk: session.Admin,
    who: str = "",
    newsletter: str = "",
    since: str = "",
    until: str = "",
    before: int = 0,
) -> Response:
    """Show the newest entries that match."""
    asked = {"who": who, "newsletter": newsletter, "since": since, "until": until}
    with transaction() as database:
        every = newsletters.all_newsletters(database)
        wanted = _wanted(asked, {one.slug: one.id for one in every})
        place = before if 0 < before <= _LARGEST_ID else None
        found = audit.entries(database, wanted, before=place, limit=PAGE_LENGTH + 1)
        actors = [
            (f"{actor}-{number}" if number else str(actor), name) for actor, number, name in audit.actors(database)
        ]
    shown = found[:PAGE_LENGTH]
    names = {one.id: one.name for one in every}
    return screens.render(
        request,
        desk,
        "settings_audit",
        here="settings",
        entries=[(one, *_said(desk.language, one), names.get(one.newsletter_id or 0)) for one in shown],
        actors=actors,
        newsletters=every,
        asked=asked,
        before=shown[-1].id if len(found) > PAGE_LENGTH else None,
    )


@router.api_route("/audit.csv", methods=["GET", "HEAD"])
def export(desk: session.Admin, who: str = "", newsletter: str = "", since: str = "", until: str = "") -> Response:
    """Give the entries that match, newest first, as a table."""
    asked = {"who": who, "newsletter": newsletter, "since": since, "until": until}
    with transaction() as database:
        names = {one.id: one.slug for one in newsletters.all_newsletters(database)}
    wanted = _wanted(asked, {slug: number for number, slug in names.items()})
    rows = _rows(wanted, desk.language, names)
    return csv_export.respond("audit-log", _HEADER, rows, language=desk.language)


def _rows(wanted: Wanted, language: str, names: dict[int, str]) -> Iterator[list[csv_export.Cell]]:
    before = None
    while True:
        with transaction() as database:
            found = audit.entries(database, wanted, before=before, limit=_CHUNK)
        for one in found:
            meaning, about = _said(language, one)
            slug = names.get(one.newsletter_id or 0)
            moment = one.at.astimezone(UTC)
            yield [moment, one.actor, one.actor_name, one.action, meaning, slug, ", ".join(about), one.network]
        if len(found) < _CHUNK:
            return
        before = found[-1].id


def _said(language: str, entry: AuditEntry) -> tuple[str, list[str]]:
    return audit_words.sentence(language, entry.action), audit_words.objects(language, entry.objects)


def _wanted(asked: dict[str, str], newsletter_ids: dict[str, int]) -> Wanted:
    """Read the filters; what makes no sense is not asked for. A newsletter that is gone has no entries to show."""
    who = _WHO.match(asked["who"])
    return Wanted(
        actor=Actor(who[1]) if who else None,
        actor_id=int(who[2]) if who and who[2] else None,
        newsletter_id=newsletter_ids.get(asked["newsletter"], 0) if asked["newsletter"] else None,
        since=_day(asked["since"]),
        until=_day(asked["until"], plus=timedelta(days=1)),
    )


def _day(text: str, *, plus: timedelta = timedelta()) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text) + plus, time(), UTC)
    except (ValueError, OverflowError):
        return None
