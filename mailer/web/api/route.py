"""What every route of the API shares: the token first, strict input, problems instead of pages, limits told in headers."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from mailer.models.tokens import Scope
from mailer.web import problems
from mailer.web.api import access, acting, failures
from mailer.web.problems import Problem

_JSON: Final = ("application/json", "application/feed+json")

log = structlog.get_logger()


class ScopeUndeclared(TypeError):
    """A route of the API says not which scope it needs, so nobody could tell whom to let in."""


class ApiRoute(APIRoute):
    """A route for programs. It must declare its scope by `**access.needs(…)`; then only tokens with that scope get in."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "operation_id": endpoint.__name__})
        declared = (self.openapi_extra or {}).get(access.SCOPE)
        if declared is None:
            raise ScopeUndeclared(f"The route {path} of the API declares no scope.")
        self.scope = Scope(declared)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the usual handler."""
        handle = super().get_route_handler()
        known = _parameters(self.dependant)

        async def answer(request: Request) -> Response:
            try:
                body = request.state.body = await request.body()
                request.state.call = await run_in_threadpool(access.admit, request, self.scope, body)
                _check(request, body, known)
                response = await handle(request)
            except acting.AnsweredBefore as before:
                headers = {"Idempotency-Replayed": "true"}
                response = Response(
                    before.body, status_code=before.status, media_type="application/json", headers=headers
                )
            except failures.KNOWN as error:
                response = problems.answer(failures.problem_of(error))
            except OperationalError as error:
                log.error("database unavailable", error=type(error).__qualname__)
                response = problems.answer(Problem("unavailable", headers={"Retry-After": "60"}))
            _tell_limits(request, response)
            return response

        return answer


def _parameters(dependant: Dependant) -> set[str]:
    """Return the names of the query parameters that a route knows, those of its dependencies too."""
    own = {str(one.alias) for one in dependant.query_params}
    return own.union(*(_parameters(one) for one in dependant.dependencies))


def _check(request: Request, body: bytes, known: set[str]) -> None:
    """Refuse what no operation of ours can mean. Raises Problem."""
    if any("\0" in str(one) for one in request.path_params.values()):
        raise Problem("not_found")
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        told = [{"field": f"query.{one[:80]}", "message": "There is no such parameter."} for one in unknown[:20]]
        raise Problem("invalid", errors=told)
    if any("\0" in one for one in request.query_params.values()):
        raise Problem("invalid", errors=[{"field": "query", "message": "NUL characters are not text."}])
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind not in _JSON:
        raise Problem("media_type")


def _tell_limits(request: Request, response: Response) -> None:
    """Say what is left of the token's calls (draft-ietf-httpapi-ratelimit-headers)."""
    left = getattr(request.state, "left", None)
    if left is not None:
        response.headers["RateLimit-Policy"] = f'"token";q={left.most};w={access.WINDOW_SECONDS}'
        response.headers["RateLimit"] = f'"token";r={max(left.count, 0)};t={left.seconds}'
