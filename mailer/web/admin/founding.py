"""One more newsletter: what it must have to begin with; everything else is on its own page."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer.db import transaction
from mailer.newsroom import installation, newsletters
from mailer.web import pages
from mailer.web.admin import newsletter_form, screens, session

router = APIRouter(prefix="/newsletters/new", route_class=screens.DeskRoute)

_FIELDS: Final = ("name", "slug", "language", "site_url", "sender_address", "publisher", "postal_address")
_SLUG: Final = "Choose lower-case letters, digits and dashes that no other newsletter has"


@router.api_route("", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Admin) -> Response:
    """Ask for what a newsletter must have; what the whole installation has is filled in."""
    with transaction() as database:
        row = installation.of(database)
        first = next(iter(newsletters.all_newsletters(database)), None)
    values = dict.fromkeys(_FIELDS, "") | {
        "language": row.language,
        "publisher": row.publisher,
        "postal_address": row.postal_address,
        "site_url": first.site_url if first else "",
        "sender_address": first.sender_address if first else "",
    }
    return _page(request, desk, values)


@router.post("")
def found(request: Request, desk: session.Admin) -> Response:
    """Create it, by hand for now, and go on to its feeds."""
    typed = {name: desk.typed(name) for name in _FIELDS}
    with transaction() as database:
        row = installation.of(database)
        errors = _errors(typed, [one.slug for one in newsletters.all_newsletters(database)])
        if not errors:
            values: dict[str, object] = {name: typed[name] for name in _FIELDS if name != "slug"}
            values |= {"sender_name": typed["name"], "timezone": row.timezone, "brand_color": row.brand_color}
            values |= {"logo_url": row.logo_url, "logo_width": row.logo_width}
            newsletters.create(database, typed["slug"], values=values, now=desk.now)
    if errors:
        return _page(request, desk, typed, errors)
    return screens.back(f"/admin/newsletters/{typed['slug']}/feeds", done="saved")


def _errors(typed: Mapping[str, str], taken: list[str]) -> dict[str, str]:
    errors: dict[str, str] = {}
    for name in _FIELDS:
        if not typed[name]:
            errors[name] = "Fill in this field"
        elif name == "slug":
            is_free = typed[name] not in taken and typed[name] not in newsletters.RESERVED_SLUGS
            if not (newsletters.SLUG.match(typed[name]) and is_free):
                errors[name] = _SLUG
        else:
            try:
                newsletters.check({name: typed[name]})
            except newsletters.NewsletterInvalid:
                errors[name] = newsletter_form.COMPLAINTS.get(name, "Enter 1 to 300 characters")
    return errors


def _page(
    request: Request, desk: session.Desk, values: Mapping[str, str], errors: Mapping[str, str] | None = None
) -> Response:
    return screens.render(
        request,
        desk,
        "newsletter_new",
        here="newsletters",
        status=422 if errors else 200,
        values=values,
        errors=dict(errors or {}),
        languages=pages.LANGUAGE_NAMES,
    )
