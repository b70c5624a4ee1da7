"""Articles that a site's own system sends, as an alternative to feeds."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from mailer.articles import polling
from mailer.feeds import jsonfeed
from mailer.models.tokens import Scope
from mailer.web.api import access, acting
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Shape, Slug
from mailer.web.problems import Problem

router = APIRouter(prefix="/newsletters/{slug}/articles", route_class=ApiRoute, tags=["Articles"])


class PushedFeed(Shape):
    """A JSON Feed (jsonfeed.org), or only its items: each needs `title` and `url`, and should have an `id` of its own."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"items": [{"id": "812", "url": "https://courrier.example/eau", "title": "L’eau du Syr-Daria"}]}
            ]
        },
    )

    items: Annotated[list[dict[str, JsonValue]], Field(max_length=500)]


class Taken(Shape):
    """What came of a push."""

    new: int
    changed: int


class TakenBack(Shape):
    """How many articles are withdrawn that were not before: 1, or 0 if nothing changed."""

    withdrawn: int


@router.post(
    "",
    response_model=Taken,
    openapi_extra={
        **access.needs(Scope.ARTICLES)["openapi_extra"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": PushedFeed.model_json_schema()}},
        },
    },
)
def push_articles(call: access.Current, request: Request, slug: Slug) -> Response:
    """Take new and changed articles, at most 500: the same id again is the same article.

    One without a title or address, and none is taken.
    """
    body: bytes = request.state.body
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("invalid", "The text is not UTF-8, as JSON is (RFC 8259 section 8.1).") from error
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        pushed = jsonfeed.items(text, newsletter.site_url)
        feed = polling.add_push_feed(session, newsletter, now=call.now)
        stored = polling.push(session, feed, pushed, now=call.now)
        return acting.answer(call, Taken(new=stored.new, changed=stored.changed))


@router.delete("/{guid:path}", response_model=TakenBack, **access.needs(Scope.ARTICLES))
def take_back_article(
    call: access.Current,
    slug: Slug,
    guid: Annotated[str, Path(max_length=500, description="The article’s own id, as it was pushed.")],
) -> Response:
    """Take back an article that was pushed, by its own id; pushed again, it returns."""
    with acting.change(call) as session:
        feed = polling.add_push_feed(session, call.newsletter(session, slug), now=call.now)
        return acting.answer(call, TakenBack(withdrawn=len(polling.take_back(session, feed, [guid]))))
