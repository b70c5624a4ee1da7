"""What is kept of opens and clicks: only what a newsletter counts and a reader agreed to, judged, summed, forgotten."""

import re
from collections.abc import Sequence
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mailer.audience import leaving, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.counting import events, machines, tracked, tracking
from mailer.counting.tracked import Mark
from mailer.delivery import copies, deliveries
from mailer.issues import checks, issues
from mailer.issues.checks.mail import parse
from mailer.models.audience import Consent, EndedReason, Subscription, SubscriptionState
from mailer.models.content import Issue, Newsletter, Variant
from mailer.models.deliveries import Delivery, DeliveryOutcome, Outcome
from mailer.models.tracking import Event, EventTotal, MachineReason, VariantLink
from tests.factories import NOW, a_newsletter, an_article, readers

ALL = {"tracks_clicks": True, "tracks_opens": True, "tracks_readers": True}
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15"
LATER = NOW + timedelta(hours=1)


def sent(session: Session, **switches: object) -> Issue:
    """An issue that two readers were sent a moment after NOW."""
    newsletter = a_newsletter(session, **switches)
    for slug in ("eau", "ville", "pain", "neige", "laine", "route"):
        an_article(session, newsletter, slug)
    readers(session, newsletter, 2)
    now = NOW + timedelta(minutes=1)
    issue = issues.draft(session, newsletter, now=now)
    issues.start(session, issue, batch_size=10, now=now)
    copies.forget()
    return issue


def variant_of(session: Session, issue: Issue) -> Variant:
    return session.execute(select(Variant).where(Variant.issue_id == issue.id)).scalar_one()


def the_readers(session: Session, issue: Issue) -> list[int]:
    statement = select(Delivery.subscription_id).where(Delivery.issue_id == issue.id).order_by(Delivery.id)
    return [one for one in session.execute(statement).scalars() if one is not None]


def agree(session: Session, reader: int, *, agrees: bool = True) -> bool:
    return tracking.agree(session, reader, agrees=agrees, origin=Origin(source="test"), now=NOW + timedelta(minutes=2))


def seen(variant_id: int, link: int = 0, reader: int | None = None, **values: object) -> events.Record:
    facts: dict[str, object] = {"agent": PHONE, "network": "203.0.113.0/24", "is_head": False, "now": LATER, **values}
    mark = Mark(variant_id=variant_id, link=link, subscription_id=reader)
    return tracking.seen(mark, **facts)  # type: ignore[arg-type]


def apply(session: Session, *records: events.Record, number: int = 1) -> bool:
    return tracking.apply(session, "queue", number, records, now=LATER)


def kept(session: Session) -> Sequence[Event]:
    return session.execute(select(Event).order_by(Event.id)).scalars().all()


def copy_for(session: Session, issue: Issue, reader: int, *, agrees: bool) -> str:
    variant = variant_of(session, issue)
    copies.load(session, variant.id)
    one = deliveries.Recipient(
        delivery_id=1,
        variant_id=variant.id,
        subscription_id=reader,
        address="r0@example.org",
        confirmed_at=NOW,
        attempts=0,
        first_deferred_at=None,
        reason=None,
        agrees_to_tracking=agrees,
    )
    content = copies.outgoing(copies.loaded(variant.id), one).content()
    body = message_from_bytes(content, policy=policy.default).get_body(("html",))
    assert body is not None
    return str(body.get_content())


def counted(html: str) -> list[str]:
    return re.findall(r'"https://lettre.example/c/[^"]+"', html)


def test_without_switches_a_mail_has_its_own_links_and_no_pixel(session: Session) -> None:
    issue = sent(session)
    html = copy_for(session, issue, 1, agrees=True)
    assert "https://courrier.example/eau" in html
    assert "/c/" not in html
    assert "/o/" not in html
    assert session.execute(select(VariantLink)).first() is None


