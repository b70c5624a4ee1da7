"""Forms: what to paste into a site, how it looks there, what the form asks, and where readers signed up."""

import re
from datetime import timedelta
from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mailer import i18n
from mailer.articles import topics
from mailer.audience import signups, snippets
from mailer.db import transaction
from mailer.mail import mails
from mailer.mail.inlining import InliningFailed
from mailer.mail.rendering import TemplateInvalid
from mailer.models.content import MailKind, Newsletter
from mailer.newsroom import newsletters
from mailer.web import forms as public_forms
from mailer.web import pages
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/forms", route_class=screens.DeskRoute)

SPAN: Final = timedelta(weeks=12)
MOST_SOURCES: Final = 12
# Mails that are no issue, and what they are called.
MAILS: Final = {MailKind.CONFIRM: "Asks to confirm", MailKind.ALREADY: "Says that the address is subscribed already"}
SWITCHES: Final = ("asks_rhythm", "asks_topics", "sends_welcome")
_TITLES: Final = {
    snippets.Kind.HTML: ("Form", "Plain HTML: works everywhere, also without JavaScript."),
    snippets.Kind.SCRIPT: (
        "Form with a script",
        "The reader stays on your page; without JavaScript it is the form above.",
    ),
    snippets.Kind.IFRAME: ("Frame", "For systems that strip forms."),
    snippets.Kind.LINK: ("Link", "For mails, social networks and menus."),
}


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current) -> Response:
    """Show the first newsletter's forms."""
    with transaction() as database:
        listed = newsletters.all_newsletters(database, among=desk.newsletter_ids)
        if not listed:
            return screens.render(request, desk, "forms", here="forms", newsletter=None)
        return _page(request, desk, database, listed[0], _usual(listed[0]))


@router.api_route("/{slug}", methods=["GET", "HEAD"])
def show(
    request: Request, desk: session.Current, slug: session.Slug, lang: str = "", color: str = "", source: str = ""
) -> Response:
    """Show a newsletter's snippets, with a preview, in a language and a colour."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        look = snippets.Look(
            language=lang if lang in i18n.LANGUAGES else newsletter.language,
            color=color if re.fullmatch(r"#[0-9A-Fa-f]{6}", color) else newsletter.brand_color,
            source=source if re.fullmatch(r"[\w.:/-]{1,100}", source) else "site",
        )
        return _page(request, desk, database, newsletter, look)


@router.api_route("/{slug}/mail", methods=["GET", "HEAD"])
def mail(
    request: Request, desk: session.Current, slug: session.Slug, kind: str = "confirm", lang: str = ""
) -> Response:
    """Return the very HTML of the mail that asks to confirm, or that says that an address is a reader's already."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        wanted = MailKind(kind) if kind in MAILS else MailKind.CONFIRM
        language = lang if lang in i18n.LANGUAGES else newsletter.language
        try:
            html = mails.notice_preview(newsletter, wanted, language).html
        except (TemplateInvalid, InliningFailed) as error:
            values = {"detail": str(error), "is_framed": True}
            return screens.render_outside(request, "preview_broken", status=422, language=desk.language, **values)
    policy = composing.PREVIEW_POLICY.format(images="https: data: http://localhost:*")
    return HTMLResponse(html, headers={**screens.HEADERS, "Content-Security-Policy": policy})


@router.post("/{slug}")
def edit(request: Request, desk: session.Admin, slug: session.Slug) -> Response:
    """Change what the form asks, who may show it in a frame, and whether the last issue welcomes."""
    values: dict[str, object] = {name: bool(desk.typed(name)) for name in SWITCHES}
    typed = desk.typed("form_sites")
    values["form_sites"] = typed.split()
    try:
        with transaction() as database:
            newsletters.edit(database, newsletters.get(database, slug), values=values, now=desk.now)
    except newsletters.NewsletterInvalid:
        with transaction() as database:
            newsletter = newsletters.get(database, slug)
            error = "Enter sites such as https://courrier.example, one a line, without a path"
            return _page(
                request, desk, database, newsletter, _usual(newsletter), sites=typed, errors={"form_sites": error}
            )
    return screens.back(f"/admin/forms/{slug}", done="saved")


def _usual(newsletter: Newsletter) -> snippets.Look:
    return snippets.Look(language=newsletter.language, color=newsletter.brand_color)


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    newsletter: Newsletter,
    look: snippets.Look,
    *,
    sites: str | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    counted = signups.by_source(database, newsletter.id, since=desk.now - SPAN)
    choices = _choices(database, newsletter, desk)
    return screens.render(
        request,
        desk,
        "forms",
        here="forms",
        status=422 if errors else 200,
        has_frame=True,
        newsletter=newsletter,
        all_newsletters=newsletters.all_newsletters(database, among=desk.newsletter_ids),
        look=look,
        languages=pages.LANGUAGE_NAMES,
        made=[
            (kind.value, *_TITLES[kind], snippets.make(newsletter, kind, look, choices=choices))
            for kind in snippets.Kind
        ],
        frame=snippets.frame_path(newsletter, look),
        mails=[(one.value, label) for one, label in MAILS.items()],
        frame_height=snippets.frame_height(choices),
        sites="\n".join(newsletter.form_sites) if sites is None else sites,
        errors=errors or {},
        counted=counted,
        bars=_bars(counted),
        confirmed=sum(row[1] for row in counted),
        pending=sum(row[2] for row in counted),
    )


def _choices(database: Session, newsletter: Newsletter, desk: session.Desk) -> int:
    """Count the lines of what the form offers to choose, with their titles."""
    offered = len(public_forms.offered_rhythms(newsletter, now=desk.now)) if newsletter.asks_rhythm else 0
    rhythms = offered + 1 if offered > 1 else 0
    known = len(topics.of(database, newsletter.id)) if newsletter.asks_topics else 0
    return rhythms + (known + 1 if known else 0)


def _bars(counted: list[tuple[str | None, int, int]]) -> list[tuple[str | None, int, int, float, float]]:
    """Return the largest sources with the lengths of their two bars, in per cent."""
    shown = counted[:MOST_SOURCES]
    longest = max((row[1] + row[2] for row in shown), default=0) or 1
    return [(*row, round(100 * row[1] / longest, 1), round(100 * row[2] / longest, 1)) for row in shown]
