"""Articles that a site's own system sends, as an alternative to feeds. JSON in and out; errors as RFC 9457 problems."""

import json
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from mailer import clock
from mailer.articles import polling
from mailer.db import transaction
from mailer.feeds import jsonfeed
from mailer.feeds.parsed import FeedInvalid
from mailer.models.tokens import AccessToken, Scope
from mailer.newsroom import tokens

router = APIRouter(prefix="/api/v1")

_PROBLEM: Final = "application/problem+json"


@router.post("/newsletters/{slug}/articles")
async def push(request: Request, slug: str) -> Response:
    """Take new and changed articles: a JSON Feed (jsonfeed.org), or {"items": […]} with its items. At most 500.

    The same id again is the same article. 200 with what came of them; 422 if one has no title or no address, and then
    none was taken.
    """
    body = await request.body()
    return await run_in_threadpool(_push, slug, request.headers.get("authorization", ""), body)


@router.delete("/newsletters/{slug}/articles/{guid:path}")
def take_back(request: Request, slug: str, guid: Annotated[str, Path(max_length=500)]) -> Response:
    """Take an article back by its id, so that no issue takes it; pushed again, it returns. 200 also if nothing changed."""
    with transaction() as session:
        token = _token(session, slug, request.headers.get("authorization", ""))
        if token is None:
            return _refused()
        feed = polling.add_push_feed(session, token.newsletter, now=clock.now())
        return JSONResponse({"withdrawn": len(polling.take_back(session, feed, [guid]))})


def _push(slug: str, authorization: str, body: bytes) -> Response:
    now = clock.now()
    try:
        with transaction() as session:
            token = _token(session, slug, authorization)
            if token is None:
                return _refused()
            pushed = jsonfeed.items(body.decode("utf-8"), token.newsletter.site_url)
            feed = polling.add_push_feed(session, token.newsletter, now=now)
            stored = polling.push(session, feed, pushed, now=now)
    except UnicodeDecodeError:
        return _problem(422, "The text is not UTF-8", "JSON is UTF-8 (RFC 8259 section 8.1); send it so.")
    except FeedInvalid as error:
        return _problem(422, "This is no list of articles", error.message)
    except polling.PushInvalid as error:
        return _problem(422, "An article can't be taken", f"{error} Nothing was stored.")
    return JSONResponse({"new": stored.new, "changed": stored.changed})


def _token(session: Session, slug: str, authorization: str) -> AccessToken | None:
    """Return the token of an Authorization header, if it is one for this newsletter."""
    kind, _, secret = authorization.partition(" ")
    if kind.lower() != "bearer":
        return None
    token = tokens.of_secret(session, secret.strip(), scope=Scope.ARTICLES, now=clock.now())
    return token if token is not None and token.newsletter.slug == slug else None


def _refused() -> Response:
    words = "Send “Authorization: Bearer …” with a token of this newsletter: mailer token create tells how to make one."
    response = _problem(401, "No token that allows this", words)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _problem(status: int, title: str, detail: str) -> Response:
    """Answer with a problem (RFC 9457)."""
    content = json.dumps({"title": title, "status": status, "detail": detail}, ensure_ascii=False)
    return Response(content, status_code=status, media_type=_PROBLEM)
