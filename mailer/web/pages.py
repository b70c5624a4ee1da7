"""From plain values to a reader's page: templates, translation, the publisher's look."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from mailer import i18n, links, settings
from mailer.mail import brand
from mailer.models.content import Newsletter
from mailer.web import dependencies

FOLDER: Final = Path(__file__).parent
LANGUAGE_NAMES: Final = {"fr": "Français", "en": "English", "ru": "Русский", "kk": "Қазақша"}


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a page says of a newsletter: its name above the page, its publisher below."""

    slug: str
    name: str
    description: str
    language: str
    site_url: str
    sender_address: str
    publisher: str
    postal_address: str
    brand_url: str
    is_counted: bool


def publication(newsletter: Newsletter) -> Publication:
    """Take from a newsletter what pages show."""
    colors = brand.palette(newsletter.brand_color, newsletter.brand_color_dark)
    return Publication(
        slug=newsletter.slug,
        name=newsletter.name,
        description=newsletter.description,
        language=newsletter.language,
        site_url=newsletter.site_url,
        sender_address=newsletter.sender_address,
        publisher=newsletter.publisher,
        postal_address=newsletter.postal_address,
        brand_url=_brand_url(colors),
        is_counted=newsletter.tracks_clicks or newsletter.tracks_opens,
    )


def recolored(one: Publication, colors: brand.Palette) -> Publication:
    """Return the same in other colours."""
    return replace(one, brand_url=_brand_url(colors))


def render(request: Request, template: str, *, language: str, status: int = 200, **values: object) -> HTMLResponse:
    """Render templates/public/`template`.html with plain values.

    Values that every page may have: `newsletter` (a Publication or None), `here` (the path that the language links lead
    to, if not this one; None for no such links), `is_public` (True if search engines may list the page).
    """
    here = values.pop("here", request.url.path)
    context: dict[str, object] = {
        "newsletter": None,
        "is_public": False,
        **values,
        "language": language,
        "languages": [(code, name, _with_query(str(here), lang=code)) for code, name in LANGUAGE_NAMES.items() if here],
        "host": settings.load().public_host,
        "_": translation(language),
        "ngettext": plural_translation(language),
        "link_days": links.CONFIRM_LIFETIME.days,
        "keep": functools.partial(_with_query, lang=dependencies.chosen_language(request)),
    }
    html = environment().get_template(f"public/{template}.html").render(context)
    headers = {} if context["is_public"] else {"X-Robots-Tag": "noindex"}
    return HTMLResponse(html, status_code=status, headers=headers | {"Vary": "Accept-Language"})


def translation(language: str) -> Callable[..., Markup]:
    """Return what templates call `_`: a sentence in the language, its {names} filled with escaped values."""

    def translate(message: str, **values: object) -> Markup:
        sentence = str(escape(i18n.gettext(language, message)))
        return Markup(i18n.fill(sentence, {name: escape(value) for name, value in values.items()}))  # noqa: S704

    return translate


def plural_translation(language: str) -> Callable[..., Markup]:
    """Return what templates call `ngettext`: the sentence for {n} things, with its other {names} filled in."""
    return lambda one, many, n, **values: escape(i18n.ngettext(language, one, many, n, **values))


@functools.cache
def static_url(name: str) -> str:
    """Return the address of a file in static/; it changes with the content, so browsers may keep it for a year."""
    digest = hashlib.sha256((FOLDER / "static" / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:10]}"


@functools.cache
def environment() -> Environment:
    """Return what turns templates/ into pages: everything escaped, a missing value an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(static_url=static_url, link=_link, strong=_strong)
    return made


def _brand_url(colors: brand.Palette) -> str:
    return f"/static/brand/{colors.light[1:]}-{colors.dark[1:]}.css"


def _link(path: str, text: str) -> Markup:
    """Write a link that stands inside a translated sentence."""
    return Markup('<a href="{}">{}</a>').format(path, text)


def _strong(text: str) -> Markup:
    return Markup("<b>{}</b>").format(text)


def _with_query(path: str, *, lang: str | None) -> str:
    return f"{path}?{urlencode({'lang': lang})}" if lang else path
