"""The feeds of a newsletter: how each is, which of its articles count, and adding one from any address of a site."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import queue, settings
from mailer.articles import baselines, discovery
from mailer.db import transaction
from mailer.feeds import fetch, urls
from mailer.issues import schedules
from mailer.models.content import Newsletter, NewsletterFeed
from mailer.models.intake import Baseline
from mailer.newsroom import newsletters
from mailer.web.admin import screens, session

router = APIRouter(prefix="/newsletters/{slug}/feeds", route_class=screens.DeskRoute)

FeedId = Annotated[int, Path(ge=1, lt=2**63)]
_FORM: Final = ("url", "baseline", "count", "since")


class _Unclear(Exception):
    """What was typed is no feed yet: `errors` by field, or the feeds `found`. `may_insist`: it may be one all the same."""

    def __init__(
        self,
        errors: dict[str, str],
        *,
        found: Sequence[discovery.Found] = (),
        detail: str = "",
        may_insist: bool = False,
    ) -> None:
        super().__init__(detail)
        self.errors, self.found, self.detail, self.may_insist = errors, found, detail, may_insist


class _BaselineInvalid(Exception):
    """How many, or since when, can't be read."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field, self.sentence = field, sentence


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """List the feeds: last reading, failures, silence, how many articles are held or do not count."""
    with transaction() as database:
        return _page(request, desk, database, newsletters.get(database, slug))


@router.post("")
def add(request: Request, desk: session.Admin, slug: session.Slug) -> Response:
    """Draw from one more feed, which is read at once. An address of a site is asked for its feeds; of several, one is chosen."""
    with transaction() as database:
        timezone = newsletters.get(database, slug).timezone
    try:
        baseline = _baseline(desk, timezone)
        address = _feed_at(desk)
    except _BaselineInvalid as error:
        unclear = _Unclear({error.field: error.sentence})
    except _Unclear as error:
        unclear = error
    else:
        feed_id = _add(desk, slug, address, baseline)
        screens.ring(queue.READ_FEED, feed_id)
        return screens.back(f"/admin/newsletters/{slug}/feeds", done="feed-added")
    with transaction() as database:
        return _page(request, desk, database, newsletters.get(database, slug), unclear=unclear)


@router.post("/{feed_id}/baseline")
def choose(request: Request, desk: session.Admin, slug: session.Slug, feed_id: FeedId) -> Response:
    """Choose anew which of the articles that were there before count as new."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        _need(database, newsletter, feed_id)
        try:
            choice = _baseline(desk, newsletter.timezone)
        except _BaselineInvalid as error:
            return _page(request, desk, database, newsletter, refused=(feed_id, error.sentence))
        if choice is not None:
            baselines.choose(database, newsletter.id, feed_id, choice, now=desk.now)
    return screens.back(f"/admin/newsletters/{slug}/feeds", done="saved")


@router.api_route("/{feed_id}/remove", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Current, slug: session.Slug, feed_id: FeedId) -> Response:
    """Say what removing a feed means before it is done."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        _need(database, newsletter, feed_id)
        feed = next(one for one in newsletters.feeds(database, newsletter) if one.id == feed_id)
    return screens.render(request, desk, "feed_remove", here="newsletters", newsletter=newsletter, feed=feed)


@router.post("/{feed_id}/remove")
def remove(_desk: session.Admin, slug: session.Slug, feed_id: FeedId) -> Response:
    """Stop drawing from a feed."""
    with transaction() as database:
        newsletters.remove_feed(database, newsletters.get(database, slug), feed_id)
    return screens.back(f"/admin/newsletters/{slug}/feeds", done="feed-removed")


@router.post("/{feed_id}/read")
def read(desk: session.Writer, slug: session.Slug, feed_id: FeedId) -> Response:
    """Have a feed read now; how it went stands on the page afterwards."""
    with transaction() as database:
        _need(database, newsletters.get(database, slug), feed_id)
        newsletters.read_soon(database, [feed_id], now=desk.now)
    screens.ring(queue.READ_FEED, feed_id)
    return screens.back(f"/admin/newsletters/{slug}/feeds", done="feed-read")


