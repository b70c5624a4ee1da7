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
from fastapi.dependencies.models import Dependant
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import clock, settings
from mailer.db import transaction
from mailer.models.accounts import Account, Role
from mailer.newsroom import accounts, newsletters, rights, second_factors
from mailer.newsroom.rights import Rights

COOKIE: Final = "mailer_session"
# No form of the desk has more fields.
_MAX_FIELDS: Final = 100
# The forms that carry a file.
_WITH_FILE: Final = frozenset({"/admin/settings/brand/logo"})
# Nobody sees them: PostgreSQL refuses NUL, XML the others, and a subject of them alone would come out empty.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# What a newsletter's short name can look like; anything else is no page.
Slug = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,63}$")]


class SignInRequired(Exception):
    """Nobody is signed in, or the session is over."""


class FormForged(Exception):
    """A form was not sent from a page that this session was shown."""


class RoleLacking(Exception):
    """Whoever is signed in may not do this; the message names the role that may."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"This takes the role {role}.")
        self.role = role


class RoleUndeclared(TypeError):
    """A route of the desk does not say who may use it."""


class SecondFactorRequired(Exception):
    """The owner wants everybody to have a second factor, and this account has none yet."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The account that a request is made for. `form` is what was typed, empty unless the method is POST.

    `role` is what it may do at the newsletter that the path is about; without one, at all newsletters (a viewer, if it
    has rights at single ones only).
    """

    account_id: int
    name: str
    email: str
    language: str
    role: Role
    rights: Rights
    has_single_keys: bool
    csrf: str
    token: str
    now: datetime
    form: Mapping[str, str]

    @property
    def newsletter_ids(self) -> frozenset[int] | None:
        """Return the newsletters that lists may show; None means all."""
        return self.rights.newsletter_ids

    def sees(self, newsletter_id: int) -> bool:
        """Tell whether pages may show anything of a newsletter."""
        return self.rights.sees(newsletter_id)

    def may(self, role: str, newsletter_id: int | None = None) -> bool:
        """Tell whether the account may what `role` may: at a newsletter, or at the one that the path is about."""
        if newsletter_id is None:
            return self.role.rank >= Role(role).rank
        return self.rights.may(Role(role), newsletter_id)

    @property
    def may_write(self) -> bool:
        """Tell whether buttons that change content are shown."""
        return self.may(Role.WRITER)

    @property
    def may_send(self) -> bool:
        """Tell whether buttons that send, schedule and pause are shown."""
        return self.may(Role.EDITOR)

    @property
    def may_admin(self) -> bool:
        """Tell whether settings are shown."""
        return self.may(Role.ADMIN)

    @property
    def is_owner(self) -> bool:
        """Tell whether what only owners do is shown."""
        return self.may(Role.OWNER)

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
    form = await request.form(max_files=1 if request.url.path in _WITH_FILE else 0, max_fields=_MAX_FIELDS)
    return {name: _CONTROLS.sub("", value) for name, value in form.items() if isinstance(value, str)}


Form = Annotated[Mapping[str, str], Depends(read_form)]


@dataclass(frozen=True)
class Require:
    """Let only accounts pass that may what `role` may at the newsletter of the path; None: everybody who is signed in.

    Also refuses forms that none of our own pages sent, and what is posted to a route that is there to look.
    Raises SignInRequired, FormForged, RoleLacking, SecondFactorRequired, or NewsletterNotFound where the account has no
    right at all. Reads the database.
    """

    role: Role | None

    def __call__(self, request: Request, form: Form) -> Desk:
        """Return who is at the desk."""
        now, token = clock.now(), request.cookies.get(COOKIE, "")
        with transaction() as session:
            account = accounts.of_session(session, token, now=now) if token else None
            if account is None:
                raise SignInRequired
            held = rights.of(session, account)
            role = self._checked(session, request, account, held)
        csrf = csrf_token(token)
        if request.method not in ("GET", "HEAD"):
            check_origin(request)
            if not hmac.compare_digest(form.get("csrf", "").encode(), csrf.encode()):
                raise FormForged("The form does not belong to this session.")
        desk = Desk(
            account_id=account.id,
            name=account.name,
            email=account.email,
            language=account.language,
            role=role,
            rights=held,
            has_single_keys=account.has_single_keys,
            csrf=csrf,
            token=token,
            now=now,
            form=form,
        )
        request.state.desk = desk
        return desk

    def _checked(self, session: Session, request: Request, account: Account, held: Rights) -> Role:
        if self.role is not None and second_factors.is_missing(session, account):
            raise SecondFactorRequired
        role = _role_here(session, request, held)
        is_look = request.method in ("GET", "HEAD")
        if self.role is not None and (role.rank < self.role.rank or (self.role == Role.VIEWER and not is_look)):
            raise RoleLacking(self.role if is_look or self.role != Role.VIEWER else Role.WRITER)
        return role


def _role_here(session: Session, request: Request, held: Rights) -> Role:
    """Return the lowest role at the newsletters that the path is about. Raises NewsletterNotFound if it sees none of them."""
    if held.everywhere is not None and not held.at:
        return held.everywhere
    named = rights.newsletters_named(session, {name: str(one) for name, one in request.path_params.items()})
    if named is None:
        return held.everywhere or Role.VIEWER
    if not any(held.sees(one) for one in named):
        if held.everywhere is not None:
            return held.everywhere
        raise newsletters.NewsletterNotFound("There is no such newsletter.")
    return min((held.role_at(one) or Role.VIEWER for one in named), key=lambda role: role.rank)


# What a route asks for. To look is Current; to change content is Writer; to send, schedule, pause is Editor; settings,
# readers' data, imports, the team are Admin; Owner is what only owners do. Own is about one's own account.
Current = Annotated[Desk, Depends(Require(Role.VIEWER))]
Writer = Annotated[Desk, Depends(Require(Role.WRITER))]
Editor = Annotated[Desk, Depends(Require(Role.EDITOR))]
Admin = Annotated[Desk, Depends(Require(Role.ADMIN))]
Owner = Annotated[Desk, Depends(Require(Role.OWNER))]
Own = Annotated[Desk, Depends(Require(None))]


def anyone() -> None:
    """Let everybody pass, for the pages before signing in: `dependencies=[session.ANYONE]`."""


ANYONE: Final = Depends(anyone)


def declared(dependant: Dependant, name: str) -> Require | None:
    """Return what a route asks for; None for those that are open to everybody. Raises RoleUndeclared.

    A route says exactly one thing: the parameter `desk: session.Current` (or Writer …), or `dependencies=[session.ANYONE]`.
    """
    calls = [one.call for one in dependant.dependencies]
    asked = [call for call in calls if isinstance(call, Require) or call is anyone]
    if len(asked) != 1:
        raise RoleUndeclared(
            f"{name} must ask for exactly one role: desk: session.Current, Writer, Editor, … or ANYONE."
        )
    return asked[0] if isinstance(asked[0], Require) else None


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
