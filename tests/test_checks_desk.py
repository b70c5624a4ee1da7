"""What the checks find is on the review page and in the command's output; what blocks stops both until it is let pass."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mailer import scheduling, settings
from mailer.cli import output
from mailer.db import transaction
from mailer.feeds import troubles
from mailer.feeds.troubles import Trouble
from mailer.issues import gate, issues
from mailer.issues.findings import Code, Finding, Phrase, Severity, Value
from mailer.models.content import Issue, IssueState
from mailer.web.admin import inspecting
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import drafted, hidden, issue, press, running_desk, sign_in, speak
from tests.source import ROOT
from tests.test_cli import an_issue

WITHOUT_FOOT = '{% extends "_layout.html" %}{% block content %}<tr><td>{{ issue.title }}</td></tr>{% endblock %}'
BLOCKED = "There is no link to unsubscribe."


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's folder whose mail has no link to unsubscribe."""
    folder = tmp_path / "templates"
    (folder / "issue").mkdir(parents=True)
    (folder / "issue" / "body.html").write_text(WITHOUT_FOOT)
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(folder))
    settings.load.cache_clear()
    return folder


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def test_the_review_says_when_nothing_was_found(desk: httpx.Client) -> None:
    page = desk.get(f"/admin/issues/{drafted()}/review")
    assert "Nothing was found." in page.text
    assert "despite_checks" not in page.text


def test_the_review_lists_what_was_found_with_its_severity(desk: httpx.Client, templates: Path) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    press(desk, path, f"{path}/envelope", subject="TOUT EN CAPITALES", preview_text="Aussi")
    page = desk.get(f"{path}/review").text
    assert page.index(">Blocks</span> " + BLOCKED) < page.index(">Advice</span> The subject is in capitals")


def test_the_review_speaks_french(desk: httpx.Client, templates: Path) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    speak("fr")
    page = desk.get(f"{path}/review").text
    assert ">Bloque</span> Il n’y a pas de lien de désinscription." in page


def test_what_blocks_stops_the_send_button_until_its_box_is_ticked(desk: httpx.Client, templates: Path) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    refused = press(desk, f"{path}/review", f"{path}/send")
    assert refused.status_code == 422
    assert "Nothing was sent" in refused.text
    assert BLOCKED in refused.text
    assert issue(issue_id).state == IssueState.DRAFT
    sent = desk.post(f"{path}/send", data={**hidden(refused), "despite_checks": "1"})
    assert sent.status_code == 303
    assert issue(issue_id).state == IssueState.SCHEDULED
    assert issue(issue_id).allowed_findings == ["unsubscribe_missing"]
    assert scheduling.start_issue(issue_id)


def test_a_ticked_box_does_not_send_what_cannot_be_made(desk: httpx.Client, templates: Path) -> None:
    (templates / "issue" / "body.html").write_text("\n{{ no_such_thing }}")
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    refused = press(desk, f"{path}/review", f"{path}/send", despite_checks="1")
    assert refused.status_code == 422
    assert "issue/body.html, line 2: &#39;no_such_thing&#39; is undefined." in refused.text
    assert issue(issue_id).state == IssueState.DRAFT


