"""Lists a page at a time: an opaque cursor that nobody can make but us, and a Link header to the next page."""

from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from mailer import links
from mailer.links import Purpose
from mailer.web.problems import Problem

MOST: Final = 200
USUAL: Final = 50
T = TypeVar("T")

Cursor = Annotated[
    str | None,
    Query(max_length=200, description="Where to go on: `next` of the page before. Left out: the first page."),
]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]


def position(request: Request, cursor: str | None) -> int | None:
    """Return the id that the page before ended with; None for the first page. Raises Problem for a cursor of another list."""
    if cursor is None:
        return None
    try:
        path, _, last = links.unseal(Purpose.CURSOR, cursor).rpartition("\n")
        if path == request.url.path:
            return int(last)
    except (links.TokenInvalid, UnicodeError):
        pass
    raise Problem("invalid", errors=[{"field": "query.cursor", "message": "This is no cursor of this list."}])


def cut(
    request: Request, response: Response, found: Sequence[T], limit: int, last: Sequence[int]
) -> tuple[list[T], str | None]:
    """Cut a list that was asked for one more than `limit`; return the page and the cursor of the next, which Link names too.

    `last` are the ids of `found`.
    """
    if len(found) <= limit:
        return list(found), None
    cursor = links.seal(Purpose.CURSOR, f"{request.url.path}\n{last[limit - 1]}")
    query = request.url.include_query_params(cursor=cursor).query
    response.headers["Link"] = f'<{links.url(request.url.path)}?{query}>; rel="next"'
    return list(found[:limit]), cursor
