"""Issues written by hand, and readers' hours, from the desk and the command line; articles read from their pages."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from mailer import clock, scheduling
from mailer.audience import subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import handwriting, issues
from mailer.issues.handwriting import Draft
from mailer.issues.markdown import BodyInvalid, Problem
from mailer.models.audience import Subscription
from mailer.models.content import Article, Feed, Newsletter, NewsletterFeed, Variant
from mailer.models.deliveries import Batch
from mailer.newsroom import newsletters
from tests import site
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import area, drafted, field, hidden, issue, press, running_desk, sign_in, speak, started
from tests.factories import a_newsletter, an_article, readers
from tests.test_pictures import encoded, photo

PAGE = """<html><head><title>L’eau revient | Le Courrier</title><meta property="og:title" content="L’eau &amp; le sel">
<meta name="description" content="La mer d’Aral &lt;remonte&gt;."></head><body><h1>L’eau</h1></body></html>"""
NEXT = "/admin/newsletters/courrier/next"
WRITE = "/admin/newsletters/courrier/write"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running.client


@pytest.fixture
def newsletter_id(installation: SmtpInbox) -> int:
    """A newsletter with a reader and an article."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        readers(session, newsletter, 1)
        an_article(session, newsletter, "eau")
        return newsletter.id


def at_an_hour(distance: int) -> None:
    """The first reader wants mail so many hours from now."""
    with transaction() as session:
        reader = session.execute(select(Subscription).order_by(Subscription.id).limit(1)).scalar_one()
        hour = (clock.now().hour + distance) % 24
        wish = wishes.Wish(language="fr", topics=(), rhythm=reader.rhythm, paused_until=None, hour=hour, timezone="UTC")
        wishes.choose(session, reader.id, wish, origin=Origin(), now=clock.now())


# --- the desk


def test_an_issue_is_written_previewed_and_changed(desk: httpx.Client) -> None:
    drafted()
    press(desk, WRITE, WRITE, subject="Spécial", body="Un **mot**.\r\n\r\n[[article 1]]")
    path = f"/admin/issues/{issue(2).id}"
    assert issue(2).body == "Un **mot**.\n\n[[article 1]]"
    assert area(desk.get(path), "body") == "Un **mot**.\n\n[[article 1]]"
    shown = desk.get(f"{path}/preview").text
    assert ("<strong>mot</strong>" in shown, "Le titre de eau" in shown) == (True, True)
    press(desk, path, f"{path}/body", body="Un autre mot.")
    assert issue(2).body == "Un autre mot."
    assert "Un autre mot." in desk.get(f"{path}?view=text").text


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_text_that_can_be_no_issue_stays_in_the_form_with_the_line(desk: httpx.Client, language: str) -> None:
    speak(language)
    page = press(desk, WRITE, WRITE, subject="Spécial", body="Un mot.\n[[article 99]]", respects_rhythm="yes")
    words = {"en": "Line 2: there is no article 99.", "fr": "Ligne 2\u00a0: il n’y a pas d’article 99."}
    assert (page.status_code, words[language] in page.text) == (422, True)
    assert (area(page, "body"), field(page, "subject")) == ("Un mot.\n[[article 99]]", "Spécial")
    assert 'value="yes" checked' in page.text


def test_a_change_that_can_not_be_stays_in_the_form(desk: httpx.Client) -> None:
    press(desk, WRITE, WRITE, subject="Spécial", body="Un mot.")
    page = press(desk, "/admin/issues/1", "/admin/issues/1/body", body=" ")
    assert (page.status_code, "There is no text" in page.text, issue(1).body) == (422, True, "Un mot.")


