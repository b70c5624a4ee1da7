"""Nobody gets an article twice and nobody misses one, whatever readers choose and whenever issues are made."""

from datetime import timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from mailer.articles import topics
from mailer.models.choices import Place, Rhythm
from mailer.models.content import Newsletter, NewsletterFeed
from mailer.models.deliveries import Outcome
from mailer.newsroom import newsletters
from tests.factories import a_newsletter, an_article, readers, the_feed
from tests.test_variants import MONDAY, choose, send_if_due, settle
from tests.test_variants import given as mails

SLUGS = ("economie", "societe")
TOPIC_SETS = ((), ("economie",), ("societe",), SLUGS)
# The same examples every time: what a run finds must not depend on luck. Raise max_examples to look for more.
RELAXED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    # Shrinking a failure takes minutes: it is a history to read, not a value.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
READERS = 4
ACTS = st.one_of(
    st.tuples(st.just("article"), st.sampled_from(["courrier", "matin", "both"]), st.sampled_from([*SLUGS, "divers"])),
    st.tuples(st.just("article"), st.sampled_from(["courrier", "matin", "both"]), st.sampled_from([*SLUGS, "divers"])),
    st.tuples(st.just("issue"), st.sampled_from(["courrier", "matin"]), st.just("")),
    st.tuples(st.just("issue"), st.sampled_from(["courrier", "matin"]), st.just("")),
    st.tuples(st.just("rhythm"), st.integers(0, READERS - 1), st.sampled_from(list(Rhythm))),
    st.tuples(st.just("topics"), st.integers(0, READERS - 1), st.sampled_from(TOPIC_SETS)),
    st.tuples(st.just("pause"), st.integers(0, READERS - 1), st.sampled_from([0.5, 2.0, 6.0])),
    st.tuples(st.just("settle"), st.just(0), st.sampled_from([Outcome.ACCEPTED, Outcome.UNCERTAIN])),
)


@RELAXED
@given(
    acts=st.lists(st.tuples(ACTS, st.integers(1, 20)), min_size=5, max_size=20),
    most=st.integers(1, 4),
    overflow=st.sampled_from(["listed", "carried"]),
)
def test_nobody_gets_an_article_twice_and_nobody_misses_one(
    session: Session, acts: list[tuple[tuple[str, object, object], int]], most: int, overflow: str
) -> None:
    with session.begin_nested() as nested:
        World(session, most, overflow).live_through(acts)
        nested.rollback()
    session.expire_all()


class World:
    """Two newsletters that share a feed, readers of both, and a clock."""

    def __init__(self, session: Session, most: int, overflow: str) -> None:
        self.session, self.now = session, MONDAY
        values = {"max_articles": most, "overflow": overflow}
        self.newsletters = {slug: a_newsletter(session, slug, **values) for slug in ("courrier", "matin")}
        shared = a_newsletter(session, "shared")
        for one in self.newsletters.values():
            session.add(NewsletterFeed(newsletter_id=one.id, feed_id=the_feed(session, shared).id))
            for slug in SLUGS:
                topics.put(session, one, slug, names={"fr": slug}, rules={"categories": [slug]})
        session.flush()
        self.sources = {**self.newsletters, "both": shared}
        self.readers = readers(session, self.newsletters["courrier"], READERS)
        self.seconds = readers(session, self.newsletters["matin"], READERS - 1)
        self.articles: list[tuple[str, str, str]] = []
        self.has_changed_topics: set[int] = set()

    def live_through(self, acts: list[tuple[tuple[str, object, object], int]]) -> None:
        for slug, one in self.newsletters.items():
            self.publish(slug, "divers", is_counted=False)
            self.issue(one)
        for (act, subject, value), hours in acts:
            self.now += timedelta(hours=hours)
            self.do(act, subject, value)
            self.nobody_got_an_article_twice()
        self.now += timedelta(hours=1)
        for reader in self.readers:
            choose(self.session, reader, now=self.now, rhythm=Rhythm.EACH, paused_until=None)
        for reader in self.seconds:
            choose(self.session, reader, now=self.now, rhythm=Rhythm.EACH, paused_until=None)
        for slug, one in self.newsletters.items():
            self.now += timedelta(minutes=5)
            # Who catches up does so with the next issue, which needs something new; here with room for everything.
            self.publish(slug, "divers", is_counted=False)
            newsletters.edit(self.session, one, values={"max_articles": 100}, now=self.now)
            self.issue(one)
        self.nobody_got_an_article_twice()
        self.nobody_missed_one()

    def do(self, act: str, subject: object, value: object) -> None:
        """One thing happens."""
        if act == "article":
            self.publish(str(subject), str(value))
        elif act == "issue":
            self.issue(self.newsletters[str(subject)])
        elif act == "settle":
            settle(self.session, Outcome(str(value)))
        else:
            index = int(str(subject))
            for subscription in (self.readers[index], *self.seconds[index : index + 1]):
                if act == "rhythm":
                    choose(self.session, subscription, now=self.now, rhythm=value)
                elif act == "topics":
                    self.has_changed_topics.add(index)
                    choose(self.session, subscription, now=self.now, topics=value)
                else:
                    until = self.now + timedelta(days=float(str(value)))
                    choose(self.session, subscription, now=self.now, paused_until=until)

    def publish(self, source: str, topic: str, *, is_counted: bool = True) -> None:
        """An article appears; its date is a little older than its first sight."""
        guid = f"{source}-{topic}-{self.now:%d-%H%M}"
        seen = self.now - timedelta(minutes=1)
        an_article(self.session, self.sources[source], guid, seen=seen, topics=[topic])
        if is_counted:
            self.articles.append((source, guid, topic))

    def issue(self, newsletter: Newsletter) -> None:
        """The newsletter's next issue is made, if there is one."""
        send_if_due(self.session, newsletter, now=self.now)
        assert newsletters.get(self.session, newsletter.slug)

    def nobody_got_an_article_twice(self) -> None:
        for reader in self.readers:
            every = [guid for mail in mails(self.session, reader) for guid in mail]
            assert len(every) == len(set(every)), every

    def nobody_missed_one(self) -> None:
        """Readers of all topics got, or were told of, every article of their newsletters."""
        for index, reader in enumerate(self.readers):
            if index in self.has_changed_topics:
                continue
            sources = {"courrier", "both", *(["matin"] if index < len(self.seconds) else [])}
            told = {guid for mail in mails(self.session, reader, Place.GIVEN, Place.LISTED) for guid in mail}
            assert {guid for source, guid, _ in self.articles if source in sources} - told == set()
