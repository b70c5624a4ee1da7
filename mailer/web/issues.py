"""Issues on the web: each as everybody may see it (R14), the archive (R15), feeds of them, and what search engines may list.

No address here holds a token, and no page a reader's link.
"""

import hashlib
import itertools
import re
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mailer import i18n, links, settings
from mailer.db import transaction
from mailer.issues import archive, issues, schedules
from mailer.issues.archive import Published
from mailer.mail import brand
from mailer.models.content import Issue, Newsletter
from mailer.newsroom import newsletters
from mailer.web import dependencies, faces, pages, public

router = APIRouter()

# A public copy has its styles inside and pictures from the publisher's site; whatever an article smuggled in stays inert.
ISSUE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src https: data: http://localhost:*; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
PAGE_LENGTH: Final = 60
FEED_LENGTH: Final = 20
SITEMAP_LENGTH: Final = 40_000
_FOR_A_WHILE: Final = "public, max-age=300"
_KINDS: Final = {"rss": "application/rss+xml", "atom": "application/atom+xml"}
_HEAD_END: Final = re.compile(r"</head\s*>", re.IGNORECASE)
_BODY_START: Final = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_BODY_END: Final = re.compile(r"</body\s*>(?!.*</body\s*>)", re.IGNORECASE | re.DOTALL)
# What no XML may hold.
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Number = Annotated[int, Path(ge=1, lt=2**31)]


@router.api_route("/i/{issue_id}", methods=["GET", "HEAD"])
def issue(request: Request, issue_id: Annotated[int, Path(ge=1, lt=2**63)]) -> Response:
    """Show an issue by the address that stands in its mails."""
    with transaction() as session:
        return _issue(request, session, issue_id)


@router.api_route("/archive", methods=["GET", "HEAD"])
def archives(request: Request) -> Response:
    """Lead to the archive of the only newsletter, or list the newsletters."""
    with transaction() as session:
        slugs = [one.slug for one in newsletters.all_newsletters(session)]
    return RedirectResponse(_keep(request, f"/{slugs[0]}/archive" if len(slugs) == 1 else "/"), status_code=302)


@router.api_route("/{slug}/archive", methods=["GET", "HEAD"])
def listed(request: Request, slug: str, before: int = 0) -> Response:
    """List a newsletter's issues by month, newest first, a page at a time (R15)."""
    with transaction() as session:
        newsletter = public.find(session, slug)
        language = dependencies.language(request, newsletter.language)
        limit = before if 0 < before < 2**31 else None
        found = archive.listed(session, newsletter, limit=PAGE_LENGTH + 1, before=limit)
        return pages.render(
            request,
            "archive",
            language=language,
            newsletter=faces.publication(newsletter),
            months=_by_month(language, newsletter, found[:PAGE_LENGTH]),
            older=_older(request, slug, found[PAGE_LENGTH - 1].number) if len(found) > PAGE_LENGTH else None,
            newest=_keep(request, f"/{slug}/archive") if limit is not None else None,
            here=f"/{slug}/archive",
            is_public=newsletter.is_indexable,
        )


@router.api_route("/{slug}/feed.{kind}", methods=["GET", "HEAD"])
def feed(request: Request, slug: str, kind: str) -> Response:
    """Give the newest issues as RSS or Atom: title, first words, address."""
    with transaction() as session:
        newsletter = public.find(session, slug)
        found = archive.listed(session, newsletter, limit=FEED_LENGTH)
    if kind not in _KINDS:
        raise newsletters.NewsletterNotFound("There is no such feed.")
    changed_at = max([newsletter.created_at, *(one.at for one in found)])
    entries = [
        {
            "id": _tag(f"issue/{one.id}", since=newsletter.created_at),
            "title": _CONTROL.sub("", one.title),
            "summary": _CONTROL.sub("", one.preview_text),
            "url": links.url(one.path),
            "at": one.at.isoformat(),
            "rfc_date": format_datetime(one.at),
        }
        for one in found
    ]
    text = _xml(
        f"issues.{kind}",
        newsletter=newsletter,
        id=_tag(newsletter.slug, since=newsletter.created_at),
        here=links.url(f"/{slug}/feed.{kind}"),
        home=links.url(f"/{slug}/archive"),
        changed_at=changed_at.isoformat(),
        rfc_date=format_datetime(changed_at),
        entries=entries,
    )
    return _cached(request, text, media_type=_KINDS[kind], changed_at=changed_at)


@router.api_route("/sitemap.xml", methods=["GET", "HEAD"])
def sitemap(request: Request) -> Response:
    """List for search engines the pages that they may list."""
    with transaction() as session:
        every = newsletters.all_newsletters(session)
        found = archive.indexable(session, limit=SITEMAP_LENGTH)
    paths = [f"/{one.slug}" for one in every] + [f"/{one.slug}/archive" for one in every if one.is_indexable]
    entries: list[tuple[str, str | None]] = [(links.url(path), None) for path in ("/", *paths)]
    entries += [(links.url(one.path), one.at.date().isoformat()) for one in found]
    return _cached(request, _xml("sitemap.xml", entries=entries), media_type="application/xml")


