"""Settings, Privacy and System: what is counted and for how long it is kept; whether every part of the installation works."""

import platform
import shutil
from pathlib import Path
from typing import Any, Final

from celery.exceptions import CeleryError
from fastapi import APIRouter
from kombu.exceptions import KombuError
from starlette.requests import Request
from starlette.responses import Response

from mailer import __version__, links, queue, settings, signs
from mailer.articles import pictures
from mailer.audience import moves
from mailer.db import transaction
from mailer.delivery import servers
from mailer.issues import trials
from mailer.newsroom import backlog, newsletters
from mailer.web.admin import measuring, screens, session

router = APIRouter(prefix="/settings", route_class=screens.DeskRoute)

_ANSWER_SECONDS: Final = 0.6
# Full enough that somebody should look: PostgreSQL stops when nothing is left.
_DISK_LEFT: Final = 0.1
WAITING: Final = {
    "mails": "Mails to be handed over",
    "signups": "Sign-ups to be answered",
    "feeds": "Feeds to be read",
    "pictures": "Pictures to be fetched",
    "desk_mails": "Mails to the newsroom",
}


@router.api_route("/privacy", methods=["GET", "HEAD"])
def privacy(request: Request, desk: session.Admin) -> Response:
    """Show what each newsletter counts, and how long personal data is kept."""
    with transaction() as database:
        listed = newsletters.all_newsletters(database)
    chosen = settings.load()
    kept = (
        ("Sign-ups that nobody confirmed", links.CONFIRM_LIFETIME.days),
        ("Single opens and clicks, before they become sums by day", chosen.keep_events_days),
        ("Unanswered moves to another address", moves.DAY.days),
        ("Test mails of issues", trials.KEPT_FOR.days),
        ("Pictures that no mail ever showed", pictures.UNUSED.days),
    )
    return screens.render(request, desk, "settings_privacy", here="settings", listed=listed, kept=kept)


@router.post("/privacy/{slug}")
def choose(desk: session.Admin, slug: session.Slug) -> Response:
    """Switch on and off what a newsletter counts, and whether search engines may list its issues."""
    with transaction() as database:
        values: dict[str, object] = {name: bool(desk.typed(name)) for name in measuring.SWITCHES}
        newsletters.edit(database, newsletters.get(database, slug), values=values, now=desk.now)
    return screens.back("/admin/settings/privacy", done="saved")


@router.api_route("/system", methods=["GET", "HEAD"])
def system(request: Request, desk: session.Admin) -> Response:
    """Tell whether database, Redis, workers, schedule and disk are well, and what waits since when. Asks the workers."""
    with transaction() as database:
        values: dict[str, Any] = {
            "database": backlog.database(database),
            "waiting": backlog.listed(database, now=desk.now),
            "routes": [one.name for one in servers.routes(database)],
        }
    chosen = settings.load()
    queues = sorted(set(queue.QUEUES.values()))
    return screens.render(
        request,
        desk,
        "settings_system",
        here="settings",
        version=__version__,
        python=platform.python_version(),
        has_redis=_redis_answers(),
        workers=_workers(),
        tick_age=signs.seconds_since("tick"),
        tick_late_after=max(30.0, 6 * chosen.tick_seconds),
        queues=[(name, count) for name, count in signs.lengths(queues).items() if count],
        disk=_disk(chosen.journal_dir),
        disk_left=_DISK_LEFT,
        waiting_words=WAITING,
        **{f"seen_{name}" if name == "waiting" else name: value for name, value in values.items()},
    )


def _redis_answers() -> bool:
    try:
        queue.ping()
    except queue.QueueUnavailable:
        return False
    return True


def _workers() -> list[str] | None:
    """Name the workers that answer; None when Redis does not carry the question."""
    try:
        answers = queue.client().control.inspect(timeout=_ANSWER_SECONDS).ping()
    except (CeleryError, KombuError, OSError):
        return None
    return sorted(answers or {})


def _disk(folder: Path) -> shutil._ntuple_diskusage | None:
    """Look at the disk of the journal, or of the nearest folder above it that is there."""
    for one in (folder.absolute(), *folder.absolute().parents):
        if one.exists():
            return shutil.disk_usage(one)
    return None
