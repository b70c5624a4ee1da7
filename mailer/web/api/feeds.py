"""The feeds and topics of a newsletter."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer import queue
from mailer.articles import topics
from mailer.db import transaction
from mailer.models.choices import Topic
from mailer.models.content import Feed, Newsletter
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters
from mailer.web.api import access, acting
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Id, Listed, Shape, Slug

router = APIRouter(prefix="/newsletters/{slug}", route_class=ApiRoute, tags=["Feeds and topics"])

TopicSlug = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["eau"])]
_Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)]


class FeedStanding(Shape):
    """A feed and how the last reading went; `error` is null while it can be read."""

    id: int
    url: str
    title: str | None
    is_pushed: bool
    last_read_at: datetime | None
    last_success_at: datetime | None
    failures: int
    error: str | None
    silent_since: datetime | None


class NewFeed(Body):
    """The address of a feed itself (RSS, Atom, JSON Feed); the desk also finds feeds by the address of a site."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://courrier.example/feed.xml"}]})

    url: Annotated[str, Field(min_length=8, max_length=2000)]


class TopicRules(Shape):
    """A subject that readers can choose; a smaller `rank` is the higher one."""

    slug: str
    names: dict[str, str]
    categories: list[str]
    include: list[str]
    exclude: list[str]
    rank: int


class TopicChange(Body):
    """A topic’s names by language and which articles are about it: categories of feeds, or words with * for anything."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"names": {"fr": "Eau", "en": "Water"}, "categories": ["Eau"]}]}
    )

    names: Annotated[dict[str, Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=10)]
    categories: _Words = Field(default_factory=list)
    include: _Words = Field(default_factory=list)
    exclude: _Words = Field(default_factory=list)


class TopicOrder(Body):
    """Topics by short name, the highest rank first; those left out follow."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"topics": ["eau", "culture"]}]})

    topics: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=50)]


@router.get("/feeds", **access.needs(Scope.READ))
def list_feeds(call: access.Current, slug: Slug) -> Listed[FeedStanding]:
    """List the feeds that the newsletter draws from."""
    with transaction() as session:
        return Listed(data=[_feed(one) for one in newsletters.feeds(session, call.newsletter(session, slug))])


@router.post("/feeds", status_code=201, response_model=FeedStanding, **access.needs(Scope.ADMIN))
def add_feed(call: access.Current, slug: Slug, wanted: NewFeed) -> Response:
    """Draw from one more feed; it is read within seconds. Adding it twice changes nothing."""
    with acting.change(call) as session:
        feed = newsletters.add_feed(session, call.newsletter(session, slug), wanted.url, now=call.now)
        newsletters.read_soon(session, [feed.id], now=call.now)
        answer = acting.answer(call, _feed(feed), status=201)
    acting.ring(queue.READ_FEED, feed.id)
    return answer


@router.delete("/feeds/{feed_id}", status_code=204, response_class=Response, **access.needs(Scope.ADMIN))
def remove_feed(call: access.Current, slug: Slug, feed_id: Id) -> Response:
    """Stop drawing from a feed; its articles stay."""
    with acting.change(call) as session:
        newsletters.remove_feed(session, call.newsletter(session, slug), feed_id)
    return Response(status_code=204)


@router.post("/feeds/{feed_id}/read", status_code=202, response_model=FeedStanding, **access.needs(Scope.ARTICLES))
def read_feed(call: access.Current, slug: Slug, feed_id: Id) -> Response:
    """Have a feed read now. The answer tells of the reading before; ask again after some seconds."""
    with acting.change(call) as session:
        feed = _need_feed(session, call.newsletter(session, slug), feed_id)
        newsletters.read_soon(session, [feed_id], now=call.now)
        answer = acting.answer(call, _feed(feed), status=202)
    acting.ring(queue.READ_FEED, feed_id)
    return answer


@router.get("/topics", **access.needs(Scope.READ))
def list_topics(call: access.Current, slug: Slug) -> Listed[TopicRules]:
    """List the topics, the highest rank first."""
    with transaction() as session:
        return _topics(topics.of(session, call.newsletter(session, slug).id))


@router.put("/topics/{topic}", response_model=TopicRules, **access.needs(Scope.ADMIN))
def put_topic(call: access.Current, slug: Slug, topic: TopicSlug, change: TopicChange) -> Response:
    """Add a topic with the lowest rank, or change the one with this short name."""
    rules = {"categories": change.categories, "include": change.include, "exclude": change.exclude}
    with acting.change(call) as session:
        put = topics.put(session, call.newsletter(session, slug), topic, names=change.names, rules=rules)
        return acting.answer(call, _topic(put))


@router.delete("/topics/{topic}", status_code=204, response_class=Response, **access.needs(Scope.ADMIN))
def remove_topic(call: access.Current, slug: Slug, topic: TopicSlug) -> Response:
    """Remove a topic; readers who had chosen only it get all topics."""
    with acting.change(call) as session:
        topics.remove(session, call.newsletter(session, slug), topic)
    return Response(status_code=204)


@router.put("/topic-order", response_model=Listed[TopicRules], **access.needs(Scope.ADMIN))
def rank_topics(call: access.Current, slug: Slug, order: TopicOrder) -> Response:
    """Rank the topics anew."""
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        topics.order(session, newsletter, order.topics)
        return acting.answer(call, _topics(topics.of(session, newsletter.id)))


def _need_feed(session: Session, newsletter: Newsletter, feed_id: int) -> Feed:
    found = next((one for one in newsletters.feeds(session, newsletter) if one.id == feed_id), None)
    if found is None:
        raise newsletters.FeedNotFound(f"The newsletter “{newsletter.slug}” has no feed {feed_id}.")
    return found


def _feed(one: Feed) -> FeedStanding:
    return FeedStanding.model_validate(one)


def _topics(found: Sequence[Topic]) -> Listed[TopicRules]:
    return Listed(data=[_topic(one) for one in found])


def _topic(one: Topic) -> TopicRules:
    kept = {name: getattr(one, name) for name in ("slug", "names", "categories", "include", "exclude")}
    return TopicRules(**kept, rank=one.position)
