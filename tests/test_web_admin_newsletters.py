"""The newsroom's desk: a newsletter's settings and its topics."""

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from mailer import clock
from mailer.articles import topics
from mailer.db import transaction
from mailer.mail import brand
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters
from mailer.web.admin import newsletter_form
from tests.conftest import SmtpInbox
from tests.desk import a_topic, area, field, hidden, picked, press, running_desk, sign_in
from tests.factories import an_article, readers
from tests.web_site import heading

PATH = "/admin/newsletters/courrier"
TOPICS = f"{PATH}/topics"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def newsletter() -> Newsletter:
    """As it is now."""
    with transaction() as session:
        return newsletters.get(session, "courrier")


def filled_in(page: httpx.Response) -> dict[str, str]:
    """What a browser would send of the settings as they stand on the page."""
    form = page.text[page.text.index(f'<form method="post" action="{PATH}" ') :].partition("</form>")[0]
    names = re.findall(r'<(?:input|textarea|select) [^>]*name="(\w+)"', form)
    ticked = set(re.findall(r'<input type="checkbox" name="(\w+)" value="yes" checked>', form))
    values = {}
    for name in names:
        if f'<textarea id="{name}"' in form:
            values[name] = area(page, name)
        elif f'<select id="{name}"' in form:
            values[name] = picked(page, name)
        elif f'type="checkbox" name="{name}"' not in form:
            values[name] = field(page, name)
        elif name in ticked:
            values[name] = "yes"
    return values


def topic_slugs() -> list[str]:
    """In order of rank."""
    with transaction() as session:
        return [one.slug for one in topics.of(session, newsletters.get(session, "courrier").id)]


def test_the_settings_that_stand_on_the_page_change_nothing_when_they_are_saved(desk: httpx.Client) -> None:
    before = newsletter()
    assert desk.post(PATH, data=filled_in(desk.get(PATH))).status_code == 303
    after = newsletter()
    columns = [one.key for one in Newsletter.__table__.columns if one.key != "updated_at"]
    assert {name: getattr(after, name) for name in columns} == {name: getattr(before, name) for name in columns}


def test_every_setting_of_a_newsletter_can_be_changed_at_the_desk(desk: httpx.Client) -> None:
    # The sites of the form have their place on the page of forms.
    settings = newsletters.EDITABLE - {"updated_at", "form_sites"}
    assert settings - filled_in(desk.get(PATH)).keys() - set(newsletters.SWITCHES) == set()


def test_saving_them_leaves_the_switches_of_other_pages_as_they_are(desk: httpx.Client) -> None:
    elsewhere = {name: True for name in newsletters.SWITCHES if name not in newsletter_form.SWITCHES}
    with transaction() as session:
        newsletters.edit(session, newsletters.get(session, "courrier"), values=elsewhere, now=clock.now())
    page = desk.get(PATH)
    assert desk.post(PATH, data={**hidden(page), **filled_in(page)}).status_code == 303
    now = newsletter()
    assert {name: getattr(now, name) for name in elsewhere} == elsewhere


def test_settings_are_changed(desk: httpx.Client) -> None:
    changes = {
        "name": "The Courier",
        "language": "en",
        "min_articles": "20",
        "max_articles": "30",
        "max_wait_days": "5",
        "overflow": "carried",
        "font": "sans",
        "include_categories": "Politique\r\n\r\n Économie \r\nPolitique",
        "logo_url": "https://courrier.example/logo.png",
        "is_paused": "yes",
        "desk_addresses": "Desk@courrier.example\r\nnuit@courrier.example",
        "review_hours": "4",
        "on_silence": "hold",
        "late_after_minutes": "90",
        "stale_percent": "",
    }
    assert desk.post(PATH, data={**filled_in(desk.get(PATH)), **changes}).status_code == 303
    found = newsletter()
    assert (found.name, found.language, found.min_articles, found.max_articles) == ("The Courier", "en", 20, 30)
    assert (found.max_wait_days, found.overflow, found.font, found.is_paused) == (5, "carried", "sans", True)
    assert found.include_categories == ["Politique", "Économie"]
    assert [one.lower() for one in found.desk_addresses] == ["desk@courrier.example", "nuit@courrier.example"]
    assert (found.review_hours, found.on_silence) == (4, "hold")
    assert (found.late_after_minutes, found.stale_percent) == (90, None)
    assert (found.reply_to, found.logo_url) == (None, "https://courrier.example/logo.png")


def test_what_cannot_be_used_is_said_at_its_field_and_all_of_it_is_kept(desk: httpx.Client) -> None:
    wrong = {
        "sender_address": "nobody",
        "brand_color": "teal",
        "min_articles": "x",
        "max_age_days": "9" * 5000,
        "publisher": "",
        "site_url": "https://[",
        "logo_url": "http://courrier.example/logo.png",
        "logo_width": "5",
        "review_hours": "200",
        "late_after_minutes": "0",
        "stale_percent": "100",
    }
    refused = desk.post(PATH, data={**filled_in(desk.get(PATH)), **wrong, "name": "New name"})
    assert refused.status_code == 422
    for name, typed in wrong.items():
        assert f'id="{name}-error"' in refused.text, name
        assert field(refused, name) == typed
    assert field(refused, "name") == "New name"
    assert heading(desk.get(PATH)) == "Le Courrier d’Asie centrale"


def test_a_dark_colour_left_empty_follows_the_colour(desk: httpx.Client) -> None:
    given = {**filled_in(desk.get(PATH)), "brand_color": "#B3261E", "brand_color_dark": ""}
    desk.post(PATH, data=given)
    assert newsletter().brand_color_dark == brand.palette("#B3261E").dark
    assert field(desk.get(PATH), "brand_color_dark") == ""