def test_each_switch_counts_its_own_thing_alike_for_all_readers(session: Session) -> None:
    issue = sent(session, tracks_clicks=True)
    html = copy_for(session, issue, 1, agrees=True)
    assert html.count("https://lettre.example/c/") >= 6
    assert "/o/" not in html
    first, second = (copy_for(session, issue, reader, agrees=True) for reader in (1, 2))
    assert counted(first) == counted(second)


def test_opens_alone_leave_the_links_as_they_are(session: Session) -> None:
    html = copy_for(session, sent(session, tracks_opens=True), 1, agrees=True)
    assert html.count("https://lettre.example/o/") == 1
    assert "/c/" not in html


def test_only_who_agreed_is_named_in_links_and_pixel(session: Session) -> None:
    issue = sent(session, tracks_readers=True)
    assert "lettre.example/c/" not in copy_for(session, issue, 1, agrees=False)
    html = copy_for(session, issue, 1, agrees=True)
    token = tracked.reader_token(1, variant_of(session, issue).id)
    assert html.count(token) >= 7
    assert "lettre.example/u/" in html
    assert f"/u/{token}" not in html


def test_checks_see_the_mail_as_it_leaves_and_ask_the_links_that_it_leads_to(session: Session) -> None:
    example = copies.example(session, variant_of(session, sent(session, **ALL)).id)
    mail = parse(example.content)
    assert mail.html.count("https://lettre.example/c/") >= 7
    links, pictures = checks.addresses(mail)
    assert "https://courrier.example/eau" in links
    assert not any("/c/" in one for one in links)
    assert pictures == []


def test_the_text_part_keeps_plain_links(session: Session) -> None:
    issue = sent(session, **ALL)
    assert "lettre.example/c/" not in variant_of(session, issue).text


def test_the_links_are_written_down_by_their_numbers(session: Session) -> None:
    issue = sent(session, tracks_clicks=True)
    urls = session.execute(select(VariantLink.url).order_by(VariantLink.number)).scalars().all()
    assert list(urls) == tracked.targets(variant_of(session, issue).html)
    assert "https://courrier.example/eau" in urls


def test_a_segment_is_taken_over_once(session: Session) -> None:
    variant = variant_of(session, sent(session, **ALL))
    assert apply(session, seen(variant.id), number=3)
    assert not apply(session, seen(variant.id), number=3)
    assert not apply(session, seen(variant.id), number=2)
    assert len(kept(session)) == 1


@pytest.mark.parametrize(
    ("switch", "links"), [("tracks_clicks", [1]), ("tracks_opens", [0]), ("tracks_readers", []), ("is_indexable", [])]
)
def test_only_what_is_switched_on_is_kept(session: Session, switch: str, links: list[int]) -> None:
    variant = variant_of(session, sent(session, **{switch: True}))
    apply(session, seen(variant.id, 0), seen(variant.id, 1))
    assert [one.link for one in kept(session)] == links


def test_a_switch_that_was_turned_off_silences_mails_already_sent(session: Session) -> None:
    issue = sent(session, **ALL)
    session.execute(update(Newsletter).values(tracks_clicks=False, tracks_opens=False, tracks_readers=False))
    apply(session, seen(variant_of(session, issue).id, 1))
    assert kept(session) == []


def test_a_reader_is_noted_only_after_they_agreed(session: Session) -> None:
    issue = sent(session, **ALL)
    variant, (first, second) = variant_of(session, issue), the_readers(session, issue)
    agree(session, first)
    apply(session, seen(variant.id, 1, first), seen(variant.id, 1, second), seen(variant.id, 0, second))
    assert [(one.link, one.subscription_id) for one in kept(session)] == [(1, first), (1, None)]


