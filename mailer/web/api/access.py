"""Who calls the API: the token, what it allows, and which newsletters it sees. Nothing is allowed that is not declared."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload
from starlette.requests import Request

from mailer import clock, settings
from mailer.audience import abuse
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import Issue, Newsletter
from mailer.models.tokens import Scope
from mailer.newsroom import answers, newsletters, tokens
from mailer.web import dependencies
from mailer.web.problems import Problem

WINDOW_SECONDS: Final = 60
# Where a route declares its scope; the OpenAPI description shows it.
SCOPE: Final = "x-scope"


@dataclass(kw_only=True)
class Call:
    """One request of a program. `kept` is the answer once it is there, for requests with an Idempotency-Key."""

    token_id: int
    token_name: str
    scopes: frozenset[Scope]
    # None: all newsletters.
    newsletter_id: int | None
    # Truncated, for logs.
    network: str | None
    now: datetime
    key: str | None
    request_hash: bytes
    # What the audit log says of it: the operation, and the ids in its path.
    action: str
    objects: dict[str, str]
    about_id: int | None = None
    kept: tuple[int, bytes] | None = None

    @property
    def by(self) -> str:
        """Who acts, as histories have it."""
        return f"token “{self.token_name}”"

    def newsletter(self, session: Session, slug: str) -> Newsletter:
        """Find a newsletter that this token sees. Raises NewsletterNotFound."""
        found = newsletters.get(session, slug)
        if not self.sees(found.id):
            raise newsletters.NewsletterNotFound(f"There is no newsletter “{slug}”.")
        self.about_id = found.id
        return found

    def issue(self, session: Session, issue_id: int, *, is_locked: bool = False) -> Issue:
        """Find an issue that this token sees, locked if it is to be changed. Raises IssueNotFound."""
        if is_locked:
            session.execute(select(Issue.id).where(Issue.id == issue_id).with_for_update())
        found = session.execute(
            select(Issue)
            .where(Issue.id == issue_id)
            .options(joinedload(Issue.newsletter))
            .execution_options(populate_existing=True)
        ).scalar_one_or_none()
        if found is None or not self.sees(found.newsletter_id):
            raise issues.IssueNotFound(f"There is no issue {issue_id}.")
        self.about_id = found.newsletter_id
        return found

    def sees(self, newsletter_id: int | None) -> bool:
        """Tell whether something of a newsletter, or (None) of all of them, is there for this token."""
        return self.newsletter_id is None or self.newsletter_id == newsletter_id

    def need_all(self) -> None:
        """Refuse a token for one newsletter what concerns all of them. Raises Problem."""
        if self.newsletter_id is not None:
            raise Problem("token_too_narrow")


def needs(scope: Scope) -> dict[str, Any]:
    """Declare, as arguments of a route's decorator, the one scope that it needs. A route without it can't be built."""
    return {"openapi_extra": {SCOPE: scope.value, "security": [{"token": [scope.value]}]}}


def admit(request: Request, scope: Scope, body: bytes) -> Call:
    """Let a token in that allows `scope`, and count the call. Reads the database and asks Redis.

    Raises Problem: unauthorized, scope_missing, too_many_requests, or invalid for an unusable Idempotency-Key.
    """
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    now = clock.now()
    token = None
    if kind.lower() == "bearer" and 0 < len(secret.strip()) <= 200:
        with transaction() as session:
            token = tokens.of_secret(session, secret.strip(), now=now)
    if token is None:
        raise Problem("unauthorized")
    left = abuse.counter().take(
        f"api:{token.id}", seconds=WINDOW_SECONDS, most=settings.load().api_calls_per_minute, now=now
    )
    request.state.left = left
    if left.count < 0:
        raise Problem("too_many_requests", headers={"Retry-After": str(left.seconds)})
    if scope.value not in token.scopes:
        raise Problem(
            "scope_missing", f"This operation needs the scope “{scope}”; the token has {', '.join(token.scopes)}."
        )
    return Call(
        token_id=token.id,
        token_name=token.name,
        scopes=frozenset(Scope(one) for one in token.scopes),
        newsletter_id=token.newsletter_id,
        network=dependencies.origin(request).network,
        now=now,
        key=_key(request),
        request_hash=_hash(request, body),
        action=f"api.{request.scope['endpoint'].__name__}",
        objects={name: str(value) for name, value in request.path_params.items()},
    )


def current(request: Request) -> Call:
    """Return the call that the route admitted."""
    found: Call = request.state.call
    return found


Current = Annotated[Call, Depends(current)]


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return None
    if not (0 < len(key) <= answers.LONGEST_KEY and key.isascii() and key.isprintable()):
        message = f"Send 1 to {answers.LONGEST_KEY} printable ASCII characters."
        raise Problem("invalid", errors=[{"field": "header.Idempotency-Key", "message": message}])
    return key


def _hash(request: Request, body: bytes) -> bytes:
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(asked + body).digest()
