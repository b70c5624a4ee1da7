"""Readers found: by the start or the domain of an address, by what they want and how they stand; a page at a time.

Fast with a million of them: every page is bounded, goes on from an id, and follows an index. Names in `Filter` are those of
the parameters in the address of the desk's list.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Executable, Select, and_, collate, exists, func, literal, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, contains_eager, joinedload
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

from mailer import addresses, i18n
from mailer.models.audience import EndedReason, Subscriber, Subscription, SubscriptionState, Suppression
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.models.segments import Segment

# Beyond this many, readers are not counted one by one.
EXACT_UP_TO: Final = 10_000
LONGEST: Final = 320
MOST_SEGMENTS: Final = 100
_SLUG: Final = re.compile(r"[a-z0-9-]{1,63}")
_YES: Final = "yes"


class SegmentInvalid(ValueError):
    """A filter can't be saved so; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What readers are looked for by; what is empty does not count.

    `q` is an address, or its start, or "@" and its domain. `since` is a day: of those who confirmed, or asked, from then on.
    """

    q: str = ""
    newsletter: str = ""
    state: str = ""
    reason: str = ""
    topic: str = ""
    rhythm: str = ""
    language: str = ""
    source: str = ""
    since: str = ""
    paused: str = ""
    suppressed: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Take what an address says, without what can't be."""
        values = {name: given.get(name, "").replace("\0", "").strip()[:LONGEST] for name in _CHECKS}
        return cls(**{name: value for name, value in values.items() if value and _CHECKS[name](value)})

    def chosen(self) -> dict[str, str]:
        """Return what counts, as an address says it."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}

    def without(self, name: str) -> dict[str, str]:
        """Return the same but for one of them."""
        return {key: value for key, value in self.chosen().items() if key != name}

    @property
    def is_start(self) -> bool:
        """Whether the search is for the start of an address, which sorts what is found by address."""
        return bool(self.q) and "@" not in self.q


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Whose eyes look: None in `newsletter_ids` sees all. Without `may_read`, only a whole address finds anybody."""

    newsletter_ids: Collection[int] | None = None
    may_read: bool = True


EVERYTHING: Final = Sight()


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many readers a filter finds; beyond EXACT_UP_TO an estimate."""

    number: int
    is_exact: bool

    @property
    def rounded(self) -> int:
        """The number with as many digits as an estimate deserves: two."""
        digits = len(str(self.number)) - 2
        return self.number if self.is_exact or digits < 1 else round(self.number, -digits)


def page(
    session: Session, wanted: Filter, sight: Sight, *, now: datetime, after: int = 0, limit: int
) -> list[Subscription]:
    """List what is found, with subscribers and newsletters, going on after the subscription `after` (0 from the start).

    In order of address when its start is searched, the newest first otherwise.
    """
    statement = (
        _joined()
        .where(*conditions(wanted, sight, now=now))
        .options(contains_eager(Subscription.subscriber), joinedload(Subscription.newsletter))
        .limit(limit)
    )
    if not wanted.is_start:
        newest = statement.order_by(Subscription.id.desc())
        return list(session.execute(newest.where(Subscription.id < after) if after else newest).scalars())
    order = (_by_start(), Subscription.id)
    if after:
        last = _joined(*order).where(Subscription.id == after)
        row = session.execute(last).one_or_none()
        statement = statement.where(tuple_(*order) > tuple_(literal(row[0]), literal(row[1]))) if row else statement
    return list(session.execute(statement.order_by(*order)).scalars())


def count(session: Session, wanted: Filter, sight: Sight, *, now: datetime) -> Count:
    """Count what is found, exactly up to EXACT_UP_TO; then PostgreSQL's own estimate, of which two digits hold."""
    found = _joined(literal(1)).where(*conditions(wanted, sight, now=now))
    bounded = session.execute(select(func.count()).select_from(found.limit(EXACT_UP_TO + 1).subquery())).scalar_one()
    if bounded <= EXACT_UP_TO:
        return Count(number=bounded, is_exact=True)
    return Count(number=max(_estimate(session, found), EXACT_UP_TO), is_exact=False)


def count_all(session: Session, wanted: Filter, sight: Sight, *, now: datetime) -> int:
    """Count what is found, one by one, for what is done to all of them."""
    found = _joined(literal(1)).where(*conditions(wanted, sight, now=now))
    return session.execute(select(func.count()).select_from(found.subquery())).scalar_one()


def conditions(wanted: Filter, sight: Sight, *, now: datetime) -> list[ColumnElement[bool]]:
    """Return the SQL of a filter, for a SELECT of Subscription joined with Subscriber."""
    made = [_CONDITIONS[name](value) for name, value in wanted.chosen().items() if name in _CONDITIONS]
    if wanted.q:
        made.append(_is_found(wanted.q, may_read=sight.may_read))
    if wanted.paused:
        made.append(Subscription.paused_until > now)
    if sight.newsletter_ids is not None:
        made.append(Subscription.newsletter_id.in_(sight.newsletter_ids))
    return made


