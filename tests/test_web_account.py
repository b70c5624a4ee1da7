"""The link without an old mail at hand, and what its pages do: another address, all data as a file, erasing."""

import json
import re
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from mailer import clock, links, scheduling, settings
from mailer.audience import readers, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import sending
from mailer.links import Purpose
from mailer.models.audience import EndedReason, Subscriber
from mailer.models.deliveries import Delivery
from mailer.models.readers import LinkRequest
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter
from tests.web_site import Site, confirmed_reader, ended_reader, heading, running_site, two_newsletters

READER = "r0@example.org"


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


def requested() -> list[int]:
    """Requests for the link that no worker has answered."""
    with transaction() as session:
        return list(session.execute(select(LinkRequest.id).order_by(LinkRequest.id)).scalars())


def answer() -> None:
    """Do what workers do: answer requests for the link, and send what is queued."""
    for request_id in requested():
        with transaction() as session:
            readers.send_link(session, request_id, now=clock.now())
    sending.send_due(budget_seconds=5)


def link(inbox: SmtpInbox, word: str) -> str:
    """The path of the one link of the last mail."""
    (found,) = set(re.findall(rf"/{word}/[\w=-]{{40}}", inbox.messages[-1].email.get_body(("plain",)).get_content()))
    return found


def fresh(*, made: timedelta = timedelta()) -> str:
    """The link to all that is subscription number 1's reader's."""
    return f"/account/{links.sign_now(Purpose.MANAGE, 1, clock.now() - made)}"


def addresses() -> list[str]:
    with transaction() as session:
        return list(session.execute(select(Subscriber.address).order_by(Subscriber.id)).scalars())


# --- the link


def test_a_reader_without_a_mail_gets_a_link_to_all_newsletters(site: Site, installation: SmtpInbox) -> None:
    confirmed_reader()
    with transaction() as session:
        other = a_newsletter(session, "culture", name="Culture", language="en")
        subscriptions.add(session, other, READER, language="en", proof="test", now=clock.now())
    response = site.client.post("/preferences", data={"email": " R0@EXAMPLE.org "})
    assert (response.status_code, response.headers["location"]) == (303, "/preferences/sent")
    assert "Si cette adresse est inscrite" in site.client.get("/preferences/sent?lang=fr").text
    answer()
    (mail,) = installation.messages
    assert mail.recipients == (READER,)
    page = site.client.get(link(installation, "account")).text
    assert "Le Courrier d’Asie centrale" in page
    assert "Culture" in page
    assert f"<b>{READER}</b>" in page
    for path in re.findall(r'href="(/p/[^"]+)"', page):
        assert site.client.get(path).status_code == 200


def test_the_answer_is_the_same_for_every_address(site: Site, installation: SmtpInbox) -> None:
    confirmed_reader()
    answers = []
    for address in (READER, "nobody@example.org"):
        response = site.client.post("/preferences", data={"email": address})
        headers = {name: value for name, value in response.headers.items() if name != "date"}
        answers.append((response.status_code, headers, response.content))
    assert answers[0] == answers[1]
    answer()
    assert [one.recipients for one in installation.messages] == [(READER,)]
    assert requested() == []


def test_the_answer_takes_as_long_for_every_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed_reader()
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "1000")
    monkeypatch.setenv("MAILER_SIGNUPS_PER_ADDRESS", "1000")
    settings.load.cache_clear()
    seconds: dict[str, list[float]] = {READER: [], "nobody@example.org": []}
    for _ in range(25):
        for address, taken in seconds.items():
            began = time.perf_counter()
            site.client.post("/preferences", data={"email": address})
            taken.append(time.perf_counter() - began)
    known, unknown = (statistics.median(taken) for taken in seconds.values())
    assert abs(known - unknown) < 0.5 * max(known, unknown)


def test_who_has_left_is_not_mailed(site: Site, installation: SmtpInbox) -> None:
    ended_reader()
    site.client.post("/preferences", data={"email": READER})
    answer()
    assert installation.messages == []


def test_an_address_gets_three_links_a_day(site: Site, installation: SmtpInbox) -> None:
    confirmed_reader()
    for _ in range(6):
        assert site.client.post("/preferences", data={"email": READER}).status_code == 303
        answer()
    assert len(installation.messages) == readers.LINKS_A_DAY


@pytest.mark.parametrize("address", ["", "r0", "r0@example", "a@b.c\r\nBcc: d@e.fr", "x" * 400 + "@b.fr"])
def test_an_incomplete_address_is_explained(site: Site, address: str) -> None:
    response = site.client.post("/preferences", data={"email": address})
    assert response.status_code == 422
    assert 'role="alert" tabindex="-1" autofocus' in response.text
    assert 'aria-describedby="email-error" aria-invalid="true"' in response.text
    assert requested() == []


