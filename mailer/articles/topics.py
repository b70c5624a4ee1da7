"""Topics of a newsletter: which articles are about which, and how an editor sets them."""

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import i18n
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.choices import Topic
from mailer.models.content import Article, Newsletter, NewsletterFeed

MOST: Final = 50
# By which an editor judges the rules of topics: what came in so lately, and no more than so many.
RECENT: Final = timedelta(days=30)
MOST_RECENT: Final = 500
NAME_LENGTH: Final = 80
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


class TopicInvalid(ValueError):
    """What was given for a topic can't be used; the message says why."""


class TopicNotFound(LookupError):
    """The newsletter has no such topic."""


def of(session: Session, newsletter_id: int) -> list[Topic]:
    """List a newsletter's topics, the highest rank first."""
    chosen = select(Topic).where(Topic.newsletter_id == newsletter_id)
    return list(session.execute(chosen.order_by(Topic.position, Topic.id)).scalars())


def of_all(session: Session, newsletter_ids: Collection[int]) -> dict[int, list[Topic]]:
    """List the topics of several newsletters at once, the highest rank first."""
    found: dict[int, list[Topic]] = {}
    chosen = select(Topic).where(Topic.newsletter_id.in_(newsletter_ids)).order_by(Topic.position, Topic.id)
    for one in session.execute(chosen).scalars():
        found.setdefault(one.newsletter_id, []).append(one)
    return found


def put(
    session: Session, newsletter: Newsletter, slug: str, *, names: Mapping[str, str], rules: Mapping[str, Sequence[str]]
) -> Topic:
    """Add a topic with the lowest rank, or change the one with this slug. Raises TopicInvalid.

    `names` are by language; `rules` may have `categories` of feeds, and `include` and `exclude`: words of the title or
    address, with * for anything.
    """
    kept = {code: " ".join(name.split()) for code, name in names.items() if name.strip()}
    if not _SLUG.match(slug):
        raise TopicInvalid(f"The short name “{slug}” of a topic must be lower-case letters, digits and dashes.")
    if not kept or any(code not in i18n.LANGUAGES or len(name) > NAME_LENGTH for code, name in kept.items()):
        raise TopicInvalid(f"A topic needs a name of at most {NAME_LENGTH} characters in {', '.join(i18n.LANGUAGES)}.")
    known = of(session, newsletter.id)
    if len(known) >= MOST and slug not in {one.slug for one in known}:
        raise TopicInvalid(f"A newsletter has at most {MOST} topics.")
    lists = {name: [one for one in rules.get(name, ()) if one.strip()] for name in ("categories", "include", "exclude")}
    if not lists["categories"] and not lists["include"]:
        raise TopicInvalid(f"The topic “{slug}” needs a category or a word, or no article would ever be about it.")
    position = 1 + max((one.position for one in known), default=0)
    values = {"newsletter_id": newsletter.id, "slug": slug, "names": kept, "position": position, **lists}
    statement = insert(Topic).values(**values)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=("newsletter_id", "slug"), set_={"names": statement.excluded.names, **lists}
        )
    )
    return session.execute(
        select(Topic)
        .where(Topic.newsletter_id == newsletter.id, Topic.slug == slug)
        .execution_options(populate_existing=True)
    ).scalar_one()


def remove(session: Session, newsletter: Newsletter, slug: str) -> None:
    """Remove a topic; readers who had chosen only it get all topics. Raises TopicNotFound."""
    gone = delete(Topic).where(Topic.newsletter_id == newsletter.id, Topic.slug == slug).returning(Topic.id)
    if session.execute(gone).scalar_one_or_none() is None:
        raise TopicNotFound(f"“{newsletter.slug}” has no topic “{slug}”.")


def order(session: Session, newsletter: Newsletter, slugs: Sequence[str]) -> None:
    """Rank topics as listed; those that are not listed follow. Raises TopicNotFound."""
    known = {one.slug: one for one in of(session, newsletter.id)}
    for slug in slugs:
        if slug not in known:
            raise TopicNotFound(f"“{newsletter.slug}” has no topic “{slug}”.")
    for position, slug in enumerate(dict.fromkeys([*slugs, *known])):
        known[slug].position = position
    session.flush()