def test_of_two_writers_the_later_one_is_told_and_keeps_the_text(desk: httpx.Client) -> None:
    press(desk, WRITE, WRITE, subject="Spécial", body="Un mot.")
    carried = hidden(desk.get("/admin/issues/1"))
    press(desk, "/admin/issues/1", "/admin/issues/1/body", body="Le premier.")
    late = desk.post("/admin/issues/1/body", data={**carried, "body": "Le second."})
    assert (late.status_code, area(late, "body"), issue(1).body) == (409, "Le second.", "Le premier.")
    assert "Le premier." in late.text


def test_who_waits_for_their_hour_is_no_stall(desk: httpx.Client) -> None:
    drafted()
    at_an_hour(5)
    assert "This reader gets it at their hour, on " in desk.get(f"{NEXT}?as=r0@example.org").text
    assert "This reader" not in desk.get(f"{NEXT}?as=r1@example.org").text
    with transaction() as session:
        issues.start(session, issues.get(session, 1), batch_size=100, now=clock.now())
    page = desk.get("/admin/issues/1").text
    assert "1 reader gets it at their hour, on " in page
    assert "(Paris time)" in page
    speak("fr")
    page = desk.get("/admin/issues/1").text
    assert "1 lecteur le reçoit à son heure, le " in page
    assert "(heure de Paris)" in page


def test_without_hours_nothing_is_said_of_them(desk: httpx.Client) -> None:
    started()
    assert "at their hour" not in desk.get("/admin/issues/1").text


# --- the command line