def test_the_link_works_for_an_hour_and_then_asks_for_another(site: Site, installation: SmtpInbox) -> None:
    confirmed_reader()
    assert site.client.get(fresh(made=timedelta(minutes=59))).status_code == 200
    old = fresh(made=timedelta(minutes=61))
    for method, path in (
        ("GET", ""),
        ("POST", "/address"),
        ("POST", "/download"),
        ("GET", "/erase"),
        ("POST", "/erase"),
    ):
        response = site.client.request(method, f"{old}{path}")
        assert (response.status_code, heading(response)) == (410, "Ce lien a expiré")
    assert READER not in site.client.get(old).text
    assert addresses() == [READER]
    assert site.client.post(f"{old}/again").status_code == 303
    answer()
    assert site.client.get(link(installation, "account")).status_code == 200


def test_no_other_link_opens_what_the_fresh_one_does(site: Site) -> None:
    confirmed_reader()
    for purpose in Purpose:
        if purpose != Purpose.MANAGE:
            token = links.sign_now(purpose, 1, clock.now())
            for path in ("erase", "download", "address"):
                assert site.client.post(f"/account/{token}/{path}").status_code == 404
    assert addresses() == [READER]


# --- another address


def test_a_reader_moves_to_another_address(site: Site, installation: SmtpInbox) -> None:
    confirmed_reader()
    page = site.client.post(f"{fresh()}/address", data={"email": "lea@new.example"})
    assert heading(page) == "Ouvrez l’autre messagerie"
    answer()
    assert installation.messages[-1].recipients == ("lea@new.example",)
    path = link(installation, "address")
    assert heading(site.client.get(path)) == "Utiliser cette adresse\u00a0?"
    assert addresses() == [READER]
    assert heading(site.client.post(path)) == "Votre adresse est changée"
    assert addresses() == ["lea@new.example"]
    answer()
    assert installation.messages[-1].recipients == (READER,)
    assert "lea@new.example" not in installation.messages[-1].content.decode()
    assert heading(site.client.post(path)) == "Votre adresse est changée"
    answer()
    assert len(installation.messages) == 2


def test_a_link_to_the_old_mailbox_opens_nothing_after_the_move(site: Site, installation: SmtpInbox) -> None:
    confirmed_reader()
    before = fresh(made=timedelta(minutes=1))
    site.client.post(f"{before}/address", data={"email": "lea@new.example"})
    answer()
    site.client.post(link(installation, "address"))
    assert site.client.get(before).status_code == 410
    assert site.client.post(f"{before}/erase").status_code == 410


def test_the_answer_does_not_tell_whether_the_new_address_is_known(site: Site) -> None:
    confirmed_reader()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        subscriptions.add(session, newsletter, "known@new.example", language="fr", proof="test", now=clock.now())
    pages = [
        site.client.post(f"{fresh()}/address", data={"email": f"{name}@new.example"}).text.replace(name, "x")
        for name in ("known", "other")
    ]
    tokens = [re.sub(r"/account/[\w=-]{40}", "", page) for page in pages]
    assert tokens[0] == tokens[1]


def test_a_wrong_new_address_is_explained_on_the_page(site: Site) -> None:
    confirmed_reader()
    response = site.client.post(f"{fresh()}/address", data={"email": "lea@new"})
    assert response.status_code == 422
    assert response.text.count("Saisissez une adresse complète, par exemple nom@exemple.fr") == 2
    assert 'value="lea@new"' in response.text


# --- the data


def test_the_data_comes_as_a_file(site: Site) -> None:
    confirmed_reader()
    response = site.client.post(f"{fresh()}/download")
    assert response.headers["content-disposition"] == 'attachment; filename="my-data.json"'
    assert response.headers["cache-control"] == "no-store"
    kept = json.loads(response.content)
    assert kept["subscribers"][0]["address"] == READER
    assert [one["event"] for one in kept["consents"]] == ["requested", "imported"]


def test_erasing_asks_first_says_what_stays_and_is_for_good(site: Site) -> None:
    confirmed_reader()
    path = fresh()
    page = site.client.get(f"{path}/erase")
    assert heading(page) == "Effacer toutes vos données\u00a0?"
    assert "une empreinte de l’adresse" in page.text
    assert addresses() == [READER]
    assert heading(site.client.post(f"{path}/erase")) == "Vos données sont effacées"
    assert addresses() == []
    assert site.client.post(f"{path}/erase").status_code == 410
    with transaction() as session:
        assert session.execute(select(func.count()).select_from(Delivery)).scalar_one() == 0


def test_pages_of_the_fresh_link_are_kept_by_nobody(site: Site) -> None:
    confirmed_reader()
    for path in (fresh(), f"{fresh()}/erase", "/preferences", "/preferences/sent"):
        response = site.client.get(path)
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-robots-tag"] == "noindex"
        assert "set-cookie" not in response.headers


# --- leaving: which, why, and back


def states() -> list[str]:
    with transaction() as session:
        return [f"{subscriptions.get(session, one).state}" for one in (1, 2)]