def test_a_withdrawal_silences_the_pixel_and_forgets_who_it_was(session: Session) -> None:
    issue = sent(session, **ALL)
    variant, (reader, _) = variant_of(session, issue), the_readers(session, issue)
    agree(session, reader)
    apply(session, seen(variant.id, 0, reader))
    assert agree(session, reader, agrees=False)
    apply(session, seen(variant.id, 0, reader), seen(variant.id, 1, reader), number=2)
    assert [(one.link, one.subscription_id) for one in kept(session)] == [(0, None), (1, None)]


def test_consent_is_in_the_log_once_for_each_change(session: Session) -> None:
    reader = the_readers(session, sent(session, **ALL))[0]
    assert [agree(session, reader), agree(session, reader), agree(session, reader, agrees=False)] == [True, False, True]
    details = session.execute(select(Consent.detail).where(Consent.source == "test").order_by(Consent.id)).scalars()
    assert [one for one in details if one and one.startswith("tracking")] == ["tracking=yes", "tracking=no"]


def test_a_variant_that_is_gone_is_passed_over(session: Session) -> None:
    assert apply(session, seen(999_999, 1))
    assert kept(session) == []


def test_a_click_within_seconds_of_acceptance_is_a_machines(session: Session) -> None:
    issue = sent(session, **ALL)
    variant, (reader, _) = variant_of(session, issue), the_readers(session, issue)
    agree(session, reader)
    delivery = session.execute(select(Delivery.id).where(Delivery.subscription_id == reader)).scalar_one()
    accepted = LATER - timedelta(seconds=2)
    session.add(DeliveryOutcome(delivery_id=delivery, outcome=Outcome.ACCEPTED, reply="250", recorded_at=accepted))
    session.flush()
    apply(session, seen(variant.id, 1, reader), seen(variant.id, 1, reader, now=LATER + timedelta(seconds=30)))
    assert [(one.machine, one.seconds_after) for one in kept(session)] == [(MachineReason.AT_ONCE, 2), (None, 32)]


@pytest.mark.parametrize(
    ("values", "is_open", "reason"),
    [
        ({"agent": PHONE}, False, None),
        ({"agent": PHONE}, True, None),
        ({"agent": PHONE, "is_head": True}, False, MachineReason.HEAD),
        ({"agent": "Mozilla/5.0"}, True, MachineReason.PROXY),
        (
            {"agent": "Mozilla/5.0 (Windows NT 5.1) Firefox (via ggpht.com GoogleImageProxy)"},
            True,
            MachineReason.PROXY,
        ),
        ({"agent": PHONE, "network": "17.58.1.0/24"}, True, MachineReason.PROXY),
        ({"agent": PHONE, "network": "17.58.1.0/24"}, False, None),
        ({"agent": "BarracudaCentral/1.0"}, False, MachineReason.SCANNER),
        ({"agent": PHONE, "network": "64.235.150.0/24"}, False, MachineReason.SCANNER),
        ({"agent": None}, False, MachineReason.SCANNER),
        ({"agent": PHONE, "network": "2001:db8:1::/48"}, False, None),
    ],
)
def test_machines_are_known_by_what_they_say(values: dict, is_open: bool, reason: MachineReason | None) -> None:
    facts = {"is_head": False, "network": "203.0.113.0/24", "is_open": is_open, **values}
    assert machines.reason(machines.Features(**facts)) == reason


def test_who_follows_all_links_within_seconds_is_a_machine(session: Session) -> None:
    variant = variant_of(session, sent(session, **ALL))
    burst = [seen(variant.id, n, now=LATER + timedelta(seconds=n), network="198.51.100.0/24") for n in range(1, 7)]
    slowly = [seen(variant.id, n, now=LATER + timedelta(seconds=30 * n)) for n in range(1, 7)]
    apply(session, *burst, *slowly)
    assert tracking.mark_bursts(session, since=LATER - timedelta(minutes=1)) == 6
    session.expire_all()
    assert {one.machine for one in kept(session) if one.network == "198.51.100.0/24"} == {MachineReason.BURST}
    assert {one.machine for one in kept(session) if one.network != "198.51.100.0/24"} == {None}


