"""Newsletters and the feeds they draw from: find, create, change."""

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import addresses, i18n, settings
from mailer.feeds import urls
from mailer.issues import policies, schedules
from mailer.mail import brand
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.choices import CarriedCorrections, Overflow, Pin
from mailer.models.content import Article, Feed, Font, Issue, IssueState, Newsletter, NewsletterFeed

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
# First words of our own addresses, which a newsletter's slug would hide.
RESERVED_SLUGS: Final = frozenset(
    {
        "account",
        "address",
        "admin",
        "api",
        "archive",
        "c",
        "check-inbox",
        "confirm",
        "healthz",
        "i",
        "img",
        "inbox",
        "new",
        "o",
        "p",
        "preferences",
        "readyz",
        "review",
        "robots",
        "s",
        "sitemap",
        "static",
        "u",
    }
)
BOUNDS: Final = {"min_articles": 100, "max_articles": 100, "max_age_days": 3650, "max_wait_days": 365}
USUAL: Final = {"min_articles": 1, "max_articles": 12, "max_age_days": 30, "max_wait_days": 14}
# Fields that are true or false.
SWITCHES: Final = (
    "is_paused",
    "needs_approval",
    "offers_hour",
    "asks_topics",
    "asks_rhythm",
    "sends_welcome",
    "tracks_clicks",
    "tracks_opens",
    "tracks_readers",
    "is_indexable",
)
LISTS: Final = ("include_categories", "exclude_categories", "form_sites")
# As a browser names a site: https://courrier.example, without a path.
_SITE: Final = re.compile(r"https?://(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?(?::[0-9]{1,5})?\Z")
MOST_SITES: Final = 50
LOGO_WIDTHS: Final = (24, 536)
EDITABLE: Final = frozenset(
    {
        "name",
        "description",
        "language",
        "site_url",
        "sender_name",
        "sender_address",
        "reply_to",
        "publisher",
        "postal_address",
        "brand_color",
        "brand_color_dark",
        "logo_url",
        "logo_width",
        "font",
        "introduction",
        "signature",
        "is_paused",
        "needs_approval",
        "offers_hour",
        "min_articles",
        "max_articles",
        "max_age_days",
        "max_wait_days",
        "overflow",
        "carries_corrections",
        "include_categories",
        "exclude_categories",
        *policies.FIELDS,
        "asks_topics",
        "asks_rhythm",
        "sends_welcome",
        "form_sites",
        "tracks_clicks",
        "tracks_opens",
        "tracks_readers",
        "is_indexable",
    }
)


class NewsletterNotFound(LookupError):
    """No newsletter has that slug."""


class NewsletterInvalid(ValueError):
    """A value given for a newsletter can't be used; the message says which and why."""


class FeedNotFound(LookupError):
    """No feed has that number, or the newsletter doesn't draw from it."""


class ArticleNotFound(LookupError):
    """No feed of the newsletter gave such an article."""


def get(session: Session, slug: str) -> Newsletter:
    """Find a newsletter. Raises NewsletterNotFound."""
    found = session.execute(select(Newsletter).where(Newsletter.slug == slug)).scalar_one_or_none()
    if found is None:
        raise NewsletterNotFound(f"There is no newsletter “{slug}”.")
    return found


def all_newsletters(session: Session, *, among: Collection[int] | None = None) -> list[Newsletter]:
    """List them in order of name; with `among`, only those with these ids."""
    statement = select(Newsletter).order_by(Newsletter.name)
    if among is not None:
        statement = statement.where(Newsletter.id.in_(among))
    return list(session.execute(statement).scalars())