def _need(database: Session, newsletter: Newsletter, feed_id: int) -> None:
    if feed_id not in [feed.id for feed in newsletters.feeds(database, newsletter)]:
        raise newsletters.FeedNotFound(f"The newsletter “{newsletter.slug}” has no feed {feed_id}.")


def _add(desk: session.Desk, slug: str, address: str, baseline: baselines.Choice | None) -> int:
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        feed = newsletters.add_feed(database, newsletter, address, now=desk.now)
        if baseline is not None:
            baselines.choose(database, newsletter.id, feed.id, baseline, now=desk.now)
        newsletters.read_soon(database, [feed.id], now=desk.now)
        return feed.id


def _feed_at(desk: session.Desk) -> str:
    """Return the address of the feed that is meant. Raises _Unclear. Talks to the network, unless one was chosen of a list."""
    typed = desk.typed("url")
    asked = typed if "://" in typed else f"https://{typed}"
    # A list of feeds belongs to the address that was asked for it.
    chosen = desk.typed("chosen") if desk.typed("asked") == typed else ""
    chosen = chosen or (asked if desk.typed("act") == "insist" else "")
    if urls.web_address(chosen or asked) is None or len(chosen or asked) > urls.LONGEST:
        raise _Unclear({"url": "Enter the address of a site or of a feed, such as https://courrier.example"})
    if chosen:
        return chosen
    try:
        found = discovery.discover(typed, private_networks=settings.load().feed_private_networks)
    except fetch.FeedUnreachable as error:
        errors = {"url": "The address can’t be read now"}
        raise _Unclear(errors, detail=error.message, may_insist=error.temporary) from error
    except discovery.NoFeedFound as error:
        sentence = "No feed was found there or where sites usually have one. Ask who runs the site for its address"
        raise _Unclear({"url": sentence}) from error
    feeds = [one for one in found if not one.is_of_comments] or found
    if len(feeds) > 1:
        raise _Unclear({}, found=found)
    # What was typed stays when it is the feed itself: a redirect may be for today only.
    return typed if found[0].asked == typed and "://" in typed else feeds[0].url


def _baseline(desk: session.Desk, timezone: str) -> baselines.Choice | None:
    """Read which articles count as new; None for the usual. Raises _BaselineInvalid."""
    kind = desk.typed("baseline")
    if kind == Baseline.NONE:
        return baselines.Choice(kind=Baseline.NONE)
    if kind == Baseline.LAST:
        if not re.fullmatch("[1-9][0-9]{0,2}", desk.typed("count")):
            raise _BaselineInvalid("count", "Enter how many, from 1 to 999")
        return baselines.Choice(kind=Baseline.LAST, count=int(desk.typed("count")))
    if kind == Baseline.SINCE:
        try:
            day = datetime.fromisoformat(desk.typed("since")).replace(tzinfo=schedules.zone(timezone))
            return baselines.Choice(kind=Baseline.SINCE, since=day.astimezone(UTC))
        except (ValueError, OverflowError) as error:
            raise _BaselineInvalid("since", "Enter a day, like 2026-11-01") from error
    return None


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    newsletter: Newsletter,
    *,
    unclear: _Unclear | None = None,
    refused: tuple[int, str] | None = None,
) -> Response:
    listed = []
    feeds = newsletters.feeds(database, newsletter)
    counts = baselines.counts_all(database, newsletter.id, [one.id for one in feeds])
    drawn = select(NewsletterFeed).where(NewsletterFeed.newsletter_id == newsletter.id)
    links = {one.feed_id: one for one in database.execute(drawn).scalars()}
    for feed in feeds:
        link = links[feed.id]
        since = link.baseline_since.astimezone(schedules.zone(newsletter.timezone)) if link.baseline_since else None
        listed.append((feed, link, f"{since:%Y-%m-%d}" if since else "", counts[feed.id]))
    errors = dict(unclear.errors) if unclear else {}
    if refused:
        errors[f"feed-{refused[0]}"] = refused[1]
    return screens.render(
        request,
        desk,
        "feeds",
        here="newsletters",
        status=422 if errors else 200,
        newsletter=newsletter,
        listed=listed,
        values={name: desk.typed(name) for name in _FORM},
        errors=errors,
        found=unclear.found if unclear else [],
        detail=unclear.detail if unclear else "",
        may_insist=bool(unclear and unclear.may_insist),
        refused=refused,
    )
