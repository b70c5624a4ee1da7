"""The pictures in mails. Everybody gets the same file from the same address, so asking for it tells nothing about a reader."""

from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mailer.articles import pictures
from mailer.db import transaction
from mailer.models.pictures import PictureKind
from mailer.newsroom import installation

router = APIRouter()

_TYPES: Final = {PictureKind.JPG: "image/jpeg", PictureKind.PNG: "image/png"}
# The digest is in the address: what it names never changes. Mail is read in pages of other sites, which must be allowed.
_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


@router.api_route("/img/{digest}/{width}.{kind}", methods=["GET", "HEAD"])
def picture(
    request: Request,
    digest: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    width: Annotated[int, Path(ge=1, le=9999)],
    kind: PictureKind,
) -> Response:
    """Serve a picture's file."""
    # An address with a query would be another one to every cache, and could name a reader.
    if request.url.query:
        raise HTTPException(404)
    with transaction() as session:
        content = pictures.rendition(session, digest, width, kind)
        content = content or installation.logo_file(session, digest, width, kind)
    if content is None:
        raise HTTPException(404)
    headers = _HEADERS | {"ETag": f'"{digest}-{width}"'}
    if headers["ETag"] in _tags(request):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_TYPES[kind], headers=headers)


def _tags(request: Request) -> set[str]:
    asked = request.headers.get("if-none-match", "")
    return {tag.strip().removeprefix("W/") for tag in asked.split(",")}
