"""What was chosen for the whole installation, and its first run up to the first draft."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.articles import shrinking
from mailer.db import transaction
from mailer.models.content import Issue, Newsletter
from mailer.models.installation import Installation, SiteState
from mailer.newsroom import accounts, newsletters, site_reading
from mailer.newsroom import installation as choices
from mailer.newsroom.installation import ChoiceInvalid, Step, Todo
from mailer.scheduling import tick
from tests import site as web
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, readers
from tests.site import Site
from tests.test_sites import RSS, page, picture


def test_looking_makes_no_row(session: Session) -> None:
    assert choices.of(session).timezone == "UTC"
    assert session.execute(select(Installation)).scalar_one_or_none() is None


def test_an_older_installation_begins_with_what_its_newsletter_says(session: Session) -> None:
    a_newsletter(session, timezone="Asia/Almaty", brand_color="#0B4F6C")
    for row in (choices.of(session), choices.lock(session, now=NOW)):
        assert (row.timezone, row.brand_color, row.language) == ("Asia/Almaty", "#0B4F6C", "fr")


def test_newsletters_with_the_old_value_follow_and_others_keep_theirs(session: Session) -> None:
    same, other = a_newsletter(session), a_newsletter(session, "autre", brand_color="#0B4F6C")
    choices.change(session, {"brand_color": "#800000", "timezone": "Asia/Almaty"}, now=NOW)
    assert (same.brand_color, other.brand_color) == ("#800000", "#0B4F6C")
    assert same.timezone == "Asia/Almaty"


def test_a_postal_address_reaches_the_newsletter_that_has_none(session: Session) -> None:
    newsletter = a_newsletter(session, postal_address="")
    choices.change(session, {"postal_address": "12 rue des Caravanes"}, now=NOW)
    assert newsletter.postal_address == "12 rue des Caravanes"
    choices.change(session, {"postal_address": ""}, now=NOW)
    assert newsletter.postal_address == "12 rue des Caravanes"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 121),
        ("language", "xx"),
        ("timezone", "Mars/Base"),
        ("timezone", ""),
        ("contact_address", "nobody"),
        ("postal_address", "x" * 301),
    ],
)
def test_what_cannot_be_chosen_changes_nothing(session: Session, field: str, value: str) -> None:
    with pytest.raises(ChoiceInvalid) as refused:
        choices.change(session, {field: value}, now=NOW)
    assert list(refused.value.errors) == [field]


def test_the_first_run_resumes_where_it_stopped(session: Session) -> None:
    assert choices.next_step(choices.of(session)) == Step.SITE
    choices.settle(session, Step.SITE, "done", now=NOW)
    choices.settle(session, Step.SENDING, "skipped", now=NOW)
    assert choices.next_step(choices.of(session)) == Step.RHYTHM
    choices.settle(session, Step.SITE, "skipped", now=NOW)
    assert choices.of(session).steps["site"] == "done"
    for step in Step:
        choices.settle(session, step, "done", now=NOW)
    assert choices.next_step(choices.of(session)) is None


def test_the_list_of_what_remains_shrinks_as_things_are_done(session: Session) -> None:
    assert choices.remaining(session) == [Todo.NEWSLETTER]
    newsletter = a_newsletter(session, postal_address="")
    remaining = [Todo.POSTAL, Todo.DNS, Todo.FORM, Todo.IMPORT, Todo.ISSUE]
    assert choices.remaining(session) == remaining
    newsletters.edit(session, newsletter, values={"postal_address": "12 rue"}, now=NOW)
    readers(session, newsletter, 1)
    choices.dismiss(session, Todo.DNS, now=NOW)
    choices.dismiss(session, Todo.FORM, now=NOW)
    assert choices.remaining(session) == [Todo.ISSUE]


def test_a_mail_server_remains_to_be_chosen_in_the_sandbox(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILER_SMTP_URL")
    monkeypatch.setenv("MAILER_INBOX_SMTP_URL", "smtp://127.0.0.1:1025")
    settings.load.cache_clear()
    choices.lock(session, now=NOW).is_sandbox = True
    session.flush()
    assert Todo.SERVER in choices.remaining(session)


def test_a_logo_is_kept_once_under_the_name_of_its_content(session: Session) -> None:
    made = shrinking.shrink(picture("#C02030", (300, 80)), is_logo=True)
    path = choices.keep_logo(session, made, now=NOW)
    assert path == choices.keep_logo(session, made, now=NOW) == f"/img/{made.digest}/300.png"
    assert choices.logo_file(session, made.digest, 300, "png") == made.files[0].content
    assert choices.logo_file(session, made.digest, 299, "png") is None


def test_a_logo_of_more_than_25_megapixels_is_refused() -> None:
    with pytest.raises(shrinking.PictureUnusable, match="25 megapixels"):
        shrinking.shrink(picture("#C02030", (5001, 5000)), is_logo=True)


# Reading the site, as a worker does.


@pytest.fixture
def site(installation: SmtpInbox) -> Iterator[Site]:
    """A newsroom's site, and an installation with its owner."""
    with transaction() as session:
        values = {"name": "Camille", "password": "a long enough passphrase", "language": "fr"}
        accounts.create(session, "camille@courrier.example", **values, now=clock.now())
    with web.running() as running:
        running.put(
            "/", page('<meta property="og:site_name" content="Le Courrier"><meta name="theme-color" content="#0B4F6C">')
        )
        running.put("/feed", RSS)
        yield running