def test_links_are_asked_by_a_button_and_the_answers_stay_on_the_page(
    desk: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_CHECK_LINKS", "true")
    settings.load.cache_clear()
    issue_id = drafted("a")
    path = f"/admin/issues/{issue_id}"
    with transaction() as session:
        ((article, _),) = issues.placed(session, issue_id)
        article.url = "http://127.0.0.1:1/a"
    done = press(desk, f"{path}/review", f"{path}/check")
    assert done.headers["location"] == f"{path}/review?done=checked"
    page = desk.get(f"{path}/review").text
    assert "http://127.0.0.1:1/a could not be opened: 127.0.0.1:1 refused the connection." in page
    assert "last checked" in page


def test_a_held_issue_says_so_where_it_is_edited_and_reviewed(desk: httpx.Client, templates: Path) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    assert scheduling.start_issue(issue_id) is False
    for page in (desk.get(path), desk.get(f"{path}/review")):
        assert "The checks before sending found something" in page.text


def test_the_command_lists_findings_and_ends_with_their_code(installation: SmtpInbox, templates: Path) -> None:
    issue_id = an_issue()
    ran = mailer("issue", "check", str(issue_id), "--no-links")
    assert ran.code == output.CHECKS_FAILED
    assert f"block  unsubscribe_missing html: {BLOCKED}" in ran.out
    as_json = mailer("issue", "check", str(issue_id), "--no-links", "--json")
    found = json.loads(as_json.out)
    assert (found["id"], found["blocks"], found["findings"][0]["code"]) == (issue_id, True, "unsubscribe_missing")


def test_a_held_issue_shows_its_findings_on_the_command_line(installation: SmtpInbox, templates: Path) -> None:
    issue_id = an_issue()
    scheduling.start_issue(issue_id)
    shown = mailer("issue", "show", str(issue_id))
    assert f"block  {BLOCKED}" in shown.out
    value = mailer("issue", "show", str(issue_id), "--json").value
    assert (value["state_code"], value["findings"][0]["code"]) == ("checks_failed", "unsubscribe_missing")


def test_the_command_passes_a_good_issue(installation: SmtpInbox) -> None:
    issue_id = an_issue()
    ran = mailer("issue", "check", str(issue_id), "--no-links")
    assert (ran.code, ran.out) == (0, f"Issue {issue_id}: nothing found.\n")


def test_an_issue_that_left_is_not_checked(installation: SmtpInbox) -> None:
    assert mailer("issue", "check", str(an_issue(sent=True))).code == output.STATE_FORBIDS


def test_sending_from_the_command_line_stops_at_what_blocks(installation: SmtpInbox, templates: Path) -> None:
    issue_id = an_issue()
    refused = mailer("issue", "send", str(issue_id), "--yes")
    assert refused.code == output.CHECKS_FAILED
    assert BLOCKED in refused.err
    assert issue(issue_id).state == IssueState.DRAFT
    sent = mailer("issue", "send", str(issue_id), "--yes", "--despite-checks")
    assert sent.code == 0
    assert scheduling.start_issue(issue_id)


def test_findings_stand_where_an_issue_is_written_and_scheduled_too(desk: httpx.Client, templates: Path) -> None:
    path = f"/admin/issues/{drafted()}"
    for page in (desk.get(path), desk.get(f"{path}/schedule")):
        assert BLOCKED in page.text
        assert "Blocks" in page.text
    assert "keeps the issue from leaving at its moment" in desk.get(f"{path}/schedule").text


@pytest.mark.parametrize(
    ("code", "where", "values", "words"),
    [
        (
            Code.HEADER_WRONG,
            "headers",
            {"name": "to", "found": Phrase(sentence="it occurs {count} times", values={"count": 2})},
            "il figure 2 fois",
        ),
        (
            Code.LINK_UNREACHABLE,
            "html",
            {
                "url": "https://a.example/",
                "answer": Phrase(sentence=troubles.SENTENCES[Trouble.NAME_UNKNOWN], values={"host": "a.example"}),
            },
            "Le nom a.example est inconnu.",
        ),
        (Code.PICTURES_HEAVY, "html", {"size": 1234}, "1 234 Ko"),
        (
            Code.CONTRAST_LIGHT,
            "html",
            {"text": "Lire", "color": "#777", "background": "#888", "ratio": 1.3, "wanted": 4.5},
            "1,3",
        ),
    ],
)
def test_a_finding_is_kept_and_said_in_french_to_its_details(
    code: Code, where: str, values: dict[str, Value], words: str
) -> None:
    finding = Finding(code=code, severity=Severity.ADVISE, where=where, values=values)
    kept = json.loads(json.dumps(finding.as_dict()))
    (again,) = gate.of_issue(Issue(findings=[kept]))
    assert again == finding
    assert words in inspecting.words("fr", again).replace("\u00a0", " ")
    assert "{" not in inspecting.words("fr", again) + again.words


def test_every_part_of_a_mail_that_a_finding_names_has_a_word() -> None:
    named = {
        match
        for path in (ROOT / "mailer" / "issues" / "checks").glob("*.py")
        for match in re.findall(r'found\(\s*(?:Code\.\w+), "(\w+)"', path.read_text())
    }
    assert named
    assert named <= set(inspecting.PLACES)
    finding = Finding(code=Code.SUBJECT_EMPTY, severity=Severity.BLOCK, where="subject, ru")
    assert inspecting.place("fr", finding) == "Objet, Русский"
