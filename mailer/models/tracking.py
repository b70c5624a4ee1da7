"""What readers open and follow, where a newsletter counts it: links of variants, single events, and sums of old ones."""

import enum
from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class Tracked(enum.StrEnum):
    """What a newsletter may count, each a switch of its own: its value stands in Variant.tracks."""

    CLICKS = "clicks"
    OPENS = "opens"
    # Who follows and opens, of the readers who agreed.
    READERS = "readers"


class MachineReason(enum.StrEnum):
    """Why an event is thought not to be a person's; machines.py has the rules."""

    HEAD = "head"
    PROXY = "proxy"
    SCANNER = "scanner"
    AT_ONCE = "at_once"
    BURST = "burst"


class VariantLink(Base):
    """A link of a variant that leads through us so that it can be counted. `number` counts from 1 in order of the mail."""

    __tablename__ = "variant_links"

    variant_id: Mapped[int] = mapped_column(ForeignKey("variants.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    url: Mapped[str]


class Event(Base):
    """One request of a pixel (`link` 0) or a link, with what tells machines from people, so that rules can change later.

    No address of anybody: the network is cut to /24 or /48. `subscription_id` only of readers who agreed.
    """

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    variant_id: Mapped[int] = mapped_column(ForeignKey("variants.id", ondelete="CASCADE"))
    link: Mapped[int] = mapped_column(SmallInteger)
    at: Mapped[datetime]
    subscription_id: Mapped[int | None] = mapped_column(ForeignKey("subscriptions.id", ondelete="SET NULL"))
    machine: Mapped[MachineReason | None]
    is_head: Mapped[bool]
    agent: Mapped[str | None]
    network: Mapped[str | None]
    # Since the mail was accepted; None where the reader is not known.
    seconds_after: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (
        CheckConstraint("link >= 0", name="link_number"),
        CheckConstraint("length(agent) <= 200", name="agent_length"),
        Index("ix_events_variant_id_at", "variant_id", "at"),
        Index("ix_events_at", "at"),
        Index("ix_events_subscription_id", "subscription_id", postgresql_where=text("subscription_id IS NOT NULL")),
    )


class EventTotal(Base):
    """How many events of a day became sums, when they had served their time as single rows."""

    __tablename__ = "event_totals"

    variant_id: Mapped[int] = mapped_column(ForeignKey("variants.id", ondelete="CASCADE"), primary_key=True)
    link: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    is_machine: Mapped[bool] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class Spool(Base):
    """How far the local file queue of a web process was taken over: a segment that is written again changes nothing."""

    __tablename__ = "spools"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_segment: Mapped[int]
    at: Mapped[datetime]
