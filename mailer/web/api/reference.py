"""The API described: OpenAPI 3.1 for programs, and the same as a page for people, made by us of nothing but HTML."""

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from pydantic import Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from mailer import __version__, settings
from mailer.models.tokens import Scope
from mailer.web import pages, problems
from mailer.web.api import access, listing
from mailer.web.api.shapes import Shape

BASE: Final = "/api/v1"
SCOPES: Final = {
    Scope.READ: "Newsletters, feeds, topics, articles, issues and figures; no reader’s address.",
    Scope.SUBSCRIBERS: "Readers: search, show, add, change, unsubscribe, export, erase.",
    Scope.ISSUES: "Draft, edit, arrange and check issues; nothing leaves by it.",
    Scope.SEND: "Test, schedule, send, undo, pause, resume and cancel issues.",
    Scope.ARTICLES: "Push, hold, release, withdraw and pin articles; have feeds read.",
    Scope.ADMIN: "Settings of newsletters, feeds, topics, webhooks; the list of tokens and the audit log.",
}
ABOUT: Final = (
    "Everything that the desk’s pages do, for programs, in the same words and with the same states. "
    "Every operation names the one scope that its token needs."
)
_ALWAYS: Final = (400, 401, 403, 422, 429, 500, 503)
_MEANINGS: Final = {
    400: "The body is not JSON.",
    401: "No valid token.",
    403: "The token lacks the scope, or is for one newsletter only.",
    404: "There is no such thing, or not for this token.",
    409: "The present state forbids it, or somebody changed it meanwhile.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "Something in the request can’t be used; “errors” names the fields.",
    429: "Too many requests; Retry-After says when to go on.",
    500: "A problem on our side.",
    503: "The service is interrupted for a moment.",
}


class FieldProblem(Shape):
    """One field and what is wrong with it; `code` where there is a word for it."""

    field: str
    message: str
    code: str | None = None


class ProblemAnswer(Shape):
    """What went wrong (RFC 9457). `code` is a word for programs, `detail` a sentence for people, `docs` explains it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    docs: str
    errors: list[FieldProblem] = Field(default_factory=list)


def router(operations: APIRouter) -> APIRouter:
    """Return the two addresses that describe these operations; they need no token, since they tell nothing of anybody."""
    made = APIRouter(prefix=BASE, include_in_schema=False)

    @functools.cache
    def described() -> dict[str, Any]:
        return describe(operations)

    @made.get("/openapi.json")
    def openapi() -> Response:
        return JSONResponse(described(), headers={"Cache-Control": "public, max-age=300"})

    @made.api_route("/docs", methods=["GET", "HEAD"])
    def docs() -> Response:
        template = pages.environment().get_template("reference.html")
        values = {"groups": listing.groups(described()), "codes": problems.CODES, "scopes": SCOPES, "about": ABOUT}
        html = template.render(language="en", is_public=False, base=BASE, url=settings.load().public_url, **values)
        return HTMLResponse(html, headers={"X-Robots-Tag": "noindex"})

    return made


def describe(operations: APIRouter) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    document: dict[str, Any] = copy.deepcopy(
        get_openapi(
            title="mailer",
            version=__version__,
            summary="Newsletters, articles, issues and readers.",
            description=ABOUT,
            routes=operations.routes,
            servers=[{"url": "/"}],
        )
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}", mode="validation")
    schemas |= problem.pop("$defs")
    schemas["ProblemAnswer"] = problem
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of the desk."}
    }
    components["headers"] = _headers()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _complete(path, method, operation, schemas)
    return document


def _complete(path: str, method: str, operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    statuses = set(_ALWAYS)
    if "{" in path or "newsletter" in {one["name"] for one in operation.get("parameters", ())} or "/webhooks" in path:
        statuses.add(404)
    if method != "get":
        statuses |= {404, 409, 413, 415}
    limits = {name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit", "RateLimit-Policy")}
    answers = {code: one for code, one in operation["responses"].items() if int(code) < 400}
    for one in answers.values():
        one["headers"] = dict(limits)
        content = one.get("content", {}).get("application/json", {})
        if method == "get" and "Page_" in json.dumps(content):
            one["headers"]["Link"] = {"$ref": "#/components/headers/Link"}
    for status in sorted(statuses):
        answers[str(status)] = {
            "description": _MEANINGS[status],
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}},
        }
    operation["responses"] = answers
    if method == "post":
        operation.setdefault("parameters", []).append(_idempotency_key())
    operation["x-codeSamples"] = [{"lang": "curl", "source": listing.curl(path, method, operation, schemas)}]


def _headers() -> dict[str, Any]:
    return {
        "RateLimit": {
            "description": 'What is left of the token’s calls, and the seconds until it is whole again: "token";r=599;t=42.',
            "schema": {"type": "string"},
        },
        "RateLimit-Policy": {
            "description": f'How many calls a token has in {access.WINDOW_SECONDS} seconds: "token";q=600;w=60.',
            "schema": {"type": "string"},
        },
        "Link": {"description": 'The next page: <…>; rel="next".', "schema": {"type": "string"}},
    }


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "A text of your own for this request. Asked again with it within 24 hours, it is not done again: "
        "the answer comes back as it was.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    }
