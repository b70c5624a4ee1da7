"""Readers at the desk: the list with its filters, one person's page, and what the newsroom does for them."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from mailer import addresses, clock
from mailer.audience import histories, readers, signups, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import deliveries, sending
from mailer.models.accounts import Role
from mailer.models.audience import (
    Consent,
    ConsentEvent,
    SignupRequest,
    Subscriber,
    Subscription,
    SubscriptionState,
    Suppression,
)
from mailer.models.content import Newsletter
from mailer.models.deliveries import Delivery, Outcome
from mailer.models.segments import Segment
from mailer.models.tracking import Event
from mailer.newsroom import accounts, newsletters
from tests.conftest import SmtpInbox
from tests.crowded import many_readers
from tests.desk import PASSWORD, a_topic, hidden, press, running_desk, sent_uncertainly, sign_in, speak, started
from tests.factories import a_newsletter
from tests.factories import readers as some_readers
from tests.web_server import browser
from tests.web_site import Site

LIST = "/admin/subscribers"
ADD = "/admin/newsletters/courrier/add-reader"


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


@pytest.fixture
def desk(site: Site) -> httpx.Client:
    """A browser that is signed in."""
    return site.client


def people(count: int = 2) -> list[int]:
    """Readers r0@example.org …; returns the ids of the subscribers."""
    with transaction() as session:
        made = some_readers(session, newsletters.get(session, "courrier"), count)
        return [one.subscriber_id for one in made]


def subscription(subscriber_id: int) -> Subscription:
    with transaction() as session:
        chosen = select(Subscription).where(Subscription.subscriber_id == subscriber_id)
        return session.execute(chosen).scalar_one()


def consents(subscriber_id: int) -> list[tuple[str, str | None, str | None]]:
    with transaction() as session:
        ids = select(Subscription.id).where(Subscription.subscriber_id == subscriber_id)
        lines = session.execute(select(Consent).where(Consent.subscription_id.in_(ids)).order_by(Consent.id)).scalars()
        return [(one.event.value, one.source, one.detail) for one in lines]


@contextlib.contextmanager
def a_colleague(site: Site, role: Role) -> Iterator[httpx.Client]:
    """Somebody else of the newsroom, signed in in a browser of their own."""
    with transaction() as session:
        made = accounts.create(
            session, "paul@courrier.example", name="Paul", password=PASSWORD, language="en", now=clock.now()
        )
        made.role = role
    with browser(site.url) as client:
        client.post("/admin/sign-in", data={"email": "paul@courrier.example", "password": PASSWORD})
        yield client


def test_the_list_is_filtered_by_its_address_and_each_part_can_be_taken_away(desk: httpx.Client) -> None:
    people(3)
    page = desk.get(LIST, params={"q": "r1", "state": "confirmed"}).text
    assert "r1@example.org" in page
    assert "r0@example.org" not in page
    assert f'href="{LIST}?q=r1"' in page
    assert f'href="{LIST}?state=confirmed"' in page
    assert "1 subscription<" in page
    assert "Nobody matches." in desk.get(LIST, params={"q": "zz"}).text


def test_the_list_goes_on_page_by_page(desk: httpx.Client) -> None:
    people(53)
    first = desk.get(LIST, params={"state": "confirmed"}).text
    assert "r52@example.org" in first
    assert "r2@example.org" not in first
    link = first.partition("Older subscriptions")[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "r2@example.org" in desk.get(link).text


def test_a_filter_becomes_a_segment_with_an_address_of_its_own(desk: httpx.Client) -> None:
    people()
    answer = press(desk, f"{LIST}?rhythm=weekly", f"{LIST}/segments", rhythm="weekly", name="Weekly")
    assert answer.headers["location"] == f"{LIST}?rhythm=weekly&done=segment-saved"
    assert f'href="{LIST}?rhythm=weekly"' in desk.get(LIST).text
    with transaction() as session:
        segment = session.execute(select(Segment)).scalar_one()
    people()
    press(desk, f"{LIST}?rhythm=each", f"{LIST}/segments", rhythm="each", name="Each")
    deleted = press(desk, f"{LIST}?rhythm=each", f"{LIST}/segments/{segment.id + 1}/delete")
    assert deleted.status_code == 303
    with transaction() as session:
        assert [one.name for one in session.execute(select(Segment)).scalars()] == ["Weekly"]


def test_a_segment_without_a_name_keeps_the_filter_in_the_form(desk: httpx.Client) -> None:
    people()
    answer = press(desk, f"{LIST}?rhythm=each", f"{LIST}/segments", rhythm="each", name=" ")
    assert answer.status_code == 422
    assert "A segment needs a name" in answer.text
    assert 'name="rhythm" value="each"' in answer.text


def test_what_is_found_is_taken_away_as_a_table_that_calculates_nothing(desk: httpx.Client) -> None:
    people(2)
    with transaction() as session:
        one = readers.find(session, "r0@example.org")
        one.name = "=HYPERLINK(1)"
    speak("en")
    answer = desk.get(f"{LIST}/export.csv", params={"q": "r0"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["address"] for row in rows] == ["r0@example.org"]
    assert rows[0]["name"] == "'=HYPERLINK(1)"
    lines = desk.get(f"{LIST}/export.jsonl").text.splitlines()
    assert [json.loads(line)["address"] for line in lines] == ["r1@example.org", "r0@example.org"]


def test_an_export_of_many_comes_whole(desk: httpx.Client) -> None:
    with transaction() as session:
        many_readers(session, newsletters.get(session, "courrier"), 1002)
    lines = desk.get(f"{LIST}/export.jsonl").text.splitlines()
    assert len({json.loads(line)["address"] for line in lines}) == len(lines) == 1002


def test_an_address_without_proof_is_asked_by_mail(desk: httpx.Client, installation: SmtpInbox) -> None:
    answer = press(desk, ADD, ADD, address=" new@example.org", language="fr", how="ask")
    assert answer.headers["location"] == f"{LIST}?done=reader-asked"
    with transaction() as session:
        waiting = session.execute(select(SignupRequest)).scalar_one()
        signups.handle(session, waiting.id, now=clock.now())
    sending.send_due(budget_seconds=5)
    assert installation.messages[0].recipients == ("new@example.org",)
    with transaction() as session:
        assert session.execute(select(Subscription.state)).scalar_one() == SubscriptionState.PENDING


def test_a_reader_with_a_proof_is_added_and_the_proof_kept(desk: httpx.Client) -> None:
    fields = {"how": "proof", "proof": "paper form  at the fair", "agreed_on": "2026-03-03", "language": "fr"}
    answer = press(desk, ADD, ADD, address="new@example.org", **fields)
    subscriber_id = int(answer.headers["location"].partition("?")[0].rpartition("/")[2])
    assert subscription(subscriber_id).state == SubscriptionState.CONFIRMED
    assert ("imported", "paper form at the fair, 2026-03-03", None) in consents(subscriber_id)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"address": ""}, "Enter a full address"),
        ({"address": "x" * 400}, "Enter a full address"),
        ({"address": "<script>@x"}, "Enter a full address"),
        ({"how": "proof", "proof": "", "agreed_on": "2026-03-03"}, "Say where the reader agreed"),
        ({"how": "proof", "proof": "y" * 301, "agreed_on": "2026-03-03"}, "Say where the reader agreed"),
        ({"how": "proof", "proof": "paper form", "agreed_on": "2999-01-01"}, "Enter the day"),
        ({"how": "proof", "proof": "paper form", "agreed_on": "never"}, "Enter the day"),
    ],
)
def test_what_can_not_be_added_is_said_at_its_field_and_stays_typed(
    desk: httpx.Client, fields: dict[str, str], sentence: str
) -> None:
    answer = press(desk, ADD, ADD, **{"address": "kept@example.org", "language": "fr", **fields})
    assert answer.status_code == 422
    assert sentence in answer.text
    if "address" not in fields:
        assert "kept@example.org" in answer.text


def test_nobody_who_left_or_must_not_be_mailed_is_brought_back(desk: httpx.Client) -> None:
    people(1)
    press(desk, f"{LIST}/1", f"{LIST}/1/end", subscription="1")
    proof = {"how": "proof", "proof": "paper form", "agreed_on": "2026-03-03"}
    left = press(desk, ADD, ADD, address="r0@example.org", language="fr", **proof)
    assert (left.status_code, "only they can come back" in left.text) == (422, True)
    with transaction() as session:
        session.add(Suppression(address_hash=addresses.fingerprint("bad@example.org"), reason="complained"))
    for how in ({"how": "ask"}, proof):
        barred = press(desk, ADD, ADD, address="bad@example.org", language="fr", **how)
        assert (barred.status_code, "must not be mailed" in barred.text) == (422, True)


def test_all_that_are_found_are_unsubscribed_once_their_number_is_typed(desk: httpx.Client) -> None:
    people(12)
    path = f"{LIST}/end"
    asked = f"{path}?q=r1"
    assert "3 subscriptions end." in desk.get(asked).text
    wrong = press(desk, asked, path, q="r1", count="12")
    assert (wrong.status_code, subscription(2).state) == (422, SubscriptionState.CONFIRMED)
    assert press(desk, asked, path, q="r1", count=" 3 ").status_code == 303
    with transaction() as session:
        ended = session.execute(select(Subscriber.address).join(Subscription).where(Subscription.ended_at.is_not(None)))
        assert sorted(ended.scalars()) == ["r10@example.org", "r11@example.org", "r1@example.org"]


def test_without_a_filter_nobody_is_unsubscribed_together(desk: httpx.Client) -> None:
    people(2)
    assert "Choose a filter first" in desk.get(f"{LIST}/end").text
    answer = press(desk, f"{LIST}/end?q=r", f"{LIST}/end", count="2")
    assert (answer.status_code, subscription(1).state) == (422, SubscriptionState.CONFIRMED)


def test_the_person_page_answers_whether_the_last_issues_came(desk: httpx.Client) -> None:
    sent_uncertainly()
    page = desk.get(f"{LIST}/1").text
    assert "Perhaps: the mail server’s answer was lost." in page
    assert "no answer after the final dot" in page
    assert "Entered as a reader of Le Courrier" in page
    with transaction() as session:
        courrier = newsletters.get(session, "courrier")
        late = subscriptions.add(session, courrier, "new@example.org", language="fr", proof="test", now=clock.now())
    assert "No: was not subscribed yet." in desk.get(f"{LIST}/{late.subscriber_id}").text


def test_the_person_page_tells_what_the_server_said_of_a_refused_mail(desk: httpx.Client) -> None:
    started()
    now = clock.now()
    with transaction() as session:
        claim = deliveries.claim(session, owner="host.1", lease_seconds=60, now=now)
        assert claim is not None
        said = "550 5.1.1 no such user r0"
        ids = deliveries.unsettled_ids(session, claim)
        settled = [deliveries.Settled(delivery_id=one, outcome=Outcome.REFUSED, reply=said) for one in ids]
        deliveries.record(session, claim, settled, [], now=now)
    page = desk.get(f"{LIST}/1").text
    assert "No: the mail server refused it." in page
    assert "550 5.1.1 no such user r0" in page


def test_clicks_stand_on_the_page_of_who_agreed(desk: httpx.Client) -> None:
    started()
    with transaction() as session:
        variant = session.execute(select(Delivery.variant_id)).scalars().first()
        for machine in (None, "scanner"):
            values = {"variant_id": variant, "link": 1, "at": clock.now(), "is_head": False, "subscription_id": 1}
            session.add(Event(**values, machine=machine))
        newsletters.get(session, "courrier").tracks_readers = True
    assert desk.get(f"{LIST}/1").text.count("Followed a link of") == 1
    assert "Followed a link of" not in desk.get(f"{LIST}/2").text
    assert "Last click" in desk.get(LIST).text


def test_the_history_goes_on_page_by_page(desk: httpx.Client) -> None:
    people(1)
    with transaction() as session:
        for number in range(60):
            origin = Origin(source=f"place {number}")
            subscriptions.note_consent(
                session, 1, ConsentEvent.CHANGED, origin=origin, now=clock.now() + timedelta(seconds=number)
            )
    first, second = (desk.get(f"{LIST}/1", params={"page": page}).text for page in (1, 2))
    assert "from place 59" in first
    assert "from place 3 " not in first.replace("<", " ")
    assert "from place 3 " in second.replace("<", " ")


def test_a_subscription_is_ended_and_chosen_for_at_the_readers_wish(desk: httpx.Client) -> None:
    a_topic("eau")
    a_topic("culture")
    people(1)
    wanted = {"subscription": "1", "rhythm": "weekly", "language": "en", "topic-eau": "yes"}
    until = f"{clock.now() + timedelta(days=10):%Y-%m-%d}"
    answer = press(desk, f"{LIST}/1", f"{LIST}/1/preferences", **wanted, paused_until=until)
    assert answer.headers["location"].endswith("done=reader-changed")
    one = subscription(1)
    assert (one.rhythm, one.language, one.topics) == ("weekly", "en", ["eau"])
    assert one.paused_until is not None
    late = press(desk, f"{LIST}/1", f"{LIST}/1/preferences", **wanted, paused_until="2999-01-01")
    assert (late.status_code, "within the next 90 days" in late.text) == (422, True)
    assert press(desk, f"{LIST}/1", f"{LIST}/1/end", subscription="1").status_code == 303
    assert consents(1)[-1] == ("ended", "desk", "removed")


def test_another_address_is_asked_by_mail_before_anything_changes(desk: httpx.Client, installation: SmtpInbox) -> None:
    people(1)
    assert press(desk, f"{LIST}/1", f"{LIST}/1/address", address="new@example.org").status_code == 303
    sending.send_due(budget_seconds=5)
    assert installation.messages[0].recipients == ("new@example.org",)
    assert "r0@example.org" in desk.get(f"{LIST}/1").text
    assert "Another address was asked by mail" in desk.get(f"{LIST}/1").text
    for typed in ("nonsense", "r0@example.org"):
        refused = press(desk, f"{LIST}/1", f"{LIST}/1/address", address=typed)
        assert (refused.status_code, f'value="{typed}"' in refused.text) == (422, True)


def test_a_reader_is_erased_once_the_address_is_typed(desk: httpx.Client) -> None:
    people(1)
    path = f"{LIST}/1/erase"
    assert press(desk, path, path, address="r1@example.org").status_code == 422
    assert press(desk, path, path, address="R0@example.org").status_code == 303
    assert desk.get(f"{LIST}/1").status_code == 404
    with transaction() as session:
        assert session.execute(select(Suppression.reason)).scalar_one() == "erased"


def test_all_that_is_kept_is_handed_out_as_json(desk: httpx.Client) -> None:
    people(1)
    kept = desk.get(f"{LIST}/1/export").json()
    assert kept["subscribers"][0]["address"] == "r0@example.org"
    assert kept["consents"]


def test_a_form_can_not_reach_another_readers_subscription(desk: httpx.Client) -> None:
    people(2)
    carried = hidden(desk.get(f"{LIST}/1"))
    for act in ("end", "ask", "preferences"):
        assert desk.post(f"{LIST}/1/{act}", data={**carried, "subscription": "2"}).status_code == 404
    assert subscription(2).state == SubscriptionState.CONFIRMED


def test_a_viewer_sees_masked_addresses_and_no_buttons(site: Site) -> None:
    sent_uncertainly()
    with a_colleague(site, Role.VIEWER) as viewer:
        listed, person = viewer.get(LIST).text, viewer.get(f"{LIST}/1").text
        for page in (listed, person):
            assert "r0@example.org" not in page
            assert "r••@example.org" in page
            assert "/export" not in page
        assert f'action="{LIST}/1/' not in person
        assert "r••@" not in viewer.get(LIST, params={"q": "r0"}).text
        assert "r••@" in viewer.get(LIST, params={"q": "r0@example.org"}).text
        assert viewer.get(f"{LIST}/export.csv").status_code == 403


def test_an_editor_reads_addresses_but_takes_none_away(site: Site) -> None:
    people(1)
    with a_colleague(site, Role.EDITOR) as editor:
        assert "r0@example.org" in editor.get(LIST).text
        assert "/export" not in editor.get(LIST).text + editor.get(f"{LIST}/1").text
        for path in (f"{LIST}/export.csv", f"{LIST}/1/export", f"{LIST}/1/erase", f"{LIST}/end"):
            assert editor.get(path).status_code == 403


def test_histories_name_only_newsletters_in_sight(desk: httpx.Client) -> None:
    people(1)
    with transaction() as session:
        other: Newsletter = a_newsletter(session, "quotidien", name="Quotidien")
        subscriptions.add(session, other, "r0@example.org", language="fr", proof="test", now=clock.now())
        seen = histories.moments(session, 1, {1}, limit=50)
        assert {one.newsletter for one in seen} == {"Le Courrier d’Asie centrale"}
        assert len(histories.moments(session, 1, None, limit=50)) > len(seen)
    assert "Quotidien" in desk.get(f"{LIST}/1").text