def segments(session: Session) -> Sequence[Segment]:
    """List the saved filters in order of name."""
    return session.execute(select(Segment).order_by(Segment.name).limit(MOST_SEGMENTS)).scalars().all()


def save(session: Session, name: str, wanted: Filter, *, now: datetime) -> Segment:
    """Keep a filter under a name, in place of one that has it. Raises SegmentInvalid."""
    name = " ".join(name.split())
    if not name or len(name) > 80:
        raise SegmentInvalid("A segment needs a name of at most 80 characters.")
    if not wanted.chosen():
        raise SegmentInvalid("A segment needs a filter; without one, it would be everybody.")
    found = session.execute(select(Segment).where(Segment.name == name)).scalar_one_or_none()
    if found is None:
        if session.execute(select(func.count()).select_from(Segment)).scalar_one() >= MOST_SEGMENTS:
            raise SegmentInvalid("There are too many segments already; delete one first.")
        found = Segment(name=name, created_at=now)
        session.add(found)
    found.chosen = wanted.chosen()
    session.flush()
    return found


def _joined(*columns: Any) -> Select[Any]:
    chosen = select(*(columns or (Subscription,))).select_from(Subscription)
    return chosen.join(Subscriber, Subscriber.id == Subscription.subscriber_id)


def _is_found(q: str, *, may_read: bool) -> ColumnElement[bool]:
    local, at, domain = addresses.key(q).rpartition("@")
    if local and at:
        return Subscriber.address_key == _key(q)
    if not may_read:
        return literal(False)
    if at:
        return func.split_part(Subscriber.address_key, "@", 2) == domain
    start = addresses.key(q)
    return and_(_by_start() >= start, _by_start() < start + "\U0010ffff")


def _by_start() -> ColumnElement[str]:
    # As the index has it: in the order of characters, so that what begins alike stands together in any language.
    return collate(Subscriber.address_key, "C")


def _key(address: str) -> str:
    try:
        return addresses.key(addresses.normalise(address))
    except addresses.AddressInvalid:
        return addresses.key(address)


class _Explain(Executable, ClauseElement):
    """Ask PostgreSQL what it would do for a statement."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


def _estimate(session: Session, statement: Select[Any]) -> int:
    """Read how many rows PostgreSQL expects."""
    plan = session.execute(_Explain(statement)).scalar_one()
    return int(plan[0]["Plan"]["Plan Rows"])


def _is_day(value: str) -> bool:
    try:
        return date.fromisoformat(value).year > 1970
    except ValueError:
        return False


def _since(value: str) -> ColumnElement[bool]:
    moment = datetime.combine(date.fromisoformat(value), time(), tzinfo=UTC)
    return func.coalesce(Subscription.confirmed_at, Subscription.requested_at) >= moment


def _topic(slug: str) -> ColumnElement[bool]:
    # None chosen means all.
    return or_(Subscription.topics.contains([slug]), Subscription.topics == literal([], Subscription.topics.type))


def _suppressed(_: str) -> ColumnElement[bool]:
    hashed = func.sha256(func.convert_to(Subscriber.address_key, "UTF8"))
    return exists().where(Suppression.address_hash == hashed)


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "q": bool,
    "newsletter": lambda value: bool(_SLUG.fullmatch(value)),
    "state": lambda value: value in tuple(SubscriptionState),
    "reason": lambda value: value in tuple(EndedReason),
    "topic": lambda value: bool(_SLUG.fullmatch(value)),
    "rhythm": lambda value: value in tuple(Rhythm),
    "language": lambda value: value in i18n.LANGUAGES,
    "source": lambda value: len(value) <= 100,
    "since": _is_day,
    "paused": lambda value: value == _YES,
    "suppressed": lambda value: value == _YES,
}
_CONDITIONS: Final[Mapping[str, Callable[[str], ColumnElement[bool]]]] = {
    "newsletter": lambda slug: (
        Subscription.newsletter_id == select(Newsletter.id).where(Newsletter.slug == slug).scalar_subquery()
    ),
    "state": lambda state: Subscription.state == SubscriptionState(state),
    "reason": lambda reason: Subscription.ended_reason == EndedReason(reason),
    "topic": _topic,
    "rhythm": lambda rhythm: Subscription.rhythm == Rhythm(rhythm),
    "language": lambda language: Subscription.language == language,
    "source": lambda source: Subscription.source == source,
    "since": _since,
    "suppressed": _suppressed,
}
