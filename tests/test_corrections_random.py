"""Corrections over months of issues, readers and outcomes at random: everybody owed is told once, and nobody else."""

import random
from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from mailer.issues import amending
from mailer.models.audience import Subscription
from mailer.models.choices import CarriedCorrections, Place, Rhythm, VariantArticle
from mailer.models.content import Article, Newsletter, Variant
from mailer.models.corrections import Correction, VariantCorrection
from mailer.models.deliveries import Delivery, DeliveryOutcome, Outcome
from tests.factories import a_newsletter, an_article, readers
from tests.test_variants import DAY, MONDAY, choose, send_if_due

DAYS = 10
MAY_HAVE = (Outcome.ACCEPTED, Outcome.UNCERTAIN)

Pair = tuple[int, int]


@pytest.mark.parametrize("seed", range(2))
def test_everybody_owed_is_told_once_and_nobody_else(session: Session, seed: int) -> None:
    chance = random.Random(seed)
    some = [
        a_newsletter(session, "premiere", carries_corrections=CarriedCorrections.OWN),
        a_newsletter(session, "seconde", carries_corrections=CarriedCorrections.ALL),
    ]
    subscriptions = [one for newsletter in some for one in readers(session, newsletter, 6)]
    for one in chance.sample(subscriptions, 5):
        choose(session, one, now=MONDAY, rhythm=chance.choice(list(Rhythm)))
    for day in range(DAYS):
        now = MONDAY + day * DAY
        for newsletter in some:
            for n in range(chance.randint(0, 2)):
                slug = f"{newsletter.slug}-{day}-{n}"
                an_article(session, newsletter, slug, seen=now - timedelta(hours=1))
            expected = owed(session, newsletter)
            last = newest(session)
            send_if_due(session, newsletter, now=now)
            check(session, expected, after=last)
            end_at_random(session, chance, now)
        correct_something(session, chance, now + timedelta(hours=2))
    assert session.execute(select(VariantCorrection)).first() is not None, "nothing was tried"


def owed(session: Session, newsletter: Newsletter) -> dict[int, set[int]]:
    """The corrections that each subscription of a newsletter is owed, found reader by reader."""
    told = {pair for pair, outcome in boxes(session) if outcome not in (Outcome.REFUSED, Outcome.SKIPPED)}
    found: dict[int, set[int]] = {}
    rows = session.execute(
        select(Subscription.subscriber_id, Subscription.newsletter_id, Correction.id)
        .join(Delivery, Delivery.subscription_id == Subscription.id)
        .join(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .join(Variant, Variant.id == Delivery.variant_id)
        .join(VariantArticle, VariantArticle.variant_id == Variant.id)
        .join(Correction, Correction.article_id == VariantArticle.article_id)
        .where(DeliveryOutcome.outcome.in_(MAY_HAVE), VariantArticle.place == Place.GIVEN)
        .where(Variant.created_at < Correction.at)
    )
    own = newsletter.carries_corrections == CarriedCorrections.OWN
    for subscriber_id, newsletter_id, correction_id in rows:
        if (subscriber_id, correction_id) not in told and not (own and newsletter_id != newsletter.id):
            found.setdefault(subscriber_id, set()).add(correction_id)
    return found


def boxes(session: Session) -> list[tuple[Pair, Outcome | None]]:
    """Who was mailed which correction, and how that mail ended."""
    rows = session.execute(
        select(Subscription.subscriber_id, VariantCorrection.correction_id, DeliveryOutcome.outcome)
        .join(Delivery, Delivery.subscription_id == Subscription.id)
        .join(VariantCorrection, VariantCorrection.variant_id == Delivery.variant_id)
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
    )
    return [((row[0], row[1]), row[2]) for row in rows]


def newest(session: Session) -> int:
    return session.execute(select(Delivery.id).order_by(Delivery.id.desc()).limit(1)).scalar() or 0


def check(session: Session, expected: dict[int, set[int]], *, after: int) -> None:
    """Each mail that was just made has exactly the corrections that its reader is owed; and none is there twice."""
    rows = session.execute(
        select(Subscription.subscriber_id, Delivery.variant_id)
        .join(Delivery, Delivery.subscription_id == Subscription.id)
        .where(Delivery.id > after)
    ).all()
    for subscriber_id, variant_id in rows:
        held = select(VariantCorrection.correction_id).where(VariantCorrection.variant_id == variant_id)
        assert set(session.execute(held).scalars()) == expected.get(subscriber_id, set())
    reached = [pair for pair, outcome in boxes(session) if outcome in MAY_HAVE]
    assert len(reached) == len(set(reached))


def end_at_random(session: Session, chance: random.Random, now: datetime) -> None:
    ended = select(DeliveryOutcome.delivery_id)
    waiting = session.execute(select(Delivery.id).where(Delivery.id.not_in(ended)).order_by(Delivery.id)).scalars()
    rows = [
        {"delivery_id": one, "outcome": chance.choices(list(Outcome), (7, 1, 1, 1))[0], "recorded_at": now}
        for one in waiting
    ]
    if rows:
        session.execute(insert(DeliveryOutcome), rows)


def correct_something(session: Session, chance: random.Random, now: datetime) -> None:
    given = select(VariantArticle.article_id).where(VariantArticle.place == Place.GIVEN)
    ids = sorted(session.execute(select(Article.id).where(Article.id.in_(given))).scalars())
    if ids and chance.random() < 0.5:
        amending.correct(session, chance.choice(ids), f"Une erreur, le {now:%d}.", by="Camille", now=now)
