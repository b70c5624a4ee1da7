"""What comes back: whose it was, what follows for the reader, and what the newsroom hears."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from mailer import clock, links, settings
from mailer.audience import signups, subscriptions, suppressions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import consequences, deliveries, incoming, returned, sending
from mailer.delivery.bounces.reasons import Reason
from mailer.issues import issues
from mailer.links import Purpose
from mailer.models.audience import Consent, EndedReason, Subscription, SubscriptionState, SuppressedBecause
from mailer.models.content import Issue, IssueState, Newsletter, PauseReason
from mailer.models.deliveries import Delivery, Outcome
from mailer.models.desk import DeskEvent, DeskMail
from mailer.models.returns import Return, ReturnKind
from tests.conftest import SmtpInbox, forget
from tests.factories import NOW, a_newsletter, an_article, readers

BOX = "retours@lettre.example"
LATER = NOW + timedelta(days=1)


def sent(session: Session, *, count: int = 3, newsletter: Any = None, at: datetime = LATER) -> list[int]:
    """An issue that the server took for all readers. Returns the deliveries' ids."""
    owner = newsletter or a_newsletter(session, desk_addresses=["redaction@courrier.example"])
    if newsletter is None:
        readers(session, owner, count)
    an_article(session, owner, f"eau-{at:%j%H}", seen=at - timedelta(hours=1))
    issue = issues.draft(session, owner, now=at)
    issues.start(session, issue, batch_size=100_000, now=at)
    claim = deliveries.claim(session, owner="test.1", lease_seconds=60, now=at)
    assert claim is not None
    found = deliveries.unsettled_ids(session, claim)
    settled = [deliveries.Settled(delivery_id=one, outcome=Outcome.ACCEPTED, reply="250 OK") for one in found]
    deliveries.record(session, claim, settled, [], now=at)
    return found


def report(delivery_id: int | None, kind: ReturnKind, *, at: datetime = LATER, name: str = "x") -> returned.Report:
    return returned.Report(
        name=name, delivery_id=delivery_id, kind=kind, reason=Reason.UNKNOWN, status=None, words=None, via="test", at=at
    )


def take(session: Session, raw: bytes, *, recipient: str | None, via: str, now: datetime) -> incoming.Taken:
    mail = incoming.Mail(raw=raw, recipient=recipient, via=via)
    (taken,) = incoming.take(session, [incoming.understand(mail, now=now)], now=now)
    return taken


def happened(session: Session, found: Sequence[returned.Report], *, now: datetime = LATER) -> None:
    returned.note(session, found, now=now)
    while consequences.handle(session, now=now):
        pass
    session.expire_all()


def standing(session: Session, delivery_id: int) -> tuple[SubscriptionState, EndedReason | None]:
    chosen = select(Subscription.state, Subscription.ended_reason).join(
        Delivery, Delivery.subscription_id == Subscription.id
    )
    row = session.execute(chosen.where(Delivery.id == delivery_id)).one()
    return row[0], row[1]


def address_of(session: Session, delivery_id: int) -> str:
    subscription_id = session.get_one(Delivery, delivery_id).subscription_id
    return subscriptions.get(session, subscription_id or 0).subscriber.address


def a_bounce(to: str, said: str, *, message_id: str = "") -> bytes:
    """A report as a server writes it (RFC 3464)."""
    report = (
        "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; r0@example.org\nAction: failed\nStatus: 5.1.1\n"
    )
    report += f"Diagnostic-Code: smtp; {said}\n"
    original = f"Message-ID: <{message_id}>\nTo: r0@example.org\n\n" if message_id else "To: r0@example.org\n\n"
    boundary = "=_b"
    parts = [
        ("text/plain", f"The mail could not be delivered.\n\n{said}\n"),
        ("message/delivery-status", report),
        ("text/rfc822-headers", original),
    ]
    head = f"From: MAILER-DAEMON@mx.example.org\nTo: {to}\nSubject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n"
    head += f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"\n\n'
    body = "".join(f"--{boundary}\nContent-Type: {kind}\n\n{content}\n" for kind, content in parts)
    return (head + body + f"--{boundary}--\n").encode()


def test_an_address_to_come_back_to_survives_what_servers_do_to_it(environment: None) -> None:
    path = links.return_path(BOX, 123_456_789)
    assert len(path.partition("@")[0]) <= 64
    token = path.partition("+")[2].partition("@")[0]
    rewritten = [
        path,
        path.upper(),
        f"<{path}>",
        f"prvs=0123456789={path}",
        f"SRS0=HHH=TT=lettre.example=retours+{token}@forwarder.example",
        f"retours-{token}@lettre.example",
        f"Léa <{path}>, other@example.org",
    ]
    assert [links.read_return_path(one) for one in rewritten] == [123_456_789] * len(rewritten)


