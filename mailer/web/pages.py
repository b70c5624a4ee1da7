"""From plain values to a reader's page: templates, translation, the publisher's look."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from mailer import i18n, links
from mailer.web import dependencies, faces

FOLDER: Final = Path(__file__).parent
LANGUAGE_NAMES: Final = {"fr": "Français", "en": "English", "ru": "Русский", "kk": "Қазақша"}


def render(request: Request, template: str, *, language: str, status: int = 200, **values: object) -> HTMLResponse:
    """Render templates/public/`template`.html with plain values.

    Values that every page may have: `newsletter` (a Publication or None for the publisher's own page; then it may ask the
    database), `here` (the path that the language links lead to, if not this one; None for no such links), `is_public`
    (True if search engines may list the page).
    """
    here = values.pop("here", request.url.path)
    newsletter = values.pop("newsletter", None)
    context: dict[str, object] = {
        "is_public": False,
        **values,
        "newsletter": newsletter,
        "face": newsletter or (values["face"] if "face" in values else faces.of(request).house()),
        "language": language,
        "languages": languages(str(here)) if here else [],
        "_": translation(language),
        "ngettext": plural_translation(language),
        "link_days": links.CONFIRM_LIFETIME.days,
        "keep": keep(request),
    }
    html = environment().get_template(f"public/{template}.html").render(context)
    headers = {} if context["is_public"] else {"X-Robots-Tag": "noindex"}
    return HTMLResponse(html, status_code=status, headers=headers | {"Vary": "Accept-Language"})


def languages(here: str) -> list[tuple[str, str, str]]:
    """List what the switch between languages offers at a path: code, name, address."""
    return [(code, name, _with_query(here, lang=code)) for code, name in LANGUAGE_NAMES.items()]


def keep(request: Request) -> Callable[[str], str]:
    """Return what adds to a path the language that the page was asked for in its address."""
    return functools.partial(_with_query, lang=dependencies.chosen_language(request))


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
    made.globals.update(static_url=static_url, link=_link, mail_link=_mail_link, strong=_strong)
    return made


def _link(path: str, text: str) -> Markup:
    """Write a link that stands inside a translated sentence."""
    return Markup('<a href="{}">{}</a>').format(path, text)


def _mail_link(address: str) -> Markup:
    return Markup('<a href="mailto:{}">{}</a>').format(quote(address, safe="@"), address)


def _strong(text: str) -> Markup:
    return Markup("<b>{}</b>").format(text)


def _with_query(path: str, *, lang: str | None) -> str:
    return f"{path}?{urlencode({'lang': lang})}" if lang else path