def move(session: Session, newsletter: Newsletter, slug: str, *, by: int) -> None:
    """Rank a topic higher (`by` is negative) or lower by so many places. Raises TopicNotFound."""
    ranked = [one.slug for one in of(session, newsletter.id)]
    if slug not in ranked:
        raise TopicNotFound(f"“{newsletter.slug}” has no topic “{slug}”.")
    place = ranked.index(slug)
    ranked.insert(max(0, min(len(ranked) - 1, place + by)), ranked.pop(place))
    order(session, newsletter, ranked)


def recent(session: Session, newsletter: Newsletter, *, now: datetime) -> list[Article]:
    """List the articles that the newsletter's feeds gave lately, newest first."""
    feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    published_at = func.coalesce(Article.published_at, Article.first_seen_at)
    chosen = select(Article).where(Article.feed_id.in_(feeds), published_at > now - RECENT, published_at <= now)
    return list(session.execute(chosen.order_by(published_at.desc(), Article.id).limit(MOST_RECENT)).scalars())


def categories(articles: Iterable[Article]) -> list[tuple[str, int]]:
    """Count the categories of articles, as written first; the most frequent come first."""
    counted: Counter[str] = Counter()
    written: dict[str, str] = {}
    for article in articles:
        for one in dict.fromkeys(article.topics):
            folded = next(iter(_folded([one])))
            counted[written.setdefault(folded, one)] += 1
    return counted.most_common()


def chosen_by(session: Session, newsletter: Newsletter, slug: str) -> tuple[int, int]:
    """Count the readers who chose a topic, and those of them who chose no other one."""
    mine = (Subscription.newsletter_id == newsletter.id, Subscription.state == SubscriptionState.CONFIRMED)
    only = func.count().filter(func.jsonb_array_length(Subscription.topics) == 1)
    row = session.execute(select(func.count(), only).where(*mine, Subscription.topics.contains([slug]))).one()
    return row[0], row[1]


def chosen(session: Session, newsletter: Newsletter) -> dict[str, int]:
    """Count the readers who chose each of a newsletter's topics, by its slug."""
    slug = func.jsonb_array_elements_text(Subscription.topics).table_valued("value")
    rows = session.execute(
        select(slug.c.value, func.count())
        .select_from(Subscription)
        .join(slug, true())
        .where(Subscription.newsletter_id == newsletter.id, Subscription.state == SubscriptionState.CONFIRMED)
        .group_by(slug.c.value)
    )
    return {row[0]: row[1] for row in rows}


def name(topic: Topic, language: str) -> str:
    """Return a topic's name in a language, or in another one if it has none there."""
    return topic.names.get(language) or next(iter(topic.names.values()))


def matching(known: Iterable[Topic], article: Article) -> tuple[str, ...]:
    """Return the slugs of the topics that an article is about, the highest rank first."""
    return tuple(topic.slug for topic in known if _is_about(topic, article))


def takes(newsletter: Newsletter, article: Article) -> bool:
    """Tell whether the categories of an article are ones that the newsletter takes."""
    own = _folded(article.topics)
    wanted = _folded(newsletter.include_categories)
    return not own & _folded(newsletter.exclude_categories) and (not wanted or bool(own & wanted))


def _is_about(topic: Topic, article: Article) -> bool:
    words = (article.title.casefold(), article.url.casefold())
    if any(_says(words, pattern) for pattern in topic.exclude):
        return False
    in_category = bool(_folded(article.topics) & _folded(topic.categories))
    return in_category or any(_says(words, pattern) for pattern in topic.include)


def _says(words: Sequence[str], pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(text, f"*{pattern.strip().casefold()}*") for text in words)


def _folded(categories: Iterable[str]) -> set[str]:
    return {" ".join(one.split()).casefold() for one in categories}
