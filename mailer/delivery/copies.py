"""From a variant and a reader to the message that a transport is given. Compiled once per variant and process."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.orm import Session

from mailer import clock, i18n, links, settings
from mailer.counting import tracked
from mailer.delivery import deliveries
from mailer.delivery.transports.outgoing import Outgoing
from mailer.mail import dkim, merge, message
from mailer.models.content import MailKind, Newsletter, Variant
from mailer.models.tracking import Tracked

# What a longer address and a folded date may add to a copy's size; and what each merge field may, of four octets a letter.
SIZE_MARGIN: Final = 2048
FIELD_MARGIN: Final = 4 * 3 * merge.VALUE_LENGTH

EXAMPLE_ADDRESS: Final = "a.reader.with.quite.a.long.name@correspondence.example.org"


@dataclass(frozen=True, kw_only=True)
class Mail:
    """What all deliveries of one variant share. `size`: octets of a copy, at most. `fields`: the merge fields that it has.

    `personal` is for readers who agreed to be known by what they open and follow; None where that is not asked.
    """

    compiled: message.CompiledMessage
    personal: message.CompiledMessage | None = None
    variant_id: int
    newsletter_id: int
    kind: MailKind
    sender: str
    language: str
    issue_id: int
    size: int
    fields: frozenset[str] = frozenset()

    @property
    def domain(self) -> str:
        """The sender's domain, which makes Message-IDs."""
        return self.sender.rpartition("@")[2]


@dataclass(frozen=True, kw_only=True)
class Example:
    """The bytes of a copy for a made-up reader, and what is that reader's in it."""

    content: bytes
    address: str
    unsubscribe_url: str


def load(session: Session, variant_id: int) -> None:
    """Compile a variant at its first use in this process; it never changes. Raises dkim.KeyInvalid."""
    if variant_id not in _MAILS:
        while len(_MAILS) >= MOST_MAILS:
            del _MAILS[next(iter(_MAILS))]
        _MAILS[variant_id] = _compile(session, variant_id)


def loaded(variant_id: int) -> Mail:
    """Return a variant that was loaded a moment ago."""
    return _MAILS[variant_id]


def forget() -> None:
    """Forget what was compiled."""
    _MAILS.clear()


def outgoing(mail: Mail, one: deliveries.Recipient) -> Outgoing:
    """Make the message for one reader; its bytes are filled in when the server is ready for them."""
    box = settings.load().bounce_address
    return Outgoing(
        key=one.delivery_id,
        # Each mail comes back to an address of its own (VERP), which tells whose it was whatever the report holds.
        sender=links.return_path(box, one.delivery_id) if box else mail.sender,
        recipient=one.address,
        content=functools.partial(_fill, mail, one),
        size=mail.size,
    )


def example(session: Session, variant_id: int) -> Example:
    """Make the copy that a made-up reader would get, not signed: what is checked before anything is queued."""
    mail = _compile(session, variant_id, signers=())
    one = _made_up(variant_id, EXAMPLE_ADDRESS)
    token = links.sign(links.Purpose.UNSUBSCRIBE, one.subscription_id, mail.issue_id)
    return Example(content=_fill(mail, one), address=one.address, unsubscribe_url=links.url(f"/u/{token}"))


def apart(session: Session, variant_id: int, reader: deliveries.Recipient) -> Outgoing:
    """Make the signed message for one reader of a variant that is not kept, such as a test. Raises dkim.KeyInvalid."""
    return outgoing(_compile(session, variant_id), reader)


MOST_MAILS: Final = 64
_MAILS: Final[dict[int, Mail]] = {}


def _compile(session: Session, variant_id: int, *, signers: Sequence[dkim.Signer] | None = None) -> Mail:
    """Compile a variant; `signers` None: those of the settings."""
    variant = session.get_one(Variant, variant_id)
    sender = session.get_one(Newsletter, variant.newsletter_id).sender_address
    if signers is None:
        signers = dkim.signers_for(settings.load().dkim, sender.rpartition("@")[2])
    compiled = _encode(variant, _counted_by_all(variant), signers)
    mail = Mail(
        compiled=compiled,
        personal=_encode(variant, _counted_by_reader(variant), signers) if Tracked.READERS in variant.tracks else None,
        variant_id=variant_id,
        newsletter_id=variant.newsletter_id,
        kind=variant.kind,
        sender=sender,
        language=variant.language,
        issue_id=variant.issue_id or 0,
        size=0,
        fields=frozenset(compiled.fields),
    )
    size = len(_fill(mail, _made_up(variant_id, sender))) + SIZE_MARGIN + FIELD_MARGIN * len(compiled.fields)
    return dataclasses.replace(mail, size=size)


