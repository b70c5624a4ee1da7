"""An issue that is not sent yet as somebody would get it: the very message, in the language and with the articles of a reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from mailer.articles import topics
from mailer.delivery import copies, deliveries
from mailer.delivery.transports.outgoing import Outgoing
from mailer.issues import explanations, grouping, selection, variants
from mailer.issues.contents import Content, Placed
from mailer.mail import mails
from mailer.models.audience import Subscriber
from mailer.models.choices import Place
from mailer.models.content import Issue

# No reader has this number, so the links of such a message lead to nobody's page.
NOBODY: Final = 0


class NothingForReader(Exception):
    """The reader would get no issue: nothing of it is left that they want and have not had."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader would get, in their language; the merge fields of the mail are filled with `name` and `attributes`."""

    content: Content
    language: str
    name: str | None
    attributes: Mapping[str, str]


def of_edition(session: Session, issue: Issue, placed: Placed) -> Reading:
    """Return the issue as the newsroom arranged it, for the example reader."""
    made = variants.edition(session, issue, placed)
    return Reading(content=made, language=issue.newsletter.language, name=mails.EXAMPLE_NAME, attributes={})


def of_reader(session: Session, issue: Issue, placed: Placed, address: str, *, now: datetime) -> Reading:
    """Return the issue as the reader with an address would get it, whenever they are due.

    Raises AddressInvalid, SubscriptionNotFound or NothingForReader.
    """
    subscription = explanations.find_reader(session, issue.newsletter, address)
    reader = session.get_one(Subscriber, subscription.subscriber_id)
    known = {one.slug for one in topics.of(session, issue.newsletter_id)}
    had = explanations.held(session, subscription, Place.GIVEN, at=now)
    edition = selection.edition_view(session, issue.newsletter, at=now)
    group = grouping.Group(
        language=subscription.language,
        topics=tuple(slug for slug in subscription.topics if slug in known),
        start=subscription.watermark or edition.start,
        had=(0,) if had else (),
        owed=(),
        readers=1,
    )
    made = variants.of_group(session, issue, placed, group, had)
    if issue.body is None and not made.placed:
        raise NothingForReader("Nothing of this issue is left that this reader wants and has not had.")
    return Reading(content=made, language=subscription.language, name=reader.name, attributes=dict(reader.attributes))


def trial_message(
    session: Session, issue: Issue, reading: Reading, *, key: int, address: str, now: datetime
) -> Outgoing:
    """Make the signed mail that an address gets to look at: [Test] before its subject, links that lead to nobody's pages.

    What is counted is not counted in it. Nothing is stored. Raises TemplateInvalid, InliningFailed or dkim.KeyInvalid.
    """
    trial = session.begin_nested()
    try:
        newsletter = issue.newsletter
        variant = mails.issue_variant(session, newsletter, issue, reading.content, reading.language, now=now)
        variant.subject, variant.tracks = f"[Test] {variant.subject}", []
        reader = deliveries.Recipient(
            delivery_id=key,
            variant_id=variant.id,
            subscription_id=NOBODY,
            address=address,
            confirmed_at=now,
            attempts=0,
            first_deferred_at=None,
            reason=None,
            name=reading.name,
            attributes=reading.attributes,
        )
        return copies.apart(session, variant.id, reader)
    finally:
        trial.rollback()
