"""`mailer feed …`"""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from mailer import clock, settings
from mailer.articles import baselines, discovery, polling, rechecking
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.feeds import fetch
from mailer.models.intake import Baseline
from mailer.newsroom import newsletters

app = typer.Typer(no_args_is_help=True, help="Feeds: list, find, add, remove, read.", rich_markup_mode=None)


@app.command("list")
def list_(slug: Slug) -> None:
    """List a newsletter's feeds and how their last reading went.

    Let in are the articles that issues may take; the others were there before the feed was added. Held ones wait for
    mailer article release. A feed is silent when, by its own rhythm, another article is long overdue.
    """
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        rows = [
            {
                "id": feed.id,
                "url": feed.url,
                **asdict(baselines.counts(session, newsletter.id, feed.id)),
                "last_success_at": feed.last_success_at,
                "silent_since": feed.silent_since,
                "error": feed.error,
            }
            for feed in newsletters.feeds(session, newsletter)
        ]
    columns = ("id", "url", "articles", "let_in", "held", "last_success_at", "silent_since", "error")
    output.emit_rows(rows, columns=columns, empty=f"“{slug}” has no feed yet: mailer feed add {slug} URL")


@app.command()
def discover(url: Annotated[str, typer.Argument(help="A site's address, or a page's.")]) -> None:
    """Find the feeds of a site: those that its page announces, else where sites usually have them."""
    rows = [
        {"url": one.url, "title": one.title, "kind": one.kind, "articles": one.articles}
        for one in discovery.discover(url, private_networks=settings.load().feed_private_networks)
    ]
    output.emit_rows(rows, columns=("url", "title", "kind", "articles"), empty="No feed was found.")


@app.command()
def add(
    slug: Slug,
    url: Annotated[str, typer.Argument(help="The address of a feed, or of a site that has one.")],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="none|last:N|since:DATE",
            help="Which of the articles that it has already are new; "
            "usually as many as an issue holds, or what came since the last issue.",
        ),
    ] = None,
) -> None:
    """Draw from a feed, and read it at once. Given again, it changes the baseline.

    Examples:

      mailer feed add hebdo https://courrier.example/feed/

      mailer feed add hebdo courrier.example --baseline since:2026-11-01
    """
    choice = _baseline(baseline) if baseline else None
    address = _feed_at(url)
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        feed_id = newsletters.add_feed(session, newsletter, address, now=now).id
        if choice is not None:
            baselines.choose(session, newsletter.id, feed_id, choice, now=now)
    _read(slug, [feed_id])


@app.command()
def remove(slug: Slug, feed_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Stop drawing from a feed. Its articles stay."""
    with transaction() as session:
        newsletters.remove_feed(session, newsletters.get(session, slug), feed_id)
    output.emit({"removed": feed_id}, text=f"“{slug}” no longer draws from feed {feed_id}.")


@app.command()
def read(slug: Slug) -> None:
    """Read a newsletter's feeds now, and tell what is there or what is wrong."""
    with transaction() as session:
        feed_ids = [feed.id for feed in newsletters.feeds(session, newsletters.get(session, slug))]
    _read(slug, feed_ids)


def _feed_at(url: str) -> str:
    """Return the address of the one feed of a site; an address that can't be read now is taken at its word."""
    try:
        found = discovery.discover(url, private_networks=settings.load().feed_private_networks)
    except fetch.FeedUnreachable:
        return url
    feeds = [one for one in found if not one.is_of_comments] or found
    if len(feeds) > 1:
        listed = "\n".join(f"  {one.url}  {one.title} ({one.kind}, {one.articles} articles)" for one in feeds)
        output.fail(f"{url} has {len(feeds)} feeds; add the one you want:\n{listed}", output.USAGE)
    # What was typed stays when it is the feed itself: a redirect may be for today only.
    if found[0].asked == url and "://" in url:
        return url
    output.say(f"The feed of {url} is {feeds[0].url}")
    return feeds[0].url


def _baseline(words: str) -> baselines.Choice:
    kind, _, value = words.partition(":")
    if kind == Baseline.NONE and not value:
        return baselines.Choice(kind=Baseline.NONE)
    if kind == Baseline.LAST and re.fullmatch(r"[1-9][0-9]{0,2}", value):
        return baselines.Choice(kind=Baseline.LAST, count=int(value))
    if kind == Baseline.SINCE:
        try:
            day = datetime.fromisoformat(value)
        except ValueError:
            output.fail(f"“{value}” is no date; write 2026-11-01.", output.USAGE)
        return baselines.Choice(kind=Baseline.SINCE, since=day if day.tzinfo else day.replace(tzinfo=UTC))
    return output.fail("A baseline is none, last:N (1 to 999) or since:DATE.", output.USAGE)


def _read(slug: str, feed_ids: list[int]) -> None:
    rows = []
    for feed_id in feed_ids:
        error = polling.read_feed(feed_id)
        rechecking.look_at_new(feed_id)
        with transaction() as session:
            counts = asdict(baselines.counts(session, newsletters.get(session, slug).id, feed_id))
        rows.append({"id": feed_id, **counts, "error": error})
    output.emit_rows(rows, columns=("id", "articles", "let_in", "held", "error"), empty="There is no feed to read.")
    if any(row["error"] for row in rows):
        raise typer.Exit(output.DONE_IN_PART if any(not row["error"] for row in rows) else output.FAILED)
