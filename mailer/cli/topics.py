"""`mailer topic …`"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from mailer import clock
from mailer.articles import topics
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.choices import Topic
from mailer.newsroom import newsletters

app = typer.Typer(
    no_args_is_help=True,
    help="What readers can choose: topics, their order; articles pinned first.",
    rich_markup_mode=None,
)

TopicSlug = Annotated[str, typer.Argument(metavar="TOPIC", help="Its short name.")]
ArticleId = Annotated[int, typer.Argument(metavar="ARTICLE", min=1, max=2**63 - 1)]


@app.command("list")
def list_(slug: Slug) -> None:
    """List a newsletter's topics, the highest rank first."""
    with transaction() as session:
        rows = [_value(one) for one in topics.of(session, newsletters.get(session, slug).id)]
    columns = ("topic", "names", "categories", "include", "exclude")
    output.emit_rows(rows, columns=columns, empty=f"“{slug}” has no topics: mailer topic set --help")


@app.command("set")
def set_(
    slug: Slug,
    topic: TopicSlug,
    name: Annotated[list[str], typer.Option(metavar="LANGUAGE=NAME", help="Such as fr=Économie; one a language.")],
    category: Annotated[list[str] | None, typer.Option(help="A category of the feed; may be repeated.")] = None,
    include: Annotated[list[str] | None, typer.Option(help="Words of a title or address; * is anything.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Words that keep an article out.")] = None,
) -> None:
    """Add a topic, or change it. An article is about it by one of its categories or words.

    Example:

      mailer topic set hebdo economie --name fr=Économie --name en=Economy --category Économie --include "*/eco/*"
    """
    names = dict(_split(one) for one in name)
    rules = {"categories": category or [], "include": include or [], "exclude": exclude or []}
    with transaction() as session:
        made = topics.put(session, newsletters.get(session, slug), topic, names=names, rules=rules)
        value = _value(made)
    output.emit(value, text=f"Readers of “{slug}” can choose “{topic}”.")


@app.command()
def remove(slug: Slug, topic: TopicSlug) -> None:
    """Remove a topic; readers who had chosen only it get all topics again."""
    with transaction() as session:
        topics.remove(session, newsletters.get(session, slug), topic)
    output.emit({"topic": topic, "removed": True}, text=f"Removed “{topic}”.")


@app.command()
def order(slug: Slug, ranked: Annotated[list[str], typer.Argument(metavar="TOPIC...")]) -> None:
    """Rank topics: an article of several stands under the first of them."""
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        topics.order(session, newsletter, ranked)
        found = [one.slug for one in topics.of(session, newsletter.id)]
    output.emit({"topics": found}, text="\n".join(found))


@app.command()
def pin(
    slug: Slug,
    article_id: ArticleId,
    until: Annotated[datetime, typer.Option(help="In the newsletter's zone, such as 2026-12-04T07:00.")],
    priority: Annotated[int, typer.Option(min=0, max=1000, help="The highest stands first.")] = 0,
) -> None:
    """Have an article stand first until a moment; a reader who has had it does not get it again."""
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        moment = until.replace(tzinfo=schedules.zone(newsletter.timezone)).astimezone(UTC)
        newsletters.pin(session, newsletter, article_id, priority=priority, until=moment, now=clock.now())
    value = {"article": article_id, "until": moment, "priority": priority}
    output.emit(value, text=f"Article {article_id} stands first until {until:%Y-%m-%d %H:%M}.")


@app.command()
def unpin(slug: Slug, article_id: ArticleId) -> None:
    """Take a pin off."""
    with transaction() as session:
        done = newsletters.unpin(session, newsletters.get(session, slug), article_id)
    output.emit({"article": article_id, "unpinned": done}, text="Unpinned." if done else "It was not pinned.")


def _split(given: str) -> tuple[str, str]:
    language, separator, name = given.partition("=")
    if not separator:
        raise topics.TopicInvalid(f"“{given}” is not LANGUAGE=NAME.")
    return language, name


def _value(one: Topic) -> dict[str, object]:
    return {
        "topic": one.slug,
        "names": one.names,
        "categories": one.categories,
        "include": one.include,
        "exclude": one.exclude,
    }
