"""The consent log: one line for every change, none for no change, and no line is ever changed or taken out."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from mailer.audience import leaving, moves, signups, subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.audience.wishes import Wish
from mailer.counting import tracking
from mailer.models.audience import Consent, EndedReason, LeftBecause, Subscriber, Subscription
from mailer.models.choices import Rhythm
from tests.factories import NOW, a_newsletter, a_signup, readers

ORIGIN = Origin(source="test", form_version="page-1/fr", network="192.0.2.0/24")
LATER = NOW + timedelta(hours=1)
WISH = Wish(language="en", topics=(), rhythm=Rhythm.WEEKLY, paused_until=None)
Act = Callable[[Session, int], object]


def length(session: Session) -> int:
    return session.execute(select(func.count()).select_from(Consent)).scalar_one()


def leave(session: Session, one: int) -> object:
    return subscriptions.end(session, one, EndedReason.UNSUBSCRIBED, origin=ORIGIN, now=LATER)


ACTS: dict[str, Act] = {
    "leave": leave,
    "leave all": lambda session, one: subscriptions.end_all(session, one, origin=ORIGIN, now=LATER),
    "press the mail program's button": lambda session, one: leaving.end(
        session, [leaving.Left(subscription_id=one, at=LATER, origin=ORIGIN)]
    ),
    "choose": lambda session, one: wishes.choose(session, one, WISH, origin=ORIGIN, now=LATER),
    "agree": lambda session, one: tracking.agree(session, one, agrees=True, origin=ORIGIN, now=LATER),
}
AFTER_LEAVING: dict[str, Act] = {
    "come back": lambda session, one: subscriptions.resume_all(session, one, origin=ORIGIN, now=LATER),
    "say why": lambda session, one: subscriptions.explain(session, one, LeftBecause.OTHER, origin=ORIGIN, now=LATER),
}


@pytest.mark.parametrize("name", [*ACTS, *AFTER_LEAVING])
def test_an_act_writes_one_line_and_the_same_again_none(session: Session, name: str) -> None:
    (reader,) = readers(session, a_newsletter(session), 1)
    if name in AFTER_LEAVING:
        leave(session, reader.id)
    before = length(session)
    act = {**ACTS, **AFTER_LEAVING}[name]
    assert act(session, reader.id)
    assert length(session) == before + 1
    assert not act(session, reader.id)
    assert length(session) == before + 1
    last = session.execute(select(Consent).order_by(Consent.id.desc()).limit(1)).scalar_one()
    assert (last.source, last.network) == ("test", "192.0.2.0/24")


def test_signing_up_confirming_and_moving_write_one_line_each(session: Session) -> None:
    signups.handle(session, a_signup(session, a_newsletter(session), now=NOW, origin=ORIGIN), now=NOW)
    subscription_id = session.execute(select(Subscription.id)).scalar_one()
    subscriptions.confirm(session, subscription_id, asked_at=NOW, origin=ORIGIN, now=NOW)
    asked = moves.ask(session, subscription_id, "new@example.net", now=NOW) or 0
    moves.confirm(session, asked, origin=ORIGIN, now=NOW)
    rows = session.execute(select(Consent).order_by(Consent.id)).scalars().all()
    assert [one.event.value for one in rows] == ["requested", "confirmed", "moved"]
    assert rows[0].form_version == "page-1/fr"


@pytest.mark.parametrize("statement", ["UPDATE consents SET source = 'forged'", "DELETE FROM consents"])
def test_no_line_is_changed_or_taken_out(session: Session, statement: str) -> None:
    readers(session, a_newsletter(session), 1)
    with pytest.raises(DBAPIError, match="consents"), session.begin_nested():
        session.execute(text(statement))
    assert length(session) == 2


def test_the_lines_of_an_erased_reader_go_with_them(session: Session) -> None:
    first, _second = readers(session, a_newsletter(session), 2)
    session.execute(delete(Subscriber).where(Subscriber.id == first.subscriber_id))
    assert length(session) == 2


def test_coming_back_forgets_why_one_left(session: Session) -> None:
    (reader,) = readers(session, a_newsletter(session), 1)
    leave(session, reader.id)
    subscriptions.explain(session, reader.id, LeftBecause.TOO_MANY, origin=ORIGIN, now=LATER)
    subscriptions.resume(session, reader.id, origin=ORIGIN, now=LATER)
    assert subscriptions.get(session, reader.id).left_because is None