def asked(address: str) -> Installation:
    """Type the address, have a worker read it, and tell how it went."""
    with transaction() as session:
        site_reading.ask(session, address, now=clock.now())
    site_reading.read()
    with transaction() as session:
        return choices.of(session)


def made() -> tuple[list[Newsletter], list[Issue]]:
    with transaction() as session:
        return newsletters.all_newsletters(session), list(session.execute(select(Issue)).scalars())


def test_a_site_becomes_a_newsletter_with_a_first_draft(site: Site) -> None:
    row = asked(site.url("/"))
    assert (row.site_state, row.name, row.brand_color) == (SiteState.READY, "Le Courrier", "#0B4F6C")
    (newsletter,), (draft,) = made()
    assert (newsletter.name, newsletter.language, newsletter.timezone) == ("Le Courrier", "fr", "Europe/Paris")
    assert (newsletter.sender_address, newsletter.cron) == ("camille@courrier.example", None)
    assert (draft.state, draft.subject) == ("draft", "Eau")


def test_reading_it_twice_changes_nothing_more(site: Site) -> None:
    asked(site.url("/"))
    site_reading.read()
    assert [len(one) for one in made()] == [1, 1]


def test_another_site_changes_the_newsletter_that_was_made(site: Site) -> None:
    asked(site.url("/"))
    site.put("/", page('<meta property="og:site_name" content="Autre">').replace("/feed", "/other"))
    site.put("/other", RSS.replace("Eau", "Rail").replace("/eau", "/rail"))
    asked(site.url("/"))
    (newsletter,), (draft,) = made()
    assert (newsletter.name, draft.subject) == ("Autre", "Rail")
    with transaction() as session:
        assert [one.url for one in newsletters.feeds(session, newsletter)] == [site.url("/other")]


def test_a_site_without_a_feed_makes_nothing(site: Site) -> None:
    site.pages.clear()
    site.put("/", "<html>Bonjour</html>")
    row = asked(site.url("/"))
    assert (row.site_state, row.site_found) == (SiteState.FAILED, {"code": "no_feed"})
    assert made() == ([], [])


def test_a_site_that_cannot_be_reached_says_why(site: Site) -> None:
    row = asked("http://127.0.0.1:1/")
    assert (row.site_state, row.site_found["code"]) == (SiteState.FAILED, "unreachable")
    assert "127.0.0.1:1" in str(row.site_found["detail"])


def test_a_feed_without_articles_makes_a_newsletter_without_a_draft(site: Site) -> None:
    site.put("/feed", RSS.partition("<item>")[0] + "</channel></rss>")
    assert asked(site.url("/")).site_state == SiteState.READY
    newsletters_made, drafts = made()
    assert (len(newsletters_made), drafts) == (1, [])


def test_the_tick_finds_a_site_whose_worker_was_killed(site: Site) -> None:
    with transaction() as session:
        site_reading.ask(session, site.url("/"), now=clock.now() - timedelta(minutes=5))
    assert tick().has_site
    site_reading.read()
    assert not tick().has_site


@pytest.mark.parametrize(
    "typed", ["", "  ", "courrier", "http://", "javascript:alert(1)", "x" * 3000 + ".example", "a b.example"]
)
def test_what_is_no_address_of_a_site_is_not_asked(session: Session, typed: str) -> None:
    with pytest.raises(site_reading.AddressUnclear):
        site_reading.ask(session, typed, now=NOW)
    assert choices.of(session).site_state == SiteState.NONE
