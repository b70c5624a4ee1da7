"""The first page of the desk, the menu beside it, and the lists of all issues and all articles."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from mailer import clock
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import Article, Issue, IssueState
from mailer.models.intake import ArticleStatus
from mailer.models.progress import IssueReport, ReaderDay
from mailer.newsroom import newsletters, reports
from tests.conftest import SmtpInbox
from tests.crowded import crowd, many_readers
from tests.desk import article_id, drafted, press, running_desk, sign_in, speak, started
from tests.factories import a_newsletter, an_article


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def sent_issues(count: int, **counted: int) -> None:
    """Issues that were sent, the last of which led to these numbers and the others to 2 clicks and 1 refusal of 100."""
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletter.tracks_clicks = True
        for number in range(count, 0, -1):
            crowd(session, newsletter, number)
        usual = {"accepted": 99, "refused": 1, "clicks": 2, "left": 0, "complained": 0}
        for report in session.execute(select(IssueReport)).scalars():
            last = session.get_one(Issue, report.issue_id).number == 1001
            for name, value in {**usual, **(counted if last else {})}.items():
                setattr(report, name, value)


def test_four_figures_stand_beside_what_is_usual(desk: httpx.Client) -> None:
    sent_issues(5, accepted=90, refused=10, clicks=9, left=1)
    page = desk.get("/admin").text
    for figure in (">5<", ">10%<", ">1.1%<"):
        assert figure in page
    assert page.count("usually 2%") == 1
    assert "usually 1%" in page


def test_clicks_that_nobody_counts_are_no_zero(desk: httpx.Client) -> None:
    sent_issues(1)
    with transaction() as session:
        newsletters.get(session, "courrier").tracks_clicks = False
    assert "not counted" in desk.get("/admin").text


def test_the_readers_of_twelve_weeks_are_a_line_with_a_table(desk: httpx.Client) -> None:
    with transaction() as session:
        newsletter_id = newsletters.get(session, "courrier").id
        for week in range(6):
            day = (clock.now() - timedelta(weeks=week)).date()
            session.add(ReaderDay(newsletter_id=newsletter_id, day=day, joined=1, left=0, readers=1000 - 100 * week))
    page = desk.get("/admin").text
    assert "Readers over 12 weeks: from 500 to 1,000" in page
    assert "As a table" in page


def test_an_issue_on_its_way_comes_first_with_its_progress(desk: httpx.Client) -> None:
    issue_id = started(reader_count=4)
    page = desk.get("/admin").text
    assert "0 of 4 sent" in page
    assert page.count("btn primary") == 1
    assert f'<a class="btn primary" href="/admin/issues/{issue_id}">Watch it' in page


def test_the_next_issue_says_what_its_checks_found(desk: httpx.Client) -> None:
    issue_id = drafted()
    with transaction() as session:
        issue = session.get_one(Issue, issue_id)
        issue.checked_at, issue.findings = clock.now(), [{"code": "dead_link", "severity": "advise"}]
    page = desk.get("/admin").text
    assert "1 check wants a look." in page
    assert page.count("btn primary") == 1


def test_a_switch_between_newsletters_comes_with_the_second(desk: httpx.Client) -> None:
    assert "/admin?of=" not in desk.get("/admin").text
    with transaction() as session:
        a_newsletter(session, "zweite", name="Zweite Zeitung")
    assert "/admin?of=zweite" in desk.get("/admin").text
    assert "/admin/newsletters/zweite/next" in desk.get("/admin?of=zweite").text
    assert "/admin/newsletters/courrier/next" in desk.get("/admin?of=unknown").text


def test_health_names_what_is_wrong_and_where_to_look(desk: httpx.Client) -> None:
    assert "Mails leave as they should." in desk.get("/admin").text
    with transaction() as session:
        feed = newsletters.feeds(session, newsletters.get(session, "courrier"))[0]
        feed.title, feed.error = "Le fil", "The answer is empty."
    page = desk.get("/admin").text
    assert "“Le fil” can’t be read: The answer is empty." in page
    speak("fr")
    assert "« Le fil » est illisible" in desk.get("/admin").text.replace("\u00a0", " ")


def test_work_that_nobody_does_is_told(desk: httpx.Client) -> None:
    with transaction() as session:
        feed = newsletters.feeds(session, newsletters.get(session, "courrier"))[0]
        feed.next_read_at = clock.now() - timedelta(hours=3)
    assert "the workers or the schedule stand still" in desk.get("/admin").text


def test_the_menu_tells_what_waits(desk: httpx.Client) -> None:
    assert "new</span>" not in desk.get("/admin/forms").text
    issue_id = drafted()
    assert ">3 new</span>" in desk.get("/admin/forms").text
    with transaction() as session:
        issues.schedule(session, session.get_one(Issue, issue_id), at=clock.now() + timedelta(days=1), now=clock.now())
    assert ">1 scheduled</span>" in desk.get("/admin/forms").text


def test_the_title_tells_of_an_issue_that_stands_still(desk: httpx.Client) -> None:
    issue_id = started()
    assert ">sending</span>" in desk.get("/admin/forms").text
    with transaction() as session:
        session.get_one(Issue, issue_id).state = IssueState.PAUSED
    page = desk.get("/admin/forms").text
    assert "<title>(1 stopped) Forms" in page
    assert ">1 stopped</span>" in page


def test_what_is_in_the_last_issue_is_not_new_any_more(desk: httpx.Client) -> None:
    started()
    assert " new</span>" not in desk.get("/admin/forms").text
    with transaction() as session:
        an_article(session, newsletters.get(session, "courrier"), "later", seen=clock.now() + timedelta(minutes=1))
    assert ">1 new</span>" in desk.get("/admin/forms").text


def test_the_list_of_issues_tells_what_each_led_to(desk: httpx.Client) -> None:
    sent_issues(2, accepted=50, refused=0, clicks=5, left=7)
    page = desk.get("/admin/issues").text
    assert "Issue 1001" in page
    assert ">10%<" in page
    assert ">7<" in page
    assert "/duplicate" in page
    assert "Your first issue" not in page


def test_without_an_issue_the_list_leads_to_the_first(desk: httpx.Client) -> None:
    page = desk.get("/admin/issues").text
    assert "Your first issue builds itself from your feed." in page
    assert 'href="/admin/newsletters/courrier/next">Preview now' in page
    assert "No issue here yet." in desk.get("/admin/issues?tab=sent").text


def test_articles_of_all_newsletters_are_found_by_words(desk: httpx.Client) -> None:
    with transaction() as session:
        courrier, other = newsletters.get(session, "courrier"), a_newsletter(session, "autre", name="Autre")
        an_article(session, courrier, "eau", title="L’eau du Syr-Daria", author="Aida B.")
        an_article(session, other, "train", title="Le train de nuit, 100% électrique")
    everything = desk.get("/admin/articles").text
    assert "Syr-Daria" in everything
    assert "train de nuit" in everything
    for words, found in (("SYR eau", True), ("aida", True), ("train", False), ("eau nuit", False), ("%", False)):
        assert ("Syr-Daria</a>" in desk.get("/admin/articles", params={"q": words}).text) is found, words
    assert "Syr-Daria" not in desk.get("/admin/articles", params={"newsletter": "autre"}).text
    assert "No article matches." in desk.get("/admin/articles", params={"q": "nothing of this"}).text


def test_an_article_says_in_which_issue_it_was_and_is_held_from_the_list(desk: httpx.Client) -> None:
    started()
    assert "Sent in issue 1" in desk.get("/admin/articles").text
    path = "/admin/newsletters/courrier/articles"
    fields = {"article": article_id("eau"), "from": "all", "act": "hold"}
    answer = press(desk, "/admin/articles", path, **fields)
    assert answer.headers["location"] == "/admin/articles?done=article-hold"
    with transaction() as session:
        assert session.execute(select(Article.status).where(Article.guid == "eau")).scalar_one() == ArticleStatus.HELD
    assert "Sent in issue" not in desk.get("/admin/articles?show=held").text


@pytest.mark.parametrize(("kind", "words"), [("confirm", "Confirmez votre inscription"), ("already", "déjà")])
def test_the_mails_around_the_form_are_shown_as_they_leave(desk: httpx.Client, kind: str, words: str) -> None:
    assert f"/admin/forms/courrier/mail?kind={kind}" in desk.get("/admin/forms").text
    mail = desk.get("/admin/forms/courrier/mail", params={"kind": kind})
    assert words in mail.text
    assert "lea@example.org" in mail.text
    assert "sandbox" in mail.headers["content-security-policy"]
    assert "script" not in mail.headers["content-security-policy"]


def test_many_readers_are_told_as_of_the_last_count(desk: httpx.Client) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        many_readers(session, newsletter, 10_001)
        assert reports.readers_now(session) == {newsletter.id: 10_001}
        day = clock.now().date()
        session.add(ReaderDay(newsletter_id=newsletter.id, day=day, joined=0, left=0, readers=9_990))
        session.flush()
        assert reports.readers_now(session) == {newsletter.id: 9_990}
    assert ">9,990<" in desk.get("/admin/newsletters").text
