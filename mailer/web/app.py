"""The web application: `uvicorn --no-proxy-headers mailer.web.app:app`. Which pages there are is on this page."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware

from mailer import db, logs, settings
from mailer.counting import events
from mailer.web import (
    account,
    admin,
    api,
    assets,
    collecting,
    confirmation,
    dead_links,
    errors,
    faces,
    issues,
    middleware,
    pictures,
    preferences,
    probes,
    public,
    reviewing,
    signing_up,
    tracking,
    unsubscribing,
)
from mailer.web.admin import live

ROUTERS: Final = (
    signing_up.hot,
    probes.router,
    assets.router,
    pictures.router,
    confirmation.router,
    unsubscribing.router,
    preferences.router,
    reviewing.router,
    api.router,
    account.router,
    admin.router,
    public.router,
    issues.router,
    # Last: its /{slug} matches every first word that nobody else took.
    signing_up.router,
)


def __getattr__(name: str) -> FastAPI:
    """Build `app` when a server asks for it, so that importing this module needs no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return create_app()


def create_app() -> FastAPI:
    """Build the application. Ends the process with one sentence if a setting is missing or wrong; talks to nobody."""
    try:
        settings.load()
    except settings.SettingsInvalid as error:
        raise SystemExit(f"mailer: {error}") from None
    recorder = tracking.new_recorder()
    app = FastAPI(
        title="mailer",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # The redirect would be built from the Host header, which anybody can write.
        redirect_slashes=False,
        lifespan=functools.partial(_lifespan, recorder),
        # The first is the outermost.
        middleware=[
            Middleware(tracking.Front, recorder=recorder),
            Middleware(middleware.SecurityHeaders),
            Middleware(middleware.Incidents),
            Middleware(middleware.BodyLimit),
        ],
        exception_handlers=errors.HANDLERS | dead_links.HANDLERS,
    )
    app.state.collector = collecting.Collector()
    app.state.live = live.Live()
    app.state.faces = faces.Faces()
    for router in ROUTERS:
        app.include_router(router)
    return app


@contextlib.asynccontextmanager
async def _lifespan(recorder: events.Recorder, app: FastAPI) -> AsyncIterator[None]:
    logs.set_up()
    # Also takes over at once what a killed process was told.
    try:
        recorder.start()
    except events.QueueBroken as error:
        # Pages work all the same, and one-click asks the database itself.
        structlog.get_logger().error("local queue broken", error=str(error))
    logging.getLogger("uvicorn.access").addFilter(middleware.without_secrets)
    yield
    await asyncio.to_thread(recorder.stop)
    app.state.live.close()
    if db.engine.cache_info().currsize:
        db.engine().dispose()