def test_colours_are_shown_as_mails_will_have_them_before_they_are_saved(desk: httpx.Client) -> None:
    shown = desk.post(PATH, data={**filled_in(desk.get(PATH)), "brand_color": "#FFEE55", "act": "look"})
    assert shown.status_code == 200
    assert brand.palette("#FFEE55").light in shown.text
    assert "instead of #FFEE55" in shown.text
    assert newsletter().brand_color != "#FFEE55"


def test_of_two_editors_the_later_one_is_told_and_loses_no_text(desk: httpx.Client) -> None:
    late = filled_in(desk.get(PATH))
    desk.post(PATH, data={**late, "name": "The first"})
    answer = desk.post(PATH, data={**late, "name": "The second", "introduction": "A long text"})
    assert answer.status_code == 409
    assert "Somebody changed this newsletter" in answer.text
    assert (field(answer, "name"), area(answer, "introduction")) == ("The second", "A long text")
    assert newsletter().name == "The first"
    assert desk.post(PATH, data=filled_in(answer)).status_code == 303
    assert newsletter().name == "The second"


def test_a_schedule_of_six_fields_is_refused(desk: httpx.Client) -> None:
    refused = press(desk, PATH, f"{PATH}/schedule", cron="0 0 7 * * FRI", timezone="Europe/Paris")
    assert (refused.status_code, 'id="cron-error"' in refused.text) == (422, True)


def test_topics_are_listed_with_the_articles_that_they_match(desk: httpx.Client) -> None:
    with transaction() as session:
        found = newsletters.get(session, "courrier")
        for name, categories in (("a", ["Société"]), ("b", ["société"]), ("c", ["Sport"])):
            an_article(session, found, name, seen=clock.now() - timedelta(days=1), topics=categories)
        an_article(session, found, "old", seen=clock.now() - timedelta(days=40))
    a_topic("eau")
    page = desk.get(TOPICS).text
    assert 'aria-label="2 articles"' in page
    assert 'aria-label="1 article"' in page, "about none of them"
    assert "Categories that the feeds give" in (shown := desk.get(f"{TOPICS}/eau").text)
    assert "2 articles are about it" in shown
    assert 'Sport <span class="muted num">1</span>' in shown


def test_a_topic_is_added_changed_and_ranked(desk: httpx.Client) -> None:
    a_topic("eau")
    new = f"{PATH}/new-topic"
    made = press(desk, new, new, topic="rail", name_fr="Le rail", name_en="", include="train\r\n*/rail/*")
    assert made.status_code == 303
    assert topic_slugs() == ["eau", "rail"]
    press(desk, TOPICS, f"{TOPICS}/rail/move", act="up")
    assert topic_slugs() == ["rail", "eau"]
    press(desk, TOPICS, f"{TOPICS}/rail/move", act="up")
    assert topic_slugs() == ["rail", "eau"]
    press(desk, f"{TOPICS}/rail", f"{TOPICS}/rail", name_fr="Trains", categories="Transports", exclude="grève")
    with transaction() as session:
        (rail, _) = topics.of(session, newsletters.get(session, "courrier").id)
        assert (rail.names, rail.categories, rail.include) == ({"fr": "Trains"}, ["Transports"], [])
        assert (rail.exclude, rail.position < 2) == (["grève"], True)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"topic": "rail", "categories": "Rail"}, "name_fr"),
        ({"topic": "rail", "name_fr": "Rail"}, "categories"),
        ({"topic": "Le Rail", "name_fr": "Rail", "categories": "Rail"}, "topic"),
        ({"topic": "eau", "name_fr": "Rail", "categories": "Rail"}, "topic"),
        ({"topic": "rail", "name_fr": "R" * 81, "categories": "Rail"}, "name_fr"),
    ],
)
def test_a_topic_that_cannot_be_used_is_said_at_its_field(
    desk: httpx.Client, given: dict[str, str], wrong: str
) -> None:
    a_topic("eau")
    refused = press(desk, f"{PATH}/new-topic", f"{PATH}/new-topic", **given)
    assert refused.status_code == 422
    assert f'id="{wrong}-error"' in refused.text
    assert field(refused, "topic") == given["topic"]
    assert topic_slugs() == ["eau"]


def test_before_a_topic_is_deleted_it_is_said_what_becomes_of_its_readers(desk: httpx.Client) -> None:
    a_topic("eau")
    a_topic("rail")
    with transaction() as session:
        for one, chosen in zip(
            readers(session, newsletters.get(session, "courrier"), 3), (["eau"], ["eau", "rail"], []), strict=True
        ):
            one.topics = chosen
    page = desk.get(f"{TOPICS}/eau/delete").text
    assert "2 readers chose it." in page
    assert "1 of them chose nothing else and will get all articles" in page
    press(desk, f"{TOPICS}/eau/delete", f"{TOPICS}/eau/delete")
    assert topic_slugs() == ["rail"]
    token = hidden(desk.get(TOPICS))["csrf"]
    assert desk.post(f"{TOPICS}/eau/delete", data={"csrf": token}).status_code == 404


def test_an_address_of_the_newsroom_that_is_none_is_said_so(desk: httpx.Client) -> None:
    refused = desk.post(PATH, data={**filled_in(desk.get(PATH)), "desk_addresses": "desk@courrier.example\nnobody"})
    assert (refused.status_code, 'id="desk_addresses-error"' in refused.text) == (422, True)
    assert area(refused, "desk_addresses") == "desk@courrier.example\nnobody"