def test_a_reader_of_several_newsletters_leaves_this_one_or_all_and_comes_back(site: Site) -> None:
    two_newsletters()
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    page = site.client.get(path).text
    assert "Culture" not in page
    assert re.findall(r'name="which" value="(\w+)"', page) == ["this", "all"]
    site.client.post(path, data={"which": "this"})
    assert states() == ["ended", "confirmed"]
    site.client.post(f"{path}/undo")
    site.client.post(path, data={"which": "all"})
    assert states() == ["ended", "ended"]
    site.client.post(f"{path}/undo")
    assert states() == ["confirmed", "confirmed"]


def test_undo_brings_back_only_what_ended_together(site: Site) -> None:
    two_newsletters()
    with transaction() as session:
        early = clock.now() - timedelta(days=2)
        subscriptions.end(session, 2, EndedReason.UNSUBSCRIBED, origin=Origin(), now=early)
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    site.client.post(path, data={"which": "all"})
    site.client.post(f"{path}/undo")
    assert states() == ["confirmed", "ended"]


def test_a_reader_of_one_newsletter_is_asked_one_thing(site: Site) -> None:
    confirmed_reader()
    page = site.client.get(f"/u/{site.token(Purpose.UNSUBSCRIBE)}").text
    assert "which" not in page
    assert page.count("<button") == 1
    (fewer,) = re.findall(r'href="(/p/[^"]+)#rhythm">Recevoir moins souvent plutôt', page)
    assert 'id="rhythm"' in site.client.get(fewer).text


def test_the_address_in_a_mails_header_opens_no_preferences(site: Site) -> None:
    confirmed_reader()
    page = site.client.get(f"/u/{site.token(Purpose.ONE_CLICK)}/one-click").text
    assert "/p/" not in page
    assert "<button" in page


def test_the_reason_is_one_press_and_stays_optional(site: Site) -> None:
    confirmed_reader()
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    page = site.client.post(path).text
    assert re.findall(r'name="because" value="(\w+)"', page) == ["too_many", "not_interested", "never_asked", "other"]
    assert "Merci, cela nous aide." in site.client.post(f"{path}/reason", data={"because": "too_many"}).text
    assert site.client.post(f"{path}/reason", data={"because": "my own words"}).status_code == 422
    with transaction() as session:
        assert subscriptions.get(session, 1).left_because == "too_many"
    site.client.post(f"{path}/undo")
    with transaction() as session:
        assert subscriptions.get(session, 1).left_because is None


def test_who_has_not_left_gives_no_reason(site: Site) -> None:
    confirmed_reader()
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}/reason"
    site.client.post(path, data={"because": "other"})
    with transaction() as session:
        assert subscriptions.get(session, 1).left_because is None


# --- being known by what one opens


def agreed(subscription_id: int = 1) -> bool:
    with transaction() as session:
        return subscriptions.get(session, subscription_id).tracking_agreed_at is not None


def test_a_reader_agrees_on_their_own_page_and_withdraws_anywhere(site: Site) -> None:
    confirmed_reader()
    with transaction() as session:
        newsletters.get(session, "courrier").tracks_readers = True
    page = site.client.post(f"{fresh()}/tracking", data={"subscription": "1", "agrees": "yes"}).text
    assert agreed()
    assert "Je n’accepte plus" in page
    preferences = f"/p/{site.token(Purpose.PREFERENCES)}"
    assert 'id="tracking" name="tracking" value="yes" checked' in site.client.get(preferences).text
    site.client.post(preferences, data={"language": "fr", "rhythm": "each", "tracking": "yes"})
    assert agreed()
    site.client.post(preferences, data={"language": "fr", "rhythm": "each"})
    assert not agreed()


def test_nobody_agrees_by_a_forwarded_mail_or_for_somebody_else(site: Site) -> None:
    confirmed_reader()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletter.tracks_readers = True
        subscriptions.add(session, newsletter, "other@example.org", language="fr", proof="test", now=clock.now())
    preferences = f"/p/{site.token(Purpose.PREFERENCES)}"
    site.client.post(preferences, data={"language": "fr", "rhythm": "each", "tracking": "yes"})
    site.client.post(f"{fresh()}/tracking", data={"subscription": "2", "agrees": "yes"})
    assert not agreed(1)
    assert not agreed(2)


# --- limits, and bells that were lost


def test_too_many_requests_of_one_network_are_told_to_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "3")
    settings.load.cache_clear()
    answers = [site.client.post("/preferences", data={"email": f"r{n}@example.org"}).status_code for n in range(5)]
    assert answers == [303, 303, 303, 429, 429]
    assert len(requested()) == 3


def test_a_request_whose_bell_was_lost_is_found_by_the_tick_and_by_who_sends(
    site: Site, installation: SmtpInbox
) -> None:
    confirmed_reader()
    with transaction() as session:
        readers.request_link(session, READER, now=clock.now() - timedelta(seconds=20))
    assert len(scheduling.tick().link_requests) == 1
    with transaction() as session:
        readers.request_link(session, READER, now=clock.now())
    scheduling.answer_signups()
    assert len(requested()) == 1
    sending.send_due(budget_seconds=5)
    assert len(installation.messages) == 1