@router.api_route("/{slug}/{number:int}", methods=["GET", "HEAD"])
def by_number(request: Request, slug: str, number: Number) -> Response:
    """Show an issue by its newsletter and number."""
    with transaction() as session:
        issue_id = archive.find(session, public.find(session, slug), number)
        if issue_id is None:
            raise issues.IssueNotFound(f"“{slug}” has no issue {number}.")
        return _issue(request, session, issue_id)


def _issue(request: Request, session: Session, issue_id: int) -> Response:
    found = issues.get(session, issue_id)
    if found.web_html is None or found.started_at is None:
        raise issues.IssueNotFound(f"Issue {issue_id} was not sent.")
    is_public = found.newsletter.is_indexable and found.state in archive.LISTED
    headers = {"Content-Security-Policy": ISSUE_POLICY, "Cache-Control": _FOR_A_WHILE}
    headers |= {} if is_public else {"X-Robots-Tag": "noindex"}
    return HTMLResponse(_with_frame(request, session, found, is_public=is_public), headers=headers)


def _with_frame(request: Request, session: Session, found: Issue, *, is_public: bool) -> str:
    """Put into an issue's public copy what a page has and a mail has not: where it belongs, and what is around it.

    The copy is in the newsletter's language, and what is put around it in the one that ?lang= asks for.
    """
    newsletter = found.newsletter
    before, after = archive.neighbours(session, found)
    colors = brand.palette(newsletter.brand_color, newsletter.brand_color_dark)
    here = f"/{newsletter.slug}/{found.number}"
    language = dependencies.chosen_language(request) or newsletter.language
    values = {
        "_": pages.translation(language),
        "language": language,
        "languages": pages.languages(here),
        "keep": pages.keep(request),
        "newsletter": newsletter,
        "colors": colors,
        "title": archive.title(found),
        "description": archive.preview_text(found),
        "url": links.url(here),
        "root": links.url(""),
        "picture": archive.picture_url(session, found.id),
        "before": before,
        "after": after,
        "is_public": is_public,
    }
    templates = pages.environment().get_template("public/issue_frame.html").make_module(values)
    html = found.web_html or ""
    for place, name in ((_HEAD_END, "head"), (_BODY_END, "foot")):
        piece = str(getattr(templates, name)())
        html = place.sub(lambda match, piece=piece: piece + match[0], html, count=1)  # type: ignore[misc]
    top = str(templates.top())  # type: ignore[attr-defined]
    return _BODY_START.sub(lambda match: match[0] + top, html, count=1)


def _by_month(
    language: str, newsletter: Newsletter, found: list[Published]
) -> list[tuple[str, list[tuple[Published, str]]]]:
    """Sort issues under the names of their months, each with its day in words."""
    zone = schedules.zone(newsletter.timezone)
    months = []
    for _, group in itertools.groupby(found, key=lambda one: one.at.astimezone(zone).strftime("%Y-%m")):
        several = [(one, one.at.astimezone(zone)) for one in group]
        name = i18n.format_month(language, several[0][1])
        months.append((name, [(one, i18n.format_date(language, at)) for one, at in several]))
    return months


def _tag(path: str, *, since: datetime) -> str:
    """Make an id that stays the same wherever the service moves to by a new address of the page (RFC 4151)."""
    return f"tag:{settings.load().public_host},{since:%Y-%m-%d}:{path}"


def _xml(template: str, **values: object) -> str:
    return pages.environment().get_template(f"feeds/{template}").render(values)


def _cached(request: Request, text: str, *, media_type: str, changed_at: datetime | None = None) -> Response:
    """Answer with a text that changes rarely; 304 to who has it already."""
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'
    headers = {"Cache-Control": _FOR_A_WHILE, "ETag": etag}
    if changed_at is not None:
        headers["Last-Modified"] = format_datetime(changed_at.replace(microsecond=0), usegmt=True)
    if _has_it(request, etag, changed_at):
        return Response(status_code=304, headers=headers)
    return Response(text, media_type=f"{media_type}; charset=utf-8", headers=headers)


def _has_it(request: Request, etag: str, changed_at: datetime | None) -> bool:
    """Tell whether the client named this very version; a tag counts before a date (RFC 9110 13.2.2)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return etag in {one.strip().removeprefix("W/") for one in tags.split(",")}
    since = request.headers.get("if-modified-since")
    if since is None or changed_at is None:
        return False
    try:
        return parsedate_to_datetime(since) >= changed_at.replace(microsecond=0)
    except (TypeError, ValueError):
        return False


def _keep(request: Request, path: str) -> str:
    chosen = dependencies.chosen_language(request)
    return f"{path}?lang={chosen}" if chosen else path


def _older(request: Request, slug: str, number: int) -> str:
    chosen = dependencies.chosen_language(request)
    return f"/{slug}/archive?before={number}" + (f"&lang={chosen}" if chosen else "")