def _encode(variant: Variant, html: str, signers: Sequence[dkim.Signer]) -> message.CompiledMessage:
    return message.compile_message(
        nonce=variant.nonce,
        headers=variant.headers,
        subject=variant.subject,
        text=variant.text,
        html=html,
        signers=signers,
    )


def _counted_by_all(variant: Variant) -> str:
    """Return the HTML for readers of whom nothing is noted: links and pixel are the same for all of them."""
    clicks, opens = Tracked.CLICKS in variant.tracks, Tracked.OPENS in variant.tracks
    return tracked.mark(variant.html, variant.id, clicks=clicks, opens=opens)


def _counted_by_reader(variant: Variant) -> str:
    reader = message.placeholder(variant.nonce, "tracker")
    return tracked.mark(variant.html, variant.id, clicks=True, opens=True, reader=reader)


def _made_up(variant_id: int, address: str) -> deliveries.Recipient:
    return deliveries.Recipient(
        delivery_id=1,
        variant_id=variant_id,
        subscription_id=1,
        address=address,
        confirmed_at=clock.now(),
        attempts=0,
        first_deferred_at=None,
        reason=None,
        # The copy with the most in it.
        agrees_to_tracking=True,
    )


def _fill(mail: Mail, one: deliveries.Recipient) -> bytes:
    now = clock.now()
    row, issue_id = one.subscription_id, mail.issue_id
    compiled = mail.personal if mail.personal and one.agrees_to_tracking else mail.compiled
    reader = message.Reader(
        address=one.address,
        since=_since(mail.language, one.confirmed_at.date()) if one.confirmed_at else "",
        confirm="" if issue_id else _confirmation(mail, one, now=now),
        unsubscribe=links.sign(links.Purpose.UNSUBSCRIBE, row, issue_id),
        oneclick=links.sign(links.Purpose.ONE_CLICK, row, issue_id),
        preferences=links.sign(links.Purpose.PREFERENCES, row),
        tracker="" if compiled is mail.compiled else tracked.reader_token(row, mail.variant_id),
        network=_network(mail.kind, one),
        message_id=links.message_id(one.delivery_id, mail.domain),
        fields={name: _value(one, name) for name in mail.fields},
    )
    return compiled.fill(reader, now=now)


def _confirmation(mail: Mail, one: deliveries.Recipient, *, now: datetime) -> str:
    """Make the token of the one link that a confirmation or notice is mailed for."""
    if mail.kind == MailKind.DESK_ACCOUNT:
        return links.sign_now(links.Purpose.ACCOUNT_MAILED, one.delivery_id, now)
    if mail.kind == MailKind.CHANGE_ADDRESS:
        return links.sign_now(links.Purpose.CHANGE_ADDRESS, one.delivery_id, now)
    if mail.kind == MailKind.MANAGE:
        return links.sign_now(links.Purpose.MANAGE, one.subscription_id, now)
    return links.sign_confirmation(one.subscription_id, mail.newsletter_id, now)


def _network(kind: MailKind, one: deliveries.Recipient) -> str:
    """Tell from which network the sign-up form came that this mail answers, for the header Form-Sub: as far as it is kept."""
    if kind not in (MailKind.CONFIRM, MailKind.ALREADY) or not one.network:
        return ""
    return f";ip={one.network.partition('/')[0]}"


def _value(one: deliveries.Recipient, field: str) -> str:
    return merge.clean((one.name if field == merge.NAME else one.attributes.get(field)) or "")


@functools.lru_cache(maxsize=4096)
def _since(language: str, day: date) -> str:
    return i18n.format_date(language, day, "long")
