"""Whose page it is: a newsletter's, by what its address names, or the publisher's where no newsletter is meant."""

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from mailer import links
from mailer.db import transaction
from mailer.links import Purpose
from mailer.mail import brand
from mailer.models.audience import Subscription
from mailer.models.content import Issue, Newsletter
from mailer.newsroom import newsletters

# How long pages that belong to no newsletter may be behind what the desk says of the publisher.
FRESH_SECONDS: Final = 2.0
# Which tokens an address takes, by its first word.
_OPENED_BY: Final = {
    "u": (Purpose.UNSUBSCRIBE, Purpose.ONE_CLICK),
    "p": (Purpose.PREFERENCES,),
    "account": (Purpose.MANAGE,),
}

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a page says of a newsletter: its name above the page, its publisher below."""

    id: int
    slug: str
    name: str
    description: str
    language: str
    site_url: str
    sender_address: str
    contact: str
    publisher: str
    postal_address: str
    brand_url: str
    is_counted: bool


def publication(newsletter: Newsletter) -> Publication:
    """Take from a newsletter what pages show."""
    colors = brand.palette(newsletter.brand_color, newsletter.brand_color_dark)
    return Publication(
        id=newsletter.id,
        slug=newsletter.slug,
        name=newsletter.name,
        description=newsletter.description,
        language=newsletter.language,
        site_url=newsletter.site_url,
        sender_address=newsletter.sender_address,
        contact=newsletter.reply_to or newsletter.sender_address,
        publisher=newsletter.publisher,
        postal_address=newsletter.postal_address,
        brand_url=_brand_url(colors),
        is_counted=newsletter.tracks_clicks or newsletter.tracks_opens,
    )


def recolored(one: Publication, colors: brand.Palette) -> Publication:
    """Return the same in other colours."""
    return replace(one, brand_url=_brand_url(colors))


class Faces:
    """The newsletters as they were a moment ago; one for each web process. While the database is away, as they were last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[Publication, ...] = ()
        self._read_at = -math.inf

    def all(self, *, reads: bool = True) -> tuple[Publication, ...]:
        """List them, the oldest first; `reads` False: without asking the database, as far as they are known."""
        # Only one thread reads; the others make do with what they have, if they have anything.
        if reads and self._is_old() and self._lock.acquire(blocking=not self._known):
            try:
                if self._is_old():
                    self._read()
            finally:
                self._lock.release()
        return self._known

    def house(self, *, reads: bool = True) -> Publication | None:
        """Return the only newsletter, or the publisher of several in the colours of the first; None before there is any."""
        known = self.all(reads=reads)
        if not known or len(known) == 1:
            return known[0] if known else None
        return replace(known[0], name=known[0].publisher, slug="", description="")

    def named_by(self, request: Request, *, reads: bool = True) -> Publication | None:
        """Return the newsletter that a request's address names, by itself or by the token or issue in it; None if none."""
        word, _, rest = request.url.path.strip("/").partition("/")
        known = self.all(reads=reads)
        if word == "s":
            word = rest.partition("/")[0]
        found = next((one for one in known if one.slug == word), None)
        if found is not None or not reads:
            return found
        newsletter_id = _newsletter_of(word, rest.partition("/")[0])
        return next((one for one in known if one.id == newsletter_id), None)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > FRESH_SECONDS

    def _read(self) -> None:
        try:
            with transaction() as session:
                found = [publication(one) for one in newsletters.all_newsletters(session)]
            self._known = tuple(sorted(found, key=lambda one: one.id))
        except SQLAlchemyError as error:
            # The page comes all the same.
            log.warning("newsletters unknown", error=type(error).__qualname__)
        self._read_at = time.monotonic()


def of(request: Request) -> Faces:
    """Return the process's faces."""
    found: Faces = request.app.state.faces
    return found


def _newsletter_of(word: str, text: str) -> int | None:
    """Tell which newsletter a token or an issue's number belongs to; None for one that is not genuine, or known no more."""
    if word == "i" and text.isascii() and text.isdecimal() and len(text) < 16:
        statement = select(Issue.newsletter_id).where(Issue.id == int(text))
    elif word == "confirm":
        token = _read(text, Purpose.CONFIRM)
        if token is None:
            return None
        if token.newsletter_id:
            return token.newsletter_id
        statement = select(Subscription.newsletter_id).where(Subscription.id == token.subscription_id)
    else:
        tokens = (_read(text, purpose) for purpose in _OPENED_BY.get(word, ()))
        token = next((one for one in tokens if one is not None), None)
        if token is None or token.id >= 2**63:
            return None
        statement = select(Subscription.newsletter_id).where(Subscription.id == token.id)
    try:
        with transaction() as session:
            return session.execute(statement).scalar_one_or_none()
    except SQLAlchemyError:
        return None


def _read(text: str, purpose: Purpose) -> links.Token | None:
    try:
        return links.read(purpose, text)
    except links.TokenInvalid:
        return None


def _brand_url(colors: brand.Palette) -> str:
    return f"/static/brand/{colors.light[1:]}-{colors.dark[1:]}.css"
