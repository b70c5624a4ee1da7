"""Stylesheets and each publisher's colours. Their addresses change with their content, so browsers keep them."""

import functools
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mailer.mail import brand as brand_colors
from mailer.web import pages

router = APIRouter()

_KEEP: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_TYPES: Final = {".css": "text/css", ".svg": "image/svg+xml", ".js": "text/javascript", ".png": "image/png"}
_COLOR: Final = "[0-9A-Fa-f]{6}"
_BRAND: Final = (
    ":root{{--brand:#{light};--on-brand:{on_light}}}\n"
    "@media (prefers-color-scheme:dark){{:root{{--brand:#{dark};--on-brand:{on_dark}}}}}\n"
)


@router.api_route("/static/brand/{light}-{dark}.css", methods=["GET", "HEAD"])
def brand(
    light: Annotated[str, Path(pattern=f"^{_COLOR}$")], dark: Annotated[str, Path(pattern=f"^{_COLOR}$")]
) -> Response:
    """Set a publisher's colours in a file of their own: the content security policy allows no style in the page."""
    css = _BRAND.format(light=light, dark=dark, on_light=readable_on(light), on_dark=readable_on(dark))
    return Response(css, media_type="text/css", headers=_KEEP)


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """Serve a file of the folder static/."""
    content = _files().get(name)
    if content is None:
        raise HTTPException(404)
    is_current = pages.static_url(name).endswith(f"?{request.url.query}")
    kind = _TYPES["." + name.rpartition(".")[2]]
    return Response(content, media_type=kind, headers=_KEEP if is_current else {"Cache-Control": "no-cache"})


def readable_on(color: str) -> str:
    """Return white or black, whichever has the higher contrast on a colour such as 0F5C5C: at least 4.5 (WCAG 2.2)."""
    return max("#FFFFFF", "#000000", key=lambda ink: brand_colors.contrast(ink, f"#{color}"))


@functools.cache
def _files() -> dict[str, bytes]:
    folder = pages.FOLDER / "static"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in _TYPES}
