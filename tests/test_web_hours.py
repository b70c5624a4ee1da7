"""The hour and time zone on a reader's page."""

import re
from collections.abc import Iterator

import pytest

from mailer import clock
from mailer.audience import subscriptions, wishes
from mailer.db import transaction
from mailer.links import Purpose
from mailer.newsroom import newsletters
from mailer.web import zones
from tests.conftest import SmtpInbox
from tests.web_site import Site, confirmed_reader, running_site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


def wish() -> wishes.Wish:
    """What subscription number 1 wants."""
    with transaction() as session:
        return wishes.of(subscriptions.get(session, 1))


def offer_hours() -> None:
    """The newsletter lets its readers choose an hour."""
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletters.edit(session, newsletter, values={"offers_hour": True}, now=clock.now())


def test_a_reader_chooses_an_hour_and_gives_it_up(site: Site) -> None:
    confirmed_reader()
    offer_hours()
    path = f"/p/{site.token(Purpose.PREFERENCES)}"
    shown = site.client.get(path).text
    assert '<option value="Europe/Paris" selected>Paris</option>' in shown
    page = site.client.post(path, data={"language": "fr", "hour": "7", "timezone": "Asia/Almaty"}).text
    assert (wish().hour, wish().timezone) == (7, "Asia/Almaty")
    # The newsletter leaves on Fridays at 07:00 in Paris, which is 11:00 in Almaty: there it is Saturday when it arrives.
    assert re.search(r"samedi [^<]* à 7\u00a0h \(heure d’Almaty\)", page)
    assert '<option value="7" selected>7\u00a0h</option>' in page
    assert '<option value="Asia/Almaty" selected>Almaty, Astana</option>' in page
    site.client.post(path, data={"language": "fr", "hour": "any", "timezone": "Asia/Almaty"})
    assert (wish().hour, wish().timezone) == (None, None)


def test_hours_are_shown_only_where_they_are_offered_or_chosen_and_stay_otherwise(site: Site) -> None:
    confirmed_reader()
    path = f"/p/{site.token(Purpose.PREFERENCES)}"
    assert 'name="hour"' not in site.client.get(path).text
    site.client.post(path, data={"language": "fr", "hour": "7"})
    assert (wish().hour, wish().timezone) == (7, "Europe/Paris")
    assert 'name="hour"' in site.client.post(path, data={"language": "en"}).text
    assert wish().hour == 7


@pytest.mark.parametrize("wrong", [{"hour": "24"}, {"hour": "-1"}, {"hour": "7", "timezone": "../etc/passwd"}])
def test_an_hour_that_does_not_exist_is_refused(site: Site, wrong: dict[str, str]) -> None:
    confirmed_reader()
    offer_hours()
    answer = site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data={"language": "fr", **wrong})
    assert (answer.status_code, wish().hour) == (422, None)


@pytest.mark.parametrize(
    ("language", "first", "spoken"),
    [
        ("fr", "Paris", "heure d’Almaty"),
        ("en", "London", "Almaty time"),
        ("ru", "Москва", None),
        ("kk", "Алматы, Астана", None),
    ],
)
def test_the_zones_of_most_readers_come_first_and_every_label_is_there_once(
    language: str, first: str, spoken: str | None
) -> None:
    short, every = zones.groups(language, "America/Bogota")
    assert (short[0][0], short[1][1]) == ("America/Bogota", first)
    labels = [label for _, label in every]
    assert len(set(labels)) == len(labels) > 400
    assert spoken in (None, zones.spoken(language, "Asia/Almaty"))
