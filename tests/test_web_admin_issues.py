"""The newsroom's desk: an issue is written, arranged, scheduled, sent, watched."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from mailer import clock, settings
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.content import IssueState, Layout
from mailer.models.deliveries import Delivery
from tests.conftest import SmtpInbox
from tests.desk import area, article_id, drafted, field, hidden, issue, press, running_desk, sign_in, started, titles


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def test_the_envelope_is_edited(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    press(desk, path, f"{path}/envelope", subject="L’eau revient", preview_text="Aussi", introduction="Un\r\n\r\nDeux")
    changed = issue(issue_id)
    assert (changed.subject, changed.preview_text, changed.introduction) == ("L’eau revient", "Aussi", "Un\n\nDeux")


def test_a_subject_of_nothing_but_control_characters_changes_nothing(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    press(desk, path, f"{path}/envelope", subject="\x01\x02\x7f")
    assert issue(issue_id).subject == "Le titre de eau"
    assert desk.get(f"{path}/preview").status_code == 200


def test_of_two_editors_the_later_one_is_told(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    page = desk.get(path)
    carried = hidden(page)
    press(desk, path, f"{path}/envelope", subject="The first")
    late = desk.post(f"{path}/envelope", data={**carried, "subject": "The second"})
    assert late.status_code == 409
    assert "Camille changed this" in late.text
    assert issue(issue_id).subject == "The first"


def test_articles_are_moved_excluded_added_and_laid_out(desk: httpx.Client) -> None:
    issue_id = drafted("a", "b", "c")
    path = f"/admin/issues/{issue_id}"
    assert titles(issue_id) == [("a", Layout.LEAD), ("b", Layout.CARD), ("c", Layout.CARD)]
    press(desk, path, f"{path}/articles", article=article_id("c"), act="up")
    assert titles(issue_id) == [("a", Layout.LEAD), ("c", Layout.CARD), ("b", Layout.CARD)]
    press(desk, path, f"{path}/articles", article=article_id("b"), act="layout", layout="lead")
    assert titles(issue_id) == [("b", Layout.LEAD), ("a", Layout.CARD), ("c", Layout.CARD)]
    press(desk, path, f"{path}/articles", article=article_id("a"), act="exclude")
    assert titles(issue_id) == [("b", Layout.LEAD), ("c", Layout.CARD)]
    press(desk, path, f"{path}/articles", article=article_id("a"), act="add")
    assert titles(issue_id) == [("b", Layout.LEAD), ("c", Layout.CARD), ("a", Layout.CARD)]
    press(desk, path, f"{path}/automatic")
    assert titles(issue_id) == [("a", Layout.LEAD), ("b", Layout.CARD), ("c", Layout.CARD)]


def test_the_last_article_cannot_be_excluded(desk: httpx.Client) -> None:
    issue_id = drafted("a")
    path = f"/admin/issues/{issue_id}"
    assert press(desk, path, f"{path}/articles", article=article_id("a"), act="exclude").status_code == 409
    assert titles(issue_id) == [("a", Layout.LEAD)]


def test_the_preview_is_the_mail_in_a_sandbox(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    assert "frame-src 'self'" in desk.get(path).headers["content-security-policy"]
    light, dark = (desk.get(f"{path}/preview?view={view}") for view in ("phone", "dark"))
    policy = light.headers["content-security-policy"]
    assert "sandbox allow-popups" in policy
    assert "allow-scripts" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "prefers-color-scheme" not in light.text + dark.text
    assert "(min-width:0)" in dark.text
    assert "img-src 'none'" in desk.get(f"{path}/preview?view=no-images").headers["content-security-policy"]
    assert "<pre" in desk.get(f"{path}?view=text").text


def test_an_issue_is_scheduled_in_the_newsletters_zone_and_unscheduled(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    press(desk, f"{path}/schedule", f"{path}/schedule", at="2099-07-01T07:00")
    scheduled = issue(issue_id)
    assert scheduled.state == IssueState.SCHEDULED
    assert f"{scheduled.scheduled_at:%Y-%m-%d %H:%M}" == "2099-07-01 05:00"
    press(desk, path, f"{path}/unschedule")
    assert issue(issue_id).state == IssueState.DRAFT


@pytest.mark.parametrize("typed", ["", "soon", "2001-01-01T07:00", "99999-01-01T07:00", "0001-01-01T00:00"])
def test_a_moment_that_cannot_be_is_refused_and_kept(desk: httpx.Client, typed: str) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}/schedule"
    response = press(desk, path, path, at=typed)
    assert response.status_code == 422
    assert field(response, "at") == typed
    assert issue(issue_id).state == IssueState.DRAFT


def test_send_now_makes_the_issue_due_at_once(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    assert "Send to 2 readers" in desk.get(f"{path}/review").text
    assert press(desk, f"{path}/review", f"{path}/send").headers["location"] == f"{path}?done=leaving"
    with transaction() as session:
        assert issues.due_issues(session, now=clock.now()) == [1]


def test_nothing_leaves_that_was_changed_after_the_review(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    reviewed = desk.get(f"{path}/review")
    carried = hidden(reviewed)
    press(desk, path, f"{path}/envelope", subject="By somebody else")
    assert desk.post(f"{path}/send", data=carried).status_code == 409
    assert issue(issue_id).state == IssueState.DRAFT


def test_send_now_works_while_redis_is_away(desk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    reviewed = desk.get(f"{path}/review")
    carried = hidden(reviewed)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    settings.load.cache_clear()
    assert desk.post(f"{path}/send", data=carried).status_code == 303
    assert issue(issue_id).state == IssueState.SCHEDULED


def test_sending_is_paused_resumed_and_cancelled(desk: httpx.Client) -> None:
    issue_id = started()
    path = f"/admin/issues/{issue_id}"
    press(desk, path, f"{path}/pause")
    assert (issue(issue_id).state, issue(issue_id).state_reason) == (IssueState.PAUSED, "paused by Camille")
    press(desk, path, f"{path}/resume")
    assert issue(issue_id).state == IssueState.SENDING
    press(desk, f"{path}/cancel", f"{path}/cancel")
    assert issue(issue_id).state == IssueState.CANCELLED


def test_a_button_pressed_too_late_says_so(desk: httpx.Client) -> None:
    issue_id = started()
    token = field(desk.get("/admin"), "csrf")
    for act in ("send", "schedule", "unschedule", "resume", "reopen"):
        response = desk.post(f"/admin/issues/{issue_id}/{act}", data={"csrf": token, "at": "2099-01-01T07:00"})
        assert response.status_code == 409, act
    assert issue(issue_id).state == IssueState.SENDING


def test_a_failed_issue_tells_why_and_becomes_a_draft_again(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    with transaction() as session:
        issues.fail(session, 1, "the template is broken", now=clock.now())
    assert "the template is broken" in desk.get(path).text
    press(desk, path, f"{path}/reopen")
    assert issue(issue_id).state == IssueState.DRAFT


def test_the_page_of_an_issue_on_its_way_renews_itself(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    assert f'http-equiv="refresh" content="3; url={path}"' in desk.get(f"{path}?done=leaving").text
    assert "2 = 0 accepted + 0 refused + 0 skipped + 0 uncertain + 2 waiting" in desk.get(path).text
    assert "http-equiv" not in desk.get(f"{path}?outcome=accepted").text


def test_a_sent_issue_accounts_for_every_recipient(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    sending.send_due(budget_seconds=10)
    page = desk.get(path).text
    assert "2 recipients, all accounted for" in page
    assert "2 = 2 accepted + 0 refused + 0 skipped + 0 uncertain" in page
    assert "r0@example.org" in page
    assert "250 2.0.0 OK" in page
    assert "http-equiv" not in page
    assert "r0@example.org" not in desk.get(f"{path}?outcome=refused").text


def test_deliveries_are_read_a_page_at_a_time(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    with transaction() as session:
        first = session.execute(select(Delivery.id).order_by(Delivery.id).limit(1)).scalar_one()
    page = desk.get(f"{path}?after={first}").text
    assert "r0@example.org" not in page
    assert "r1@example.org" in page


def test_a_form_that_comes_late_keeps_what_was_typed(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    carried = hidden(desk.get(path))
    press(desk, path, f"{path}/envelope", subject="The first", preview_text="Theirs", introduction="")
    typed = {"subject": "The second", "preview_text": "Mine", "introduction": "Un\n\nDeux"}
    late = desk.post(f"{path}/envelope", data={**carried, **typed})
    assert late.status_code == 409
    assert (field(late, "subject"), field(late, "preview_text"), area(late, "introduction")) == tuple(typed.values())
    assert 'id="saved-preview_text" value="Theirs"' in late.text
    assert desk.post(f"{path}/envelope", data={**hidden(late), **typed}).status_code == 303
    assert issue(issue_id).subject == "The second"


@pytest.mark.parametrize(("name", "limit"), issues.LENGTHS.items())
def test_a_text_that_does_not_fit_is_refused_with_its_limit_and_kept(desk: httpx.Client, name: str, limit: int) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    typed = {"subject": "S", "preview_text": "P", "introduction": "I"}
    refused = press(desk, path, f"{path}/envelope", **{**typed, name: "x" * (limit + 1)})
    assert refused.status_code == 422
    assert f'id="{name}-error">Enter {limit} characters at most' in refused.text
    read = area if name == "introduction" else field
    assert read(refused, name) == "x" * (limit + 1)
    assert issue(issue_id).subject == "Le titre de eau"
    assert press(desk, path, f"{path}/envelope", **{**typed, name: "x" * limit}).status_code == 303


def test_what_was_typed_for_an_issue_that_left_meanwhile_can_be_copied(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    carried = hidden(desk.get(path))
    with transaction() as session:
        issues.start(session, issues.get(session, 1), batch_size=10, now=clock.now())
    late = desk.post(f"{path}/envelope", data={**carried, "subject": "Too <late>"})
    assert late.status_code == 409
    assert area(late, "subject") == "Too <late>"
    assert carried["csrf"] not in late.text


def test_a_broken_template_is_named_with_its_line_where_the_preview_would_be(
    desk: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/admin/issues/{drafted()}"
    (tmp_path / "issue").mkdir()
    (tmp_path / "issue" / "body.html").write_text("<p>\n{{ issue.nothing_such }}</p>")
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(tmp_path))
    settings.load.cache_clear()
    framed = desk.get(f"{path}/preview")
    assert framed.status_code == 422
    assert "issue/body.html, line 2" in framed.text
    assert "frame-ancestors 'self'" in framed.headers["content-security-policy"]
    assert "issue/body.html, line 2" in desk.get(f"{path}?view=text").text
