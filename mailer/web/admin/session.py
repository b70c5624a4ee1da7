"""Who is at the desk, and whether a form comes from one of our own pages."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from mailer import clock, settings
from mailer.db import transaction
from mailer.newsroom import accounts

COOKIE: Final = "mailer_session"
# No form of the desk has more fields.
_MAX_FIELDS: Final = 100
# Nobody sees them: PostgreSQL refuses NUL, XML the others, and a subject of them alone would come out empty.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# What a newsletter's short name can look like; anything else is no page.
Slug = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,63}$")]


class SignInRequired(Exception):
    """Nobody is signed in, or the session is over."""


class FormForged(Exception):
    """A form was not sent from a page that this session was shown."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The account that a request is made for. `form` is what was typed, empty unless the method is POST."""

    name: str
    language: str
    csrf: str
    token: str
    now: datetime
    form: Mapping[str, str]

    def typed(self, name: str) -> str:
        """Return a field of the form without surrounding space; empty if it was not sent."""
        return self.form.get(name, "").strip()

    def typed_lines(self, name: str) -> list[str]:
        """Return the lines of a field that have anything on them, each once."""
        return list(dict.fromkeys(line.strip() for line in self.form.get(name, "").splitlines() if line.strip()))


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the text fields of a posted form without control characters; the last of each name counts."""
    if request.method != "POST":
        return {}
    form = await request.form(max_files=0, max_fields=_MAX_FIELDS)
    return {name: _CONTROLS.sub("", value) for name, value in form.items() if isinstance(value, str)}


Form = Annotated[Mapping[str, str], Depends(read_form)]


def require_account(request: Request, form: Form) -> Desk:
    """Let only a signed-in account pass, and of what it posts only what our own pages sent.

    Raises SignInRequired or FormForged. Reads the database.
    """
    now, token = clock.now(), request.cookies.get(COOKIE, "")
    with transaction() as session:
        account = accounts.of_session(session, token, now=now) if token else None
    if account is None:
        raise SignInRequired
    csrf = csrf_token(token)
    if request.method not in ("GET", "HEAD"):
        check_origin(request)
        if not hmac.compare_digest(form.get("csrf", "").encode(), csrf.encode()):
            raise FormForged("The form does not belong to this session.")
    return Desk(name=account.name, language=account.language, csrf=csrf, token=token, now=now, form=form)


Current = Annotated[Desk, Depends(require_account)]


def check_origin(request: Request) -> None:
    """Refuse a form that a browser sent from another site. Raises FormForged.

    Programs other than browsers send neither header; what they need is the token.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise FormForged("The form was sent from another site.")
    origin = request.headers.get("origin")
    ours = {urlsplit(settings.load().public_url).netloc, request.headers.get("host", "")}
    if origin is not None and urlsplit(origin).netloc not in ours - {""}:
        raise FormForged("The form was sent from another site.")


def csrf_token(token: str) -> str:
    """Return what forms carry: it belongs to one session and can't be made without our key."""
    key = hashlib.blake2b(settings.load().secret_key.encode(), person=b"mailer-csrf").digest()
    return hashlib.blake2b(token.encode(), key=key, digest_size=24).hexdigest()


def remember(response: Response, token: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(accounts.SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=settings.load().public_url.startswith("https://"),
    )