def create(session: Session, slug: str, *, values: dict[str, object], now: datetime) -> Newsletter:
    """Create a newsletter. `values` holds its fields by name, with `cron` and `timezone` if it has a schedule.

    Raises NewsletterInvalid or ScheduleInvalid.
    """
    if not SLUG.match(slug) or slug in RESERVED_SLUGS:
        raise NewsletterInvalid(
            f"The short name “{slug}” must be lower-case letters, digits and dashes, and not one of ours."
        )
    if session.execute(select(Newsletter.id).where(Newsletter.slug == slug)).scalar_one_or_none() is not None:
        raise NewsletterInvalid(f"There is already a newsletter “{slug}”.")
    cron, timezone = values.pop("cron", None), str(values.pop("timezone", "UTC"))
    _check_numbers({name: values.get(name, usual) for name, usual in USUAL.items()})
    found = Newsletter(
        slug=slug, timezone=timezone, scheduled_since=now, created_at=now, updated_at=now, **_checked(values)
    )
    session.add(found)
    session.flush()
    schedule(session, found, cron=str(cron) if cron else None, timezone=timezone, now=now, since=now)
    return found


def edit(session: Session, newsletter: Newsletter, *, values: dict[str, object], now: datetime) -> None:
    """Change fields by name. A new colour brings a dark shade of its own, unless another is given. Raises NewsletterInvalid."""
    is_recolored = values.get("brand_color", newsletter.brand_color) != newsletter.brand_color
    if is_recolored and values.get("brand_color_dark") == newsletter.brand_color_dark:
        values = {name: value for name, value in values.items() if name != "brand_color_dark"}
    checked = _checked(values)
    _check_numbers({name: checked.get(name, getattr(newsletter, name)) for name in BOUNDS})
    for name, value in checked.items():
        setattr(newsletter, name, value)
    newsletter.updated_at = now
    session.flush()


def check(values: dict[str, object]) -> None:
    """Check fields by name before they are set. Raises NewsletterInvalid."""
    _checked(values)


def schedule(
    session: Session, newsletter: Newsletter, *, cron: str | None, timezone: str, now: datetime, since: datetime
) -> None:
    """Set when issues are made; None for by hand only. Slots up to `since` (normally now) are not due. Raises ScheduleInvalid."""
    if cron is not None:
        schedules.check(cron, timezone)
    schedules.zone(timezone)
    newsletter.cron, newsletter.timezone, newsletter.scheduled_since, newsletter.updated_at = cron, timezone, since, now
    session.flush()


def add_feed(session: Session, newsletter: Newsletter, url: str, *, now: datetime) -> Feed:
    """Let a newsletter draw from a feed, which is read at the next tick. Adding it twice changes nothing."""
    if urls.web_address(url) is None or len(url) > 2000:
        raise NewsletterInvalid(f"“{url[:80]}” is not the address of a feed; it must start with http:// or https://.")
    session.execute(insert(Feed).values(url=url, next_read_at=now, created_at=now).on_conflict_do_nothing())
    feed = session.execute(select(Feed).where(Feed.url == url)).scalar_one()
    session.execute(
        insert(NewsletterFeed).values(newsletter_id=newsletter.id, feed_id=feed.id).on_conflict_do_nothing()
    )
    return feed


def remove_feed(session: Session, newsletter: Newsletter, feed_id: int) -> None:
    """Stop drawing from a feed; its articles stay. Raises FeedNotFound."""
    chosen = (NewsletterFeed.newsletter_id == newsletter.id, NewsletterFeed.feed_id == feed_id)
    if session.execute(delete(NewsletterFeed).where(*chosen)).rowcount == 0:  # type: ignore[attr-defined]
        raise FeedNotFound(f"The newsletter “{newsletter.slug}” has no feed {feed_id}.")


def feeds(session: Session, newsletter: Newsletter) -> list[Feed]:
    """List the feeds of a newsletter."""
    chosen = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    return list(session.execute(select(Feed).where(Feed.id.in_(chosen)).order_by(Feed.id)).scalars())


def read_soon(session: Session, feed_ids: list[int], *, now: datetime) -> None:
    """Have feeds read at the next tick."""
    session.execute(update(Feed).where(Feed.id.in_(feed_ids)).values(next_read_at=now))