def test_a_changed_address_leads_to_no_delivery(environment: None) -> None:
    path = links.return_path(BOX, 7)
    local = path.partition("@")[0]
    for place in range(len("retours+"), len(local)):
        other = "a" if local[place] != "a" else "b"
        changed = f"{local[:place]}{other}{local[place + 1 :]}@lettre.example"
        # The last character holds bits that no octet has.
        assert links.read_return_path(changed) in ((None, 7) if place == len(local) - 1 else (None,))
    assert links.read_return_path(f"{local[:-1]}@lettre.example") is None
    assert (
        links.read_return_path(f"retours+{links.in_mailbox(links.sign(Purpose.ONE_CLICK, 7))}@lettre.example") is None
    )


def test_a_message_id_of_ours_is_known_again_and_a_forged_one_is_not(environment: None) -> None:
    ours = links.message_id(42, "courrier.example")
    assert links.read_message_id(f"<{ours}>") == 42
    for forged in (ours.replace("42.", "43."), f"0{ours}", "", "42.@courrier.example", ours.replace("@", "0@")):
        assert links.read_message_id(forged) is None


def test_a_hard_bounce_ends_the_readers_subscriptions_and_suppresses_the_address(session: Session) -> None:
    first, second, _ = sent(session)
    happened(session, [report(first, ReturnKind.HARD)])
    assert standing(session, first) == (SubscriptionState.ENDED, EndedReason.BOUNCED)
    assert suppressions.find(session, address_of(session, first)).reason == SuppressedBecause.BOUNCED
    assert standing(session, second) == (SubscriptionState.CONFIRMED, None)
    logged = session.execute(select(Consent.event, Consent.detail).order_by(Consent.id.desc())).first()
    assert logged == ("ended", "bounced")


def test_the_same_report_counts_once_whichever_way_it_comes(session: Session) -> None:
    (first, *_) = sent(session)
    raw = a_bounce(links.return_path(BOX, first), "550 5.1.1 no such user")
    taken = [take(session, raw, recipient=None, via=via, now=LATER) for via in ("mailbox", "mailbox", "lmtp")]
    assert taken == [incoming.Taken.RETURN, incoming.Taken.KNOWN, incoming.Taken.KNOWN]
    happened(session, [report(first, ReturnKind.HARD)])
    assert len(session.execute(select(Return)).all()) == 1
    ended = select(Consent.id).where(Consent.event == "ended")
    assert len(session.execute(ended).all()) == 1


def test_what_has_no_genuine_token_moves_nobody(session: Session) -> None:
    (first, *_) = sent(session)
    forged = [
        a_bounce("retours@lettre.example", "550 5.1.1 no such user"),
        a_bounce(
            f"retours+{'a' * 36}@lettre.example",
            "550 5.1.1 no such user",
            message_id=f"{first}.{'0' * 20}@courrier.example",
        ),
    ]
    for raw in forged:
        take(session, raw, recipient=None, via="mailbox", now=LATER)
    happened(session, [])
    assert standing(session, first) == (SubscriptionState.CONFIRMED, None)
    assert session.execute(select(Return.words)).scalars().all() == [None, None]


def test_the_message_id_of_the_returned_mail_tells_whose_it_was(session: Session) -> None:
    (first, *_) = sent(session)
    raw = a_bounce(
        "retours@lettre.example", "550 5.1.1 no such user", message_id=links.message_id(first, "courrier.example")
    )
    take(session, raw, recipient=None, via="mailbox", now=LATER)
    happened(session, [])
    assert standing(session, first)[0] == SubscriptionState.ENDED


def test_a_bounce_of_a_mail_from_before_the_reader_confirmed_again_changes_nothing(session: Session) -> None:
    (first, *_) = sent(session)
    session.execute(update(Subscription).values(confirmed_at=LATER + timedelta(hours=2)))
    happened(session, [report(first, ReturnKind.HARD)], now=LATER + timedelta(hours=3))
    assert standing(session, first)[0] == SubscriptionState.CONFIRMED


def test_a_reader_who_bounced_comes_back_by_the_form_and_a_click(session: Session) -> None:
    (first, *_) = sent(session)
    address = address_of(session, first)
    happened(session, [report(first, ReturnKind.HARD)])
    newsletter = subscriptions.get(session, session.get_one(Delivery, first).subscription_id or 0).newsletter
    asked = signups.Asked(address=address, language="fr")
    request = signups.request(session, newsletter.id, asked, origin=Origin(), now=LATER)
    assert signups.handle(session, request, now=LATER) is not None
    again = subscriptions.get(session, session.get_one(Delivery, first).subscription_id or 0)
    signups.confirm(session, again, asked_at=LATER, origin=Origin(), now=LATER)
    assert not subscriptions.is_suppressed(session, address)


