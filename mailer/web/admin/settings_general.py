"""Settings, General and Brand: the publication's own data, its colour and its logo. Newsletters with the same values follow."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n, settings
from mailer.articles import shrinking
from mailer.db import transaction
from mailer.mail import brand
from mailer.newsroom import installation, newsletters, reasons
from mailer.web import pages
from mailer.web.admin import newsletter_form, screens, session

router = APIRouter(prefix="/settings", route_class=screens.DeskRoute)

_GENERAL: Final = ("name", "language", "timezone", "publisher", "postal_address", "contact_address")
_BRAND: Final = ("brand_color", "logo_width")
_MOST_BYTES: Final = 900_000
_LATER: Final = "The picture can’t be read now. Try again in a minute."


async def read_upload(request: Request) -> bytes:
    """Return the file of the form, empty if there is none."""
    form = await request.form(max_files=1)
    file = form.get("logo")
    if not isinstance(file, UploadFile):
        return b""
    content = await file.read()
    await file.close()
    return content


Upload = Annotated[bytes, Depends(read_upload)]


@router.api_route("", methods=["GET", "HEAD"])
def first(desk: session.Admin) -> Response:  # noqa: ARG001
    """Lead to the first page of the settings."""
    return screens.back("/admin/settings/general")


@router.api_route("/general", methods=["GET", "HEAD"])
def general(request: Request, desk: session.Admin) -> Response:
    """Show what is known of the publication."""
    return _general(request, desk)


@router.post("/general")
def edit_general(request: Request, desk: session.Admin) -> Response:
    """Change it; newsletters that had the old value follow."""
    typed = {name: desk.typed(name) for name in _GENERAL}
    try:
        with transaction() as database:
            installation.change(database, typed, now=desk.now)
    except installation.ChoiceInvalid as error:
        return _general(request, desk, typed=typed, errors=error.errors)
    return screens.back("/admin/settings/general", done="saved")


@router.api_route("/brand", methods=["GET", "HEAD"])
def look(request: Request, desk: session.Admin) -> Response:
    """Show colour and logo, and what mails look like with them by day and by night."""
    return _brand(request, desk)


@router.post("/brand")
def edit_brand(request: Request, desk: session.Admin) -> Response:
    """Change colour and width, or show a colour before it is kept."""
    typed = {name: desk.typed(name) for name in _BRAND}
    errors = _brand_errors(typed)
    if errors or desk.typed("act") == "look":
        request.state.changed_nothing = True
        return _brand(request, desk, typed=typed, errors=errors)
    values = {"brand_color": typed["brand_color"].upper(), "logo_width": int(typed["logo_width"])}
    with transaction() as database:
        installation.change(database, values, now=desk.now)
    return screens.back("/admin/settings/brand", done="saved")


@router.post("/brand/logo")
def upload(request: Request, desk: session.Admin, content: Upload) -> Response:
    """Take a picture as the logo, made anew by us; or do without one."""
    address: str | None = None
    try:
        if desk.typed("act") != "remove":
            if len(content) > _MOST_BYTES:
                raise shrinking.PictureUnusable("The picture is larger than 0.9 MB.")
            made = shrinking.shrink(content, is_logo=True)
    except (shrinking.PictureUnusable, shrinking.ShrinkingUnfinished) as error:
        unusable = isinstance(error, shrinking.PictureUnusable)
        sentence = str(error) if unusable else i18n.gettext(desk.language, _LATER)
        return _brand(request, desk, errors={"logo": reasons.say(desk.language, sentence)})
    with transaction() as database:
        if desk.typed("act") != "remove":
            address = f"{settings.load().public_url}{installation.keep_logo(database, made, now=desk.now)}"
        installation.change(database, {"logo_url": address}, now=desk.now)
    return screens.back("/admin/settings/brand", done="saved")


def _general(
    request: Request,
    desk: session.Desk,
    *,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    with transaction() as database:
        row = installation.of(database)
        every = newsletters.all_newsletters(database)
    return screens.render(
        request,
        desk,
        "settings_general",
        here="settings",
        status=422 if errors else 200,
        values=typed or {name: getattr(row, name) for name in _GENERAL},
        errors=dict(errors or {}),
        languages=pages.LANGUAGE_NAMES,
        newsletters=every,
    )


def _brand(
    request: Request,
    desk: session.Desk,
    *,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    with transaction() as database:
        row = installation.of(database)
        draft = installation.newest_draft(database)
    values: dict[str, Any] = {name: str(getattr(row, name)) for name in _BRAND} | dict(typed or {})
    return screens.render(
        request,
        desk,
        "settings_brand",
        here="settings",
        status=422 if errors else 200,
        values=values,
        errors=dict(errors or {}),
        newsletter={"name": row.name or settings.load().public_host},
        shades=newsletter_form.shades(values | {"brand_color_dark": ""}),
        logo_url=row.logo_url,
        draft=draft,
        has_frame=True,
    )


def _brand_errors(typed: Mapping[str, str]) -> dict[str, str]:
    errors = {}
    try:
        brand.palette(typed["brand_color"])
    except brand.ColorInvalid:
        errors["brand_color"] = "Enter a colour such as #0F5C5C"
    least, most = newsletters.LOGO_WIDTHS
    if not re.fullmatch("[0-9]{1,4}", typed["logo_width"]) or not least <= int(typed["logo_width"]) <= most:
        errors["logo_width"] = "Enter a number of pixels from 24 to 536"
    return errors
