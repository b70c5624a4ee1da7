"""The web application: `uvicorn --no-proxy-headers mailer.web.app:app`. Which pages there are is on this page."""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from mailer import db, logs, settings
from mailer.web import (
    admin,
    assets,
    confirmation,
    errors,
    middleware,
    pictures,
    preferences,
    probes,
    public,
    pushing,
    reviewing,
    unsubscribing,
)

ROUTERS: Final = (
    probes.router,
    assets.router,
    pictures.router,
    confirmation.router,
    unsubscribing.router,
    preferences.router,
    reviewing.router,
    pushing.router,
    admin.router,
    # Last: its /{slug} matches every first word that nobody else took.
    public.router,
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
    app = FastAPI(
        title="mailer",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # The redirect would be built from the Host header, which anybody can write.
        redirect_slashes=False,
        lifespan=_lifespan,
        # The first is the outermost.
        middleware=[
            Middleware(middleware.SecurityHeaders),
            Middleware(middleware.Incidents),
            Middleware(middleware.BodyLimit),
        ],
        exception_handlers=errors.HANDLERS,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


@contextlib.asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    logs.set_up()
    logging.getLogger("uvicorn.access").addFilter(middleware.without_secrets)
    yield
    if db.engine.cache_info().currsize:
        db.engine().dispose()