def test_an_issue_is_created_and_edited_from_files(newsletter_id: int, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Un mot.\n\n[[article 1 lead]]\n", encoding="utf-8")
    made = mailer("issue", "create", "courrier", "--subject", "Spécial", "--body", str(tmp_path / "a.md"), "--json")
    assert (made.code, made.value["subject"], issue(1).body) == (0, "Spécial", "Un mot.\n\n[[article 1 lead]]")
    assert mailer("issue", "edit", "1", "--body", "-", "--subject", "Autre", stdin="Autre mot.").code == 0
    assert (issue(1).body, issue(1).subject) == ("Autre mot.", "Autre")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "There is no text"),
        (b"Un mot.\n[[article 99]]", "Line 2: there is no article 99."),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"a" * 200_001, "there is room for 200000"),
    ],
)
def test_a_file_that_can_be_no_issue_is_refused(newsletter_id: int, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.md").write_bytes(content)
    ran = mailer("issue", "create", "courrier", "--subject", "Spécial", "--body", str(tmp_path / "a.md"))
    assert (ran.code, words in ran.err) == (2, True), ran.err


def test_an_hour_is_chosen_for_a_reader_and_the_issue_tells_of_it(newsletter_id: int) -> None:
    hour = str((clock.now().hour + 5) % 24)
    choose = ("subscribers", "choose", "courrier", "r0@example.org", "--json")
    chosen = mailer(*choose, "--hour", hour, "--timezone", "UTC").value
    assert (str(chosen["hour"]), chosen["timezone"]) == (hour, "UTC")
    upcoming = ("issue", "next", "courrier", "--as", "r0@example.org")
    assert datetime.fromisoformat(mailer(*upcoming, "--json").value["arrives_at"]).hour == int(hour)
    assert "This reader gets it at their hour: " in mailer(*upcoming).out
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        issues.start(session, issues.draft(session, newsletter, now=clock.now()), batch_size=10, now=clock.now())
    shown = mailer("issue", "show", "1", "--json").value
    assert (shown["waiting"], shown["waiting_for_hour"]) == (1, 1)
    assert mailer(*choose, "--hour", "none").value["hour"] is None
    wrong = mailer("subscribers", "choose", "courrier", "r0@example.org", "--hour", "soon")
    assert (wrong.code, "no hour from 0 to 23" in wrong.err) == (2, True)


# --- articles read from their pages


def test_an_unknown_article_is_read_from_its_page_and_goes_into_no_other_issue(newsletter_id: int) -> None:
    with site.running() as running:
        running.put("/eau", PAGE)
        body = f"Un mot.\n\n[[article {running.url('/eau')} lead]]"
        handwriting.look_up(newsletter_id, body)
        handwriting.look_up(newsletter_id, body)
        assert running.asked == ["/eau"]
    with transaction() as session:
        newsletter = session.get_one(Newsletter, newsletter_id)
        made = handwriting.draft(session, newsletter, Draft(subject="Spécial", body=body), now=clock.now())
        ((article, _),) = issues.placed(session, made.id)
        assert (article.title, article.excerpt) == ("L’eau & le sel", "La mer d’Aral <remonte>.")
        drawn = select(NewsletterFeed.feed_id)
        assert session.execute(select(Feed.url).where(Feed.id.not_in(drawn))).scalars().all() == ["by-hand:"]


def test_a_page_that_can_not_be_read_is_told_by_its_line(newsletter_id: int) -> None:
    with site.running() as running, pytest.raises(BodyInvalid) as caught:
        handwriting.look_up(newsletter_id, f"Un mot.\n[[article {running.url('/rien')}]]")
    assert (caught.value.problem, caught.value.values["line"]) == (Problem.UNREACHABLE, 2)
    with transaction() as session:
        assert len(session.execute(select(Article)).all()) == 1


@pytest.mark.parametrize("address", ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data"])
def test_no_page_inside_our_own_network_is_read(newsletter_id: int, address: str) -> None:
    with pytest.raises(BodyInvalid):
        handwriting.look_up(newsletter_id, f"[[article {address}]]")


# --- sent


def test_a_picture_in_the_text_is_served_from_here_and_one_that_is_not_there_left_out(newsletter_id: int) -> None:
    with site.running() as running:
        running.put("/mer.jpg", encoded(photo()), content_type="image/jpeg")
        with transaction() as session:
            newsletter = session.get_one(Newsletter, newsletter_id)
            newsletters.edit(session, newsletter, values={"site_url": running.url()}, now=clock.now())
            body = "![La mer](/mer.jpg)\n\n![Rien](/rien.jpg)\n\nUn mot."
            handwriting.draft(session, newsletter, Draft(subject="Spécial", body=body), now=clock.now())
        assert scheduling.start_issue(1)
    with transaction() as session:
        html = session.execute(select(Variant.html).where(Variant.issue_id == 1)).scalar_one()
    assert 'alt="La mer"' in html
    assert html.count("<img") == html.count('src="https://lettre.example/img/') == 1


def test_what_is_written_arrives_and_who_chose_an_hour_gets_it_then(
    newsletter_id: int, installation: SmtpInbox
) -> None:
    at_an_hour(5)
    with transaction() as session:
        newsletter = session.get_one(Newsletter, newsletter_id)
        subscriptions.add(session, newsletter, "tom@example.org", language="en", proof="test", now=clock.now())
        wanted = Draft(subject="Spécial", body="Bonjour *{name|toi}*.\n\n[[article 1]]")
        handwriting.draft(session, newsletter, wanted, now=clock.now())
    assert scheduling.start_issue(1)
    sending.send_due(budget_seconds=10)
    assert [one.recipients for one in installation.messages] == [("tom@example.org",)]
    assert "Bonjour toi." in installation.messages[0].email.get_body(("plain",)).get_content()
    assert first_line("issue", "watch", "1").startswith(
        "sending: 2 recipients = 1 accepted + 0 refused + 0 skipped + 0 uncertain + 1 waiting;"
        " 1 reader gets it at their hour, the last on "
    )
    with transaction() as session:
        session.execute(update(Batch).where(Batch.due_at > clock.now()).values(due_at=clock.now()))
    sending.send_due(budget_seconds=10)
    assert [one.recipients for one in installation.messages[1:]] == [("r0@example.org",)]
    assert issue(1).state == "sent"


def first_line(*arguments: str) -> str:
    """What a command says first, which would go on for hours."""
    command = [sys.executable, "-m", "mailer", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            return process.stdout.readline()
        finally:
            process.kill()