def count_readers(session: Session, newsletter_id: int) -> int:
    """Count the confirmed subscriptions."""
    chosen = (Subscription.newsletter_id == newsletter_id, Subscription.state == SubscriptionState.CONFIRMED)
    return session.execute(select(func.count()).select_from(Subscription).where(*chosen)).scalar_one()


def count_readers_by_newsletter(session: Session) -> dict[int, int]:
    """Count the confirmed subscriptions of every newsletter that has any, by its id."""
    chosen = select(Subscription.newsletter_id, func.count()).where(Subscription.state == SubscriptionState.CONFIRMED)
    return {row[0]: row[1] for row in session.execute(chosen.group_by(Subscription.newsletter_id))}


def next_slot(newsletter: Newsletter, *, now: datetime) -> datetime | None:
    """Tell when the next issue is due; None if the newsletter is paused or made by hand."""
    if newsletter.cron is None or newsletter.is_paused:
        return None
    return next(schedules.ahead(newsletter, after=now), None)


def next_slots(newsletter: Newsletter, *, now: datetime, count: int) -> list[datetime]:
    """Return when the next issues are due; none if the newsletter is paused or made by hand."""
    if newsletter.cron is None or newsletter.is_paused:
        return []
    return list(islice(schedules.ahead(newsletter, after=now), count))


def rest(
    session: Session, newsletter: Newsletter, *, paused_until: datetime | None, skip_dates: Iterable[str], now: datetime
) -> None:
    """Choose until when no issue is made by the schedule, and on which days (2026-12-25) none is. Raises ScheduleInvalid."""
    newsletter.skip_dates = schedules.skip_dates(skip_dates)
    newsletter.paused_until, newsletter.updated_at = paused_until, now
    session.flush()


def last_issue(
    session: Session, newsletter_id: int, *, at: datetime | None = None, before: int | None = None
) -> Issue | None:
    """Return the issue whose window ended last, of those that were started; None before the first.

    Only those started by `at` count, if it is given, and not the issue `before`.
    """
    statement = (
        select(Issue)
        .where(Issue.newsletter_id == newsletter_id, Issue.started_at.is_not(None), Issue.window_end.is_not(None))
        .where(Issue.state != IssueState.FAILED)
    )
    if at is not None:
        statement = statement.where(Issue.started_at <= at)
    if before is not None:
        statement = statement.where(Issue.id != before)
    return session.execute(statement.order_by(Issue.window_end.desc(), Issue.id.desc()).limit(1)).scalar_one_or_none()


def pin(
    session: Session, newsletter: Newsletter, article_id: int, *, priority: int, until: datetime, now: datetime
) -> None:
    """Put an article first in the issues that are made until a moment; who has had it does not get it again.

    Raises NewsletterInvalid.
    """
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    chosen = select(Article.id).where(Article.id == article_id, Article.feed_id.in_(drawn))
    if session.execute(chosen).scalar_one_or_none() is None:
        raise NewsletterInvalid(f"“{newsletter.slug}” has no article {article_id}.")
    if until <= now:
        raise NewsletterInvalid("That moment has passed; a pin needs a later end.")
    values = {"priority": priority, "until": until}
    statement = insert(Pin).values(newsletter_id=newsletter.id, article_id=article_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=("newsletter_id", "article_id"), set_=values))


def unpin(session: Session, newsletter: Newsletter, article_id: int) -> bool:
    """Take a pin off. Returns False if there was none."""
    gone = delete(Pin).where(Pin.newsletter_id == newsletter.id, Pin.article_id == article_id)
    return session.execute(gone.returning(Pin.article_id)).scalar_one_or_none() is not None


def _check_numbers(numbers: dict[str, object]) -> None:
    for name, most in BOUNDS.items():
        if not 1 <= int(str(numbers[name])) <= most:
            raise NewsletterInvalid(f"{name} must be from 1 to {most}.")
    if int(str(numbers["min_articles"])) > int(str(numbers["max_articles"])):
        raise NewsletterInvalid("min_articles is more than max_articles: no issue could ever be made.")


