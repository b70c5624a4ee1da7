"""For machines: does the process live, can it work, what may robots read."""

import structlog
from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from mailer import links, queue
from mailer.db import transaction

router = APIRouter()

log = structlog.get_logger()


@router.api_route("/healthz", methods=["GET", "HEAD"])
def healthz() -> Response:
    """Say that the process lives. Talks to nobody: a restart would mend no database."""
    return PlainTextResponse("ok\n")


@router.api_route("/readyz", methods=["GET", "HEAD"])
def readyz() -> Response:
    """Say whether database and Redis answer; 503 if not, with which."""
    found = {"database": _database_answers(), "redis": _redis_answers()}
    return JSONResponse(found, status_code=200 if all(found.values()) else 503)


@router.api_route("/robots.txt", methods=["GET", "HEAD"])
def robots() -> Response:
    """Keep robots away from what belongs to one reader or to the newsroom."""
    private = ("/admin", "/confirm/", "/p/", "/u/", "/c/", "/o/", "/check-inbox")
    rules = "".join(f"Disallow: {path}\n" for path in private)
    return PlainTextResponse(f"User-agent: *\n{rules}Sitemap: {links.url('/sitemap.xml')}\n")


def _database_answers() -> bool:
    try:
        with transaction() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        log.warning("not ready", part="database", error=type(error).__qualname__)
        return False
    return True


def _redis_answers() -> bool:
    try:
        queue.ping()
    except queue.QueueUnavailable as error:
        log.warning("not ready", part="redis", error=str(error))
        return False
    return True
