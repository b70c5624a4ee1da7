"""What a publisher pastes into a site so that readers sign up there: a form, a form with its script, a frame, or a link."""

import enum
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from markupsafe import escape

from mailer import i18n, links
from mailer.mail import brand
from mailer.models.content import Newsletter

# In CSS pixels: high enough for the form with its longest sentence on a phone, and what each thing to choose adds.
FRAME_HEIGHT: Final = 460
CHOICE_HEIGHT: Final = 48


class Kind(enum.StrEnum):
    """The ways to put a sign-up form on a site; the first needs nothing and is the usual one."""

    HTML = "html"
    SCRIPT = "script"
    IFRAME = "iframe"
    LINK = "link"


@dataclass(frozen=True, kw_only=True)
class Look:
    """In which language and colour (#RRGGBB) a form is shown, and the name of its place, as sign-ups are counted by it."""

    language: str
    color: str
    source: str = "site"


def make(newsletter: Newsletter, kind: Kind, look: Look, *, choices: int = 0) -> str:
    """Return the HTML, or for a link the address; `choices` counts what the form offers to tick. Raises brand.ColorInvalid."""
    if kind == Kind.LINK:
        return links.url(f"/{newsletter.slug}?{urlencode({'lang': look.language, 'source': look.source})}")
    if kind == Kind.IFRAME:
        return _frame(newsletter, look, height=frame_height(choices))
    return _form(newsletter, look, has_script=kind == Kind.SCRIPT)


def frame_path(newsletter: Newsletter, look: Look) -> str:
    """Return the path of the form alone."""
    query = {"lang": look.language, "color": look.color.removeprefix("#"), "source": look.source}
    return f"/{newsletter.slug}/embed?{urlencode(query)}"


def frame_height(choices: int) -> int:
    """Return how high the frame has to be, in CSS pixels."""
    return FRAME_HEIGHT + CHOICE_HEIGHT * choices


def _frame(newsletter: Newsletter, look: Look, *, height: int) -> str:
    title = i18n.gettext(look.language, "Get {newsletter} by e-mail", newsletter=newsletter.name)
    return (
        f'<iframe src="{escape(links.url(frame_path(newsletter, look)))}" title="{escape(title)}"\n'
        f'  width="100%" height="{height}" style="border:0" loading="lazy"></iframe>\n'
    )


def _form(newsletter: Newsletter, look: Look, *, has_script: bool) -> str:
    def say(sentence: str) -> str:
        return str(escape(i18n.gettext(look.language, sentence)))

    title = i18n.gettext(look.language, "Newsletter")
    shades, field = brand.palette(look.color), f"{newsletter.slug}-email"
    about = f" — {escape(newsletter.description)}" if newsletter.description else ""
    button = (
        f"background:{shades.light};color:{shades.on_light};border:0;border-radius:6px;padding:12px 22px;font:inherit"
    )
    lines = [
        f'<form action="{links.url(f"/s/{newsletter.slug}")}" method="post" accept-charset="utf-8"'
        f"{' data-newsletter' if has_script else ''}>",
        f'  <p lang="{newsletter.language}"><strong>{escape(title)}</strong>{about}</p>',
        f'  <input type="hidden" name="lang" value="{look.language}">',
        f'  <input type="hidden" name="source" value="{escape(look.source)}">',
        '  <div hidden aria-hidden="true"><input name="website" autocomplete="off" tabindex="-1"></div>',
        f'  <p><label for="{field}">{say("Email address")}</label><br>',
        f'  <input id="{field}" type="email" name="email" autocomplete="email" inputmode="email" required></p>',
        f'  <p><button style="{button}">{say("Subscribe")}</button></p>',
        f"  <p><small>{say('We’ll email you to confirm. You can leave with one click in every message.')}</small></p>",
        "</form>",
    ]
    if has_script:
        lines += [
            '<div role="status"></div>',
            f'<script defer src="{links.url("/static/embed.js")}"></script>',
        ]
    return "\n".join(lines) + "\n"