def _checked(values: dict[str, object]) -> dict[str, object]:
    unknown = set(values) - EDITABLE
    if unknown:
        raise NewsletterInvalid(f"A newsletter has no field “{sorted(unknown)[0]}”.")
    checked = dict(values)
    for name in ("sender_address", "reply_to"):
        if checked.get(name):
            try:
                checked[name] = addresses.normalise(str(checked[name]))
            except addresses.AddressInvalid as error:
                raise NewsletterInvalid(f"{name}: {error}") from error
    if "language" in checked and checked["language"] not in i18n.LANGUAGES:
        raise NewsletterInvalid(f"The language “{checked['language']}” is not one of {', '.join(i18n.LANGUAGES)}.")
    try:
        checked |= policies.checked(checked)
    except policies.PolicyInvalid as error:
        raise NewsletterInvalid(str(error)) from error
    _check_forms(checked)
    _check_sites(checked)
    _check_brand(checked)
    return checked


def _check_forms(checked: dict[str, object]) -> None:
    for name, kind in (("overflow", Overflow), ("carries_corrections", CarriedCorrections)):
        if name in checked and checked[name] not in tuple(kind):
            raise NewsletterInvalid(f"{name} must be {' or '.join(kind)}.")
    for name in ("brand_color", "brand_color_dark"):
        if name in checked and not re.match(r"#[0-9A-Fa-f]{6}\Z", str(checked[name])):
            raise NewsletterInvalid(f"{name} must be a colour such as #0F5C5C.")
    if "site_url" in checked and urls.web_address(str(checked["site_url"])) is None:
        raise NewsletterInvalid("site_url must be an address such as https://courrier.example.")
    for name in ("name", "sender_name", "publisher", "postal_address"):
        # The checks before sending ask for a postal address that is not there yet.
        may_be_empty = name == "postal_address"
        if name in checked and (not (may_be_empty or str(checked[name]).strip()) or len(str(checked[name])) > 300):
            raise NewsletterInvalid(f"{name} must be {0 if may_be_empty else 1} to 300 characters.")


def _check_sites(checked: dict[str, object]) -> None:
    sites = checked.get("form_sites", [])
    if not isinstance(sites, list) or len(sites) > MOST_SITES:
        raise NewsletterInvalid(f"form_sites must be at most {MOST_SITES} sites.")
    for one in sites:
        if not _SITE.match(str(one)):
            raise NewsletterInvalid(
                f"form_sites must be sites such as https://courrier.example, not “{str(one)[:80]}”."
            )


def _check_brand(checked: dict[str, object]) -> None:
    if "brand_color" in checked:
        checked.setdefault("brand_color_dark", brand.palette(str(checked["brand_color"])).dark)
    if "font" in checked:
        if checked["font"] not in tuple(Font):
            raise NewsletterInvalid(f"font must be {', '.join(Font)}.")
        checked["font"] = Font(str(checked["font"]))
    if "logo_width" in checked:
        width = str(checked["logo_width"])
        if not (width.isdecimal() and LOGO_WIDTHS[0] <= int(width) <= LOGO_WIDTHS[1]):
            raise NewsletterInvalid(f"logo_width must be from {LOGO_WIDTHS[0]} to {LOGO_WIDTHS[1]} pixels.")
        checked["logo_width"] = int(width)
    if "logo_url" in checked:
        checked["logo_url"] = checked["logo_url"] or None
        address = str(checked["logo_url"] or "https://none.example")
        # Only on a machine of one's own is our address without TLS.
        is_safe = address.startswith(("https://", f"{settings.load().public_url}/img/"))
        is_written = re.match(r"https?://[^\s\"'<>]{1,1900}\Z", address) and urls.web_address(address) is not None
        if not (is_safe and is_written):
            raise NewsletterInvalid("logo_url must be the address of a PNG or JPEG picture, with https://.")
