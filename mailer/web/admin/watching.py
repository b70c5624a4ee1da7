"""An issue while it is sent: what its page shows of it, again every two seconds for those who watch, without a thread each."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from mailer.delivery.progress import TOP_PROVIDERS, Progress
from mailer.web import charts
from mailer.web.admin import composing, live, progress_words, screens, session, words

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)

# A page then asks again by itself, and so shows whether it still may.
STREAM_SECONDS: Final = 600.0
ASK_AGAIN_MILLISECONDS: Final = 3000


@router.get("/progress")
async def stream(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Tell how the issue is getting on, every two seconds until it has ended (text/event-stream)."""
    watched: live.Live = request.app.state.live
    make = functools.partial(told, desk.language)
    # Before the answer begins, so that an issue that does not exist is no page.
    first = await watched.text(issue_id, desk.language, make)
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(
        follow(watched, issue_id, desk.language, first), media_type="text/event-stream", headers=headers
    )


@router.get("/progress.json")
async def once(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Tell the same once, for browsers that the stream does not reach."""
    watched: live.Live = request.app.state.live
    text = await watched.text(issue_id, desk.language, functools.partial(told, desk.language))
    return JSONResponse(json.loads(text))


def values(language: str, seen: Progress) -> dict[str, Any]:
    """Return what the templates _live.html and _servers.html need, in a language."""
    timezone = seen.issue.newsletter.timezone
    series = charts.Series(name="", values=[rate for _, rate in seen.line])
    label = progress_words.line_label(language, seen, timezone)
    allowed = seen.allowed_per_second
    return {
        "seen": seen,
        "path": f"/admin/issues/{seen.issue.id}",
        "bar": _bar(seen),
        "left_words": progress_words.left(language, seen, timezone),
        "retry_words": progress_words.retry(language, seen, timezone),
        "stalled_words": progress_words.stalled(language, seen, timezone),
        "rate_now": progress_words.rate(language, seen.pace.per_second),
        "rate_allowed": None if allowed is None else progress_words.rate(language, allowed),
        "rate_chart": charts.line(
            [series], label=label, steps=progress_words.steps(language, seen.line, timezone), language=language
        ),
        "rate_rows": [
            (words.moment(language, at, timezone), progress_words.rate(language, rate)) for at, rate in seen.line
        ],
        "top": seen.providers[:TOP_PROVIDERS],
        "event_lines": progress_words.events(language, seen.events),
        "when": functools.partial(words.moment, language),
    }


async def follow(watched: live.Live, issue_id: int, language: str, first: str) -> AsyncIterator[str]:
    """Write the stream. It ends with the sending, after ten minutes, or at once when too many watch."""
    until, text = time.monotonic() + STREAM_SECONDS, first
    make = functools.partial(told, language)
    try:
        with watched.seat():
            yield f"retry: {ASK_AGAIN_MILLISECONDS}\n\n"
            while time.monotonic() < until:
                yield f"data: {text}\n\n"
                if json.loads(text)["is_over"]:
                    yield "event: over\ndata: {}\n\n"
                    return
                await asyncio.sleep(watched.tick_seconds)
                text = await watched.text(issue_id, language, make)
    except live.Full:
        yield "event: full\ndata: {}\n\n"


def told(language: str, seen: Progress) -> str:
    """Return what the script needs: the page's part, its title, and what is read aloud. One line of JSON."""
    needed = {
        "html": screens.fragment(language, "_live", **values(language, seen)),
        "percent": seen.percent,
        "say": progress_words.spoken(language, seen, seen.issue.newsletter.timezone),
        "state": seen.issue.state.value,
        "is_over": not seen.is_moving and not seen.is_paused,
    }
    return json.dumps(needed, ensure_ascii=False)


def _bar(seen: Progress) -> list[tuple[str, float, float]]:
    """Return the parts of the progress bar: name, start and width in percent."""
    parts: list[tuple[str, float, float]] = []
    equation, start = seen.equation, 0.0
    for name, count in (
        ("accepted", equation.accepted),
        ("deferred", seen.deferred),
        ("refused", equation.refused),
        ("skipped", equation.skipped),
        ("uncertain", equation.uncertain),
    ):
        width = 100 * count / equation.recipients if equation.recipients else 0.0
        parts.append((name, round(start, 3), round(width, 3)))
        start += width
    return parts