def test_events_can_be_judged_again_by_other_rules(session: Session) -> None:
    issue = sent(session, **ALL)
    variant = variant_of(session, issue)
    apply(session, seen(variant.id, 1, agent="curl/8.1"), seen(variant.id, 1))
    session.execute(update(Event).values(machine=MachineReason.PROXY))
    assert tracking.judge_again(session, issue.id) == 2
    session.expire_all()
    assert [one.machine for one in kept(session)] == [MachineReason.SCANNER, None]


def test_no_address_of_a_client_is_stored(session: Session) -> None:
    variant = variant_of(session, sent(session, **ALL))
    apply(session, seen(variant.id, 1, agent="x" * 500 + "\x00"))
    (event,) = kept(session)
    assert len(event.agent or "") == machines.AGENT_LENGTH
    assert event.network == "203.0.113.0/24"


def test_after_ninety_days_single_events_are_sums(session: Session) -> None:
    variant = variant_of(session, sent(session, **ALL))
    apply(session, seen(variant.id, 1), seen(variant.id, 1), seen(variant.id, 1, agent="curl/8.1"))
    apply(session, seen(variant.id, 1, now=LATER + timedelta(days=80)), number=2)
    before = tracking.stats(session, variant.issue_id or 0)
    assert tracking.aggregate(session, now=LATER + timedelta(days=91)) == 3
    totals = session.execute(select(EventTotal.is_machine, EventTotal.count).order_by(EventTotal.is_machine)).all()
    assert [tuple(one) for one in totals] == [(False, 2), (True, 1)]
    assert len(kept(session)) == 1
    assert tracking.stats(session, variant.issue_id or 0) == before


def test_an_issues_figures_are_added_over_its_variants_by_link(session: Session) -> None:
    issue = sent(session, **ALL)
    variant, (reader, _) = variant_of(session, issue), the_readers(session, issue)
    agree(session, reader)
    apply(session, *(seen(variant.id, 1) for _ in range(3)), seen(variant.id, 2, reader), seen(variant.id, 0))
    apply(session, seen(variant.id, 1, is_head=True), number=2)
    found = tracking.stats(session, issue.id)
    assert (found.opens, found.opens_by_machines, found.clicks, found.clicks_by_machines) == (1, 0, 4, 1)
    assert [(one.clicks, one.by_machines) for one in found.links[:2]] == [(3, 1), (1, 0)]
    assert found.links[0].url == tracked.targets(variant.html)[0]
    assert found.readers_known == 1


def test_one_click_ends_many_subscriptions_at_once(session: Session) -> None:
    first, second = the_readers(session, sent(session))
    gone = [
        tracking.left(one, origin=Origin(source="issue 1", network="203.0.113.0/24"), now=LATER)
        for one in (first, second, first, 999_999)
    ]
    apply(session, *gone)
    found = session.execute(select(Subscription.state, Subscription.ended_reason, Subscription.ended_at)).all()
    assert {tuple(one) for one in found} == {(SubscriptionState.ENDED, EndedReason.ONE_CLICK, LATER)}
    ended = session.execute(select(Consent).where(Consent.source == "issue 1")).scalars().all()
    assert sorted(one.subscription_id for one in ended) == [first, second]
    assert {(one.detail, one.network) for one in ended} == {("one_click", "203.0.113.0/24")}


def test_a_late_one_click_does_not_end_what_began_after_it(session: Session) -> None:
    reader = the_readers(session, sent(session))[0]
    subscriptions.end(session, reader, EndedReason.UNSUBSCRIBED, origin=Origin(), now=LATER)
    subscriptions.resume(session, reader, origin=Origin(), now=LATER + timedelta(days=1))
    assert leaving.end(session, [leaving.Left(subscription_id=reader, at=LATER, origin=Origin())]) == 0
    session.expire_all()
    assert subscriptions.get(session, reader).state == SubscriptionState.CONFIRMED
