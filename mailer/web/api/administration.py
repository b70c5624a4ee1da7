"""Who has a token, and the audit log. Tokens are made at the desk or the command line only, where people are."""

from datetime import datetime

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.db import transaction
from mailer.models.audit import Actor
from mailer.models.tokens import AccessToken, Scope
from mailer.newsroom import audit, tokens
from mailer.web.api import access, acting, paging
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Id, Listed, Page, Shape

router = APIRouter(route_class=ApiRoute, tags=["Administration"])


class TokenStanding(Shape):
    """A token without its secret, of which only a hash is kept. `newsletter` is null for all newsletters."""

    id: int
    name: str
    prefix: str
    scopes: list[Scope]
    newsletter: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


class AuditLine(Shape):
    """Somebody changed something: who, what (module and function, or a command), which objects, from which network."""

    id: int
    at: datetime
    actor: Actor
    actor_id: int | None
    actor_name: str
    action: str
    newsletter_id: int | None
    objects: dict[str, str]
    network: str | None


@router.get("/tokens", **access.needs(Scope.ADMIN))
def list_tokens(call: access.Current) -> Listed[TokenStanding]:
    """List the tokens."""
    with transaction() as session:
        found = tokens.all_tokens(session, newsletter_id=call.newsletter_id)
        return Listed(data=[_shape(one) for one in found])


@router.delete("/tokens/{token_id}", status_code=204, response_class=Response, **access.needs(Scope.ADMIN))
def revoke_token(call: access.Current, token_id: Id) -> Response:
    """Let a program in no longer, from this moment. A token can revoke itself."""
    with acting.change(call) as session:
        _need(session, call, token_id)
        tokens.revoke(session, token_id)
    return Response(status_code=204)


@router.get("/audit", **access.needs(Scope.ADMIN))
def list_audit_log(
    call: access.Current,
    request: Request,
    response: Response,
    limit: paging.Limit = paging.USUAL,
    cursor: paging.Cursor = None,
) -> Page[AuditLine]:
    """List who changed what, the newest first."""
    before = paging.position(request, cursor)
    wanted = audit.Wanted(newsletter_id=call.newsletter_id)
    with transaction() as session:
        found = audit.entries(session, wanted, before=before, limit=limit + 1)
    page, following = paging.cut(request, response, found, limit, [one.id for one in found])
    return Page(data=[AuditLine.model_validate(one) for one in page], next=following)


def _need(session: Session, call: access.Call, token_id: int) -> None:
    found = [one for one in tokens.all_tokens(session, newsletter_id=call.newsletter_id) if one.id == token_id]
    if not found:
        raise tokens.TokenNotFound(f"There is no token {token_id}.")


def _shape(one: AccessToken) -> TokenStanding:
    kept = {name: getattr(one, name) for name in TokenStanding.model_fields if name != "newsletter"}
    return TokenStanding(**kept, newsletter=one.newsletter.slug if one.newsletter else None)
