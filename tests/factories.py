"""Rows that tests need, made by the domain's own functions where there are some."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from mailer.audience import signups, subscriptions
from mailer.feeds.urls import canonical_url
from mailer.models.audience import Subscription
from mailer.models.content import Article, Feed, Newsletter
from mailer.newsroom import newsletters

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


def a_newsletter(session: Session, slug: str = "courrier", **values: object) -> Newsletter:
    """A French newsletter with a feed, made by hand unless `cron` is given."""
    fields: dict[str, object] = {
        "name": "Le Courrier d’Asie centrale",
        "description": "L’actualité de l’Asie centrale",
        "language": "fr",
        "site_url": "https://courrier.example",
        "sender_name": "Le Courrier d’Asie centrale",
        "sender_address": "lettre@courrier.example",
        "publisher": "Association Le Courrier",
        "postal_address": "12 rue des Caravanes, 67000 Strasbourg",
        "introduction": "Bonjour,\n\nVoici les articles de la semaine.",
        "signature": "Camille Ferrand, rédactrice en chef",
        "timezone": "Europe/Paris",
    }
    newsletter = newsletters.create(session, slug, values={**fields, **values}, now=NOW)
    newsletters.add_feed(session, newsletter, f"https://courrier.example/{slug}.xml", now=NOW)
    return newsletter


def the_feed(session: Session, newsletter: Newsletter) -> Feed:
    """The newsletter's first feed."""
    return newsletters.feeds(session, newsletter)[0]


def an_article(
    session: Session, newsletter: Newsletter, slug: str, *, seen: datetime = NOW, **values: object
) -> Article:
    """An article of the newsletter's feed, first seen and published at `seen`."""
    url = f"https://courrier.example/{slug}"
    fields: dict[str, object] = {
        "guid": slug,
        "url": url,
        "canonical_url": canonical_url(url),
        "title": f"Le titre de {slug}",
        "excerpt": f"Le résumé de {slug}.",
        "topics": ["Société"],
        "published_at": seen,
        "first_seen_at": seen,
        "updated_at": seen,
        "minutes": 4,
    }
    article = Article(feed_id=the_feed(session, newsletter).id, **{**fields, **values})
    session.add(article)
    session.flush()
    return article


def a_signup(
    session: Session,
    newsletter: Newsletter,
    address: str = "lea@example.org",
    *,
    now: datetime,
    origin: subscriptions.Origin | None = None,
    **chosen: Any,
) -> int:
    """Somebody filled in the form in French; no task has seen it yet. Returns the request's id."""
    asked = signups.Asked(**{"address": address, "language": "fr", **chosen})
    return signups.request(session, newsletter.id, asked, origin=origin or subscriptions.Origin(), now=now)


def readers(session: Session, newsletter: Newsletter, count: int, *, language: str = "fr") -> list[Subscription]:
    """Confirmed readers r0@example.org, r1@…"""
    return [
        subscriptions.add(
            session, newsletter, f"r{n}@example.org", language=language, proof="test", now=NOW + timedelta(seconds=n)
        )
        for n in range(count)
    ]