def soft(session: Session, days: Sequence[int]) -> int:
    """The first of two readers' mails came back softly on these days, one issue a day. Returns the last delivery's id."""
    newsletter = a_newsletter(session)
    readers(session, newsletter, 2)
    last = 0
    for day in range(max(days) + 1):
        at = LATER + timedelta(days=day)
        last, _ = sent(session, newsletter=newsletter, at=at)
        if day in days:
            happened(session, [report(last, ReturnKind.SOFT, at=at)], now=at)
    return last


@pytest.mark.parametrize(
    ("days", "leaves"),
    [
        ((0, 1, 2, 3, 4), False),  # not over enough days
        ((0, 1, 2, 14), False),  # one was taken in between
        ((12, 13, 14), False),  # too few
        (tuple(range(15)), True),
        (tuple(range(14)), False),
    ],
)
def test_soft_bounces_end_a_subscription_when_enough_came_in_a_row(
    session: Session, days: tuple[int, ...], leaves: bool
) -> None:
    last = soft(session, days)
    assert standing(session, last)[0] == (SubscriptionState.ENDED if leaves else SubscriptionState.CONFIRMED)


def test_how_many_soft_bounces_it_takes_can_be_set(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_SOFT_BOUNCES", "2")
    monkeypatch.setenv("MAILER_SOFT_BOUNCE_DAYS", "1")
    settings.load.cache_clear()
    assert standing(session, soft(session, (0, 1)))[0] == SubscriptionState.ENDED


def test_a_complaint_unsubscribes_for_good(session: Session) -> None:
    first, second, _ = sent(session)
    happened(session, [report(first, ReturnKind.COMPLAINT), report(first, ReturnKind.HARD)])
    assert standing(session, first) == (SubscriptionState.ENDED, EndedReason.COMPLAINED)
    address = address_of(session, first)
    assert not subscriptions.may_ask(session, address)
    with pytest.raises(suppressions.SuppressionFinal):
        suppressions.remove(session, address)
    assert standing(session, second)[0] == SubscriptionState.CONFIRMED


def a_big_newsletter(session: Session, count: int) -> Newsletter:
    """As many confirmed readers, in one statement each."""
    newsletter = a_newsletter(session, desk_addresses=["redaction@courrier.example"])
    values = {"count": count, "newsletter": newsletter.id, "now": NOW}
    session.execute(
        text(
            "INSERT INTO subscribers (address, address_key, created_at) "
            "SELECT 'b' || n || '@example.org', 'b' || n || '@example.org', :now FROM generate_series(1, :count) n"
        ),
        values,
    )
    session.execute(
        text(
            "INSERT INTO subscriptions (subscriber_id, newsletter_id, state, language, requested_at, confirmed_at) "
            "SELECT id, :newsletter, 'confirmed', 'fr', :now, :now FROM subscribers"
        ),
        values,
    )
    return newsletter


def issue_of(session: Session, delivery_id: int) -> Issue:
    return issues.get(session, session.get_one(Delivery, delivery_id).issue_id or 0)


@pytest.mark.parametrize(
    ("complaints", "state", "events"),
    [
        (2, IssueState.SENDING, []),
        (3, IssueState.SENDING, [DeskEvent.COMPLAINTS]),
        (8, IssueState.SENDING, [DeskEvent.COMPLAINTS]),
        (9, IssueState.PAUSED, [DeskEvent.ISSUE_PAUSED]),
    ],
)
def test_complaints_warn_at_a_thousandth_and_stop_the_issue_at_three(
    session: Session, complaints: int, state: IssueState, events: list[DeskEvent]
) -> None:
    found = sent(session, newsletter=a_big_newsletter(session, 3000))
    happened(session, [report(one, ReturnKind.COMPLAINT) for one in found[:complaints]])
    issue = issue_of(session, found[0])
    assert issue.state == state
    assert issue.state_code == (PauseReason.COMPLAINTS if state == IssueState.PAUSED else None)
    assert session.execute(select(DeskMail.event)).scalars().all() == events


def test_a_few_complaints_of_a_small_newsletter_stop_nothing(session: Session) -> None:
    found = sent(session, count=20)
    happened(session, [report(one, ReturnKind.COMPLAINT) for one in found[:2]])
    assert issue_of(session, found[0]).state == IssueState.SENDING
    assert session.execute(select(DeskMail)).all() == []


def test_refusals_of_us_cost_no_reader_and_are_told_once_a_day(session: Session) -> None:
    found = sent(session, count=5)
    happened(session, [report(one, ReturnKind.OURS) for one in found[:2]])
    assert session.execute(select(DeskMail)).all() == []
    happened(session, [report(one, ReturnKind.OURS) for one in found[2:]])
    happened(session, [report(None, ReturnKind.OURS, name="again")])
    assert session.execute(select(DeskMail.event)).scalars().all() == [DeskEvent.BLOCKED]
    assert {standing(session, one)[0] for one in found} == {SubscriptionState.CONFIRMED}


def test_what_a_server_refused_at_once_counts_as_a_bounce(session: Session) -> None:
    first, second, third = sent(session)
    replies = {first: "550 5.1.1 no such user", second: "552 5.2.2 mailbox full", third: "550 5.7.1 blocked by policy"}
    settled = [
        deliveries.Settled(delivery_id=one, outcome=Outcome.REFUSED, reply=said) for one, said in replies.items()
    ]
    found = returned.refused(settled, now=LATER)
    assert [one.kind for one in found] == [ReturnKind.HARD, ReturnKind.SOFT, ReturnKind.OURS]
    happened(session, found)
    assert standing(session, first)[1] == EndedReason.BOUNCED
    assert standing(session, second)[0] == standing(session, third)[0] == SubscriptionState.CONFIRMED


def test_a_mail_to_the_unsubscribe_mailbox_ends_the_subscription(session: Session) -> None:
    (first, *_) = sent(session)
    subscription_id = session.get_one(Delivery, first).subscription_id or 0
    token = links.in_mailbox(links.sign(Purpose.ONE_CLICK, subscription_id, 1))
    raw = f"From: r0@example.org\nTo: unsubscribe+{token}@lettre.example\nSubject: unsubscribe\n\n".encode()
    assert take(session, raw, recipient=None, via="mailbox", now=LATER) == incoming.Taken.LEFT
    assert take(session, raw, recipient=None, via="mailbox", now=LATER) == incoming.Taken.KNOWN
    session.expire_all()
    assert standing(session, first) == (SubscriptionState.ENDED, EndedReason.ONE_CLICK)


def test_an_answering_machine_is_no_bounce(session: Session) -> None:
    (first, *_) = sent(session)
    raw = f"From: r0@example.org\nTo: {links.return_path(BOX, first)}\nAuto-Submitted: auto-replied\nSubject: absent\n\nAbsent."
    assert take(session, raw.encode(), recipient=None, via="mailbox", now=LATER) == incoming.Taken.NOTHING
    assert session.execute(select(Return)).all() == []


def test_whole_lists_go_out_and_come_in_and_the_graver_reason_stays(session: Session) -> None:
    suppressions.add(session, ["lea@example.org", "aru@example.kz"], SuppressedBecause.COMPLAINED, now=NOW)
    lines = [",".join(one) for one in suppressions.lines(session)]
    session.rollback()
    suppressions.add(session, ["LEA@example.org"], SuppressedBecause.BOUNCED, now=NOW)
    found = suppressions.read(["sha256,reason,since", *lines, "bek@example.kg"], now=NOW)
    assert suppressions.put(session, found) == 2
    assert suppressions.find(session, "lea@example.org").reason == SuppressedBecause.COMPLAINED
    assert suppressions.find(session, "bek@example.kg").reason == SuppressedBecause.REMOVED
    suppressions.add(session, ["lea@example.org"], SuppressedBecause.REMOVED, now=NOW)
    session.expire_all()
    assert suppressions.find(session, "lea@example.org").reason == SuppressedBecause.COMPLAINED


@pytest.mark.parametrize(
    "line", ["nonsense", "a@b\0.example", "x" * 64, "lea@example.org,because", "lea@example.org,,yesterday"]
)
def test_a_line_that_is_no_address_is_named(line: str) -> None:
    with pytest.raises(suppressions.ListInvalid, match="Line 2"):
        list(suppressions.read(["address", line], now=datetime.now(UTC)))


def test_each_mail_leaves_with_an_address_of_its_own_to_come_back_to(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_BOUNCE_ADDRESS", BOX)
    forget()
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=NOW)
        readers(session, newsletter, 2)
        issues.start(session, issues.draft(session, newsletter, now=clock.now()), batch_size=10, now=clock.now())
    sending.send_due(budget_seconds=5)
    paths = [one.envelope_from for one in installation.messages]
    assert sorted(links.read_return_path(one) or 0 for one in paths) == [1, 2]
    assert all(one.endswith("@lettre.example") and one.startswith("retours+") for one in paths)
