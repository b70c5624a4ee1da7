"""The page of reports, and its tables as files."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import event

from mailer import clock, db
from mailer.db import transaction
from mailer.newsroom import newsletters, reports
from tests.conftest import SmtpInbox
from tests.desk import running_desk, sign_in, speak
from tests.factories import a_newsletter
from tests.watched import readers_at, sent_at
from tests.web_site import Site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


def counted(issues: int = 3, *, readers: int = 12, ago: int = 0) -> None:
    """Some issues that were sent, the last an hour ago, and what upkeep counts."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        readers_at(session, newsletter, readers)
        for number in range(issues, 0, -1):
            sent_at(session, newsletter, now - timedelta(hours=1, days=ago + 7 * (number - 1)), refused=1)
        reports.count(session, now=now)


def table(site: Site, name: str, language: str = "en") -> list[list[str]]:
    response = site.client.get(f"/admin/reports/{name}.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    text = response.content.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text), delimiter=";" if language == "fr" else ","))


def test_each_chart_has_a_sentence_and_a_table(site: Site) -> None:
    counted()
    page = site.client.get("/admin/reports").text
    assert page.count('role="img" aria-label="') == page.count("<details id=") == 5
    assert 'aria-label="Readers: ' in page
    assert 'aria-label="Refused and deferred by provider, most at ' in page
    assert "style=" not in page


def test_before_anything_is_counted_the_page_says_what_will_be_there(site: Site) -> None:
    page = site.client.get("/admin/reports").text
    assert "Counted every hour; nothing was counted yet." in page
    assert "Nothing was sent yet." in page


def test_in_french_too(site: Site) -> None:
    counted()
    speak("fr")
    page = site.client.get("/admin/reports?span=1y").text
    assert "Arrivées et départs" in page
    assert "Lecteurs\u00a0: " in page
    assert table(site, "weeks", "fr")[0] == ["week", "joined", "left", "net"]


def test_every_table_is_a_file(site: Site) -> None:
    counted()
    issues = table(site, "issues")
    assert [row[0] for row in issues] == ["issue", "3", "2", "1"]
    assert issues[1][5:7] == ["11", "1"]
    assert table(site, "providers")[1][2] == "3"
    assert sum(int(row[2]) for row in table(site, "mix")[1:]) == 12
    assert table(site, "readers")[-1][1] == "12"


def test_a_subject_that_is_a_formula_is_none_in_the_file(site: Site) -> None:
    counted(1)
    with transaction() as session:
        (issue,) = (issue for issue, _ in reports.issues(session, 1, limit=1))
        issue.subject = '=HYPERLINK("https://evil.example")'
    assert table(site, "issues")[1][1] == '\'=HYPERLINK("https://evil.example")'


def test_a_newsletter_that_does_not_exist_has_no_reports(site: Site) -> None:
    for path in ("/admin/reports?newsletter=none", "/admin/reports/issues.csv?newsletter=none", "/admin/reports/x.csv"):
        assert site.client.get(path).status_code == 404


def test_each_newsletter_has_its_own(site: Site) -> None:
    counted()
    with transaction() as session:
        a_newsletter(session, "hebdo", name="Hebdo")
    page = site.client.get("/admin/reports?newsletter=hebdo").text
    assert 'href="/admin/reports?newsletter=courrier&amp;span=12w"' in page
    assert "Nothing was sent yet." in page


def test_the_page_costs_no_more_statements_with_more_issues(site: Site) -> None:
    costs = []
    asked: list[object] = []

    def count(*arguments: object) -> None:
        asked.append(arguments[2])

    event.listen(db.engine(), "before_cursor_execute", count)
    for issues, readers, ago in ((1, 3, 90), (9, 40, 0)):
        counted(issues, readers=readers, ago=ago)
        asked.clear()
        assert site.client.get("/admin/reports").status_code == 200
        costs.append(len(asked))
    event.remove(db.engine(), "before_cursor_execute", count)
    assert costs[0] == costs[1]
