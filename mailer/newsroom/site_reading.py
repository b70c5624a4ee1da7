"""Reading a newsroom's site at the first run: its feed, the newsletter made of it, and the first draft. A worker's work.

No transaction spans the network.
"""

import ipaddress
import re
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock, queue, settings
from mailer.articles import discovery, fetching, polling, sites
from mailer.db import transaction
from mailer.feeds import fetch, urls
from mailer.issues import issues
from mailer.models.accounts import Account
from mailer.models.content import Issue, Newsletter
from mailer.models.installation import Installation, SiteState
from mailer.newsroom import installation, newsletters

PATIENCE: Final = timedelta(seconds=90)
PICTURE_SECONDS: Final = 10
_LONGEST_SLUG: Final = 30
# What the newsletter's own address begins with, by its language.
_MAILBOXES: Final = {"fr": "lettre"}

log = structlog.get_logger()


class AddressUnclear(ValueError):
    """What was typed is no web address."""


def ask(session: Session, typed: str, *, now: datetime) -> None:
    """Have a site read; ring queue.READ_SITE afterwards. Raises AddressUnclear."""
    address = typed.strip()
    asked = address if "://" in address else f"https://{address}"
    host = (urls.web_address(asked).host if urls.web_address(asked) else "") or ""  # type: ignore[union-attr]
    if len(address) > urls.LONGEST or not host or not ("." in host or ":" in host or host == "localhost"):
        raise AddressUnclear("Enter the address of your site, such as courrier.example")
    row = installation.lock(session, now=now)
    row.site_url, row.site_state, row.site_found, row.asked_at, row.updated_at = address, SiteState.ASKED, {}, now, now
    session.flush()


def read() -> None:
    """Read the site that was asked for, if there is one: find its feed, make the newsletter, draft from its articles.

    Doing it twice changes nothing more. Talks to the network for a minute at most.
    """
    address = _take()
    if address is None:
        return
    try:
        site = sites.read(address, private_networks=settings.load().feed_private_networks)
    except discovery.NoFeedFound:
        _fail(address, {"code": "no_feed"})
        return
    except fetch.FeedUnreachable as error:
        _fail(address, {"code": "unreachable", "detail": error.message})
        return
    newsletter_id, feed_id = _make(address, site)
    if feed_id is None or newsletter_id is None:
        return
    trouble = polling.read_feed(feed_id)
    fetching.fetch_for_newsletter(newsletter_id, budget_seconds=PICTURE_SECONDS)
    _draft(address, newsletter_id, trouble)


def _take() -> str | None:
    """Take the site over; a worker that was killed meanwhile is found by the tick, once it has been silent for long."""
    with transaction() as session:
        chosen = select(Installation).where(Installation.site_state.in_((SiteState.ASKED, SiteState.FOUND)))
        row = session.execute(chosen.with_for_update(skip_locked=True)).scalar_one_or_none()
        if row is None:
            return None
        row.asked_at = clock.now()
        return row.site_url


def _still_asked(session: Session, address: str) -> Installation | None:
    """Return the row, unless somebody typed another address meanwhile."""
    row = installation.lock(session, now=clock.now())
    is_open = row.site_url == address and row.site_state in (SiteState.ASKED, SiteState.FOUND)
    return row if is_open else None


def _fail(address: str, found: dict[str, object]) -> None:
    with transaction() as session:
        row = _still_asked(session, address)
        if row is not None:
            row.site_state, row.site_found = SiteState.FAILED, found


def _make(address: str, site: sites.Site) -> tuple[int | None, int | None]:
    """Make the newsletter, or the one of an earlier try into this one. Returns its id and its feed's."""
    now = clock.now()
    with transaction() as session:
        row = _still_asked(session, address)
        if row is None:
            return None, None
        logo = installation.keep_logo(session, site.logo, now=now) if site.logo else ""
        newsletter = _newsletter(session, row, site, now=now)
        feed = newsletters.add_feed(session, newsletter, site.feed_url, now=now)
        for other in newsletters.feeds(session, newsletter):
            if other.id != feed.id:
                newsletters.remove_feed(session, newsletter, other.id)
        row.name = row.publisher = site.name
        row.language, row.timezone = site.language, site.zone
        row.brand_color = site.color or row.brand_color
        row.newsletter_id, row.site_state = newsletter.id, SiteState.FOUND
        row.site_found = {
            "feed_url": site.feed_url,
            "feed_title": site.feed_title,
            "other_feeds": site.other_feeds,
            "logo": logo,
            "color": site.color or "",
        }
        return newsletter.id, feed.id


def _newsletter(session: Session, row: Installation, site: sites.Site, *, now: datetime) -> Newsletter:
    values: dict[str, object] = {
        "name": site.name,
        "language": site.language,
        "site_url": site.url,
        "sender_name": site.name,
        "publisher": site.name,
    }
    if site.color:
        values["brand_color"] = site.color
    if row.newsletter_id is not None:
        newsletter = session.get_one(Newsletter, row.newsletter_id)
        newsletters.edit(session, newsletter, values=values, now=now)
        return newsletter
    values |= {"sender_address": _sender(session, site), "postal_address": "", "timezone": site.zone}
    return newsletters.create(session, _slug(session, site), values=values, now=now)


def _sender(session: Session, site: sites.Site) -> str:
    """Suggest the address that mail comes from: at the site's domain, else the owner's own."""
    host = re.sub(r"^www\.", "", urls.web_address(site.url).host)  # type: ignore[union-attr]
    if "." in host and not _is_address(host):
        return f"{_MAILBOXES.get(site.language, 'newsletter')}@{host}"
    return session.execute(select(Account.email).order_by(Account.id).limit(1)).scalar_one()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _slug(session: Session, site: sites.Site) -> str:
    host = re.sub(r"^www\.", "", urls.web_address(site.url).host)  # type: ignore[union-attr]
    first = host if _is_address(host) else host.split(".")[0]
    wanted = re.sub("[^a-z0-9]+", "-", first.lower()).strip("-")[:_LONGEST_SLUG] or "newsletter"
    taken = {one.slug for one in newsletters.all_newsletters(session)} | newsletters.RESERVED_SLUGS
    numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return next(slug for slug in (wanted, *numbered) if slug not in taken)


def _draft(address: str, newsletter_id: int, trouble: str | None) -> None:
    now = clock.now()
    with transaction() as session:
        row = _still_asked(session, address)
        if row is None:
            return
        newsletter = session.get_one(Newsletter, newsletter_id)
        if trouble:
            row.site_state, row.site_found = SiteState.FAILED, {"code": "unreachable", "detail": trouble}
            return
        earlier = session.execute(
            select(Issue).where(Issue.newsletter_id == newsletter_id).order_by(Issue.id.desc()).limit(1)
        ).scalar_one_or_none()
        try:
            if earlier is not None and earlier.state in issues.EDITABLE_STATES:
                issues.draft_anew(session, issues.get(session, earlier.id), now=now)
            else:
                issues.draft(session, newsletter, now=now)
        except issues.IssueEmpty:
            log.info("site without an article", newsletter=newsletter_id)
        row.site_state = SiteState.READY


def ring() -> None:
    """Have a worker read it at once. Raises QueueUnavailable; the tick finds it later then."""
    queue.enqueue(queue.READ_SITE)
