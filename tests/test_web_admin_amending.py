"""The newsroom's desk: an article of an issue that has left is corrected, put anew or taken out."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from mailer import clock
from mailer.db import transaction
from mailer.delivery import deliveries
from mailer.issues import amending, issues
from mailer.models.content import Article, IssueState, Variant
from mailer.models.corrections import ChangeKind, Correction
from mailer.models.deliveries import Outcome
from tests.conftest import SmtpInbox
from tests.desk import drafted, hidden, issue, press, running_desk, sent_uncertainly, sign_in, speak, started, titles


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def path(issue_id: int, slug: str = "eau") -> str:
    with transaction() as session:
        article_id = session.execute(select(Article.id).where(Article.guid == slug)).scalar_one()
    return f"/admin/issues/{issue_id}/articles/{article_id}"


def act(client: httpx.Client, page: str, how: str, **fields: str) -> httpx.Response:
    return press(client, page, page, how=how, **fields)


def changes(issue_id: int) -> list[tuple[ChangeKind, str, int]]:
    with transaction() as session:
        return [(one.kind, one.by, one.had) for one in amending.history(session, issues.get(session, issue_id))]


def test_an_article_is_taken_out_of_an_issue_that_is_being_sent(desk: httpx.Client) -> None:
    issue_id = started()
    page = desk.get(f"/admin/issues/{issue_id}").text
    assert f'href="{path(issue_id)}"' in page
    answer = act(desk, path(issue_id), "pull", note="Cet article était faux.")
    assert answer.headers["location"] == f"/admin/issues/{issue_id}?done=pulled"
    assert [slug for slug, _ in titles(issue_id)] == ["train", "aral"]
    assert changes(issue_id) == [(ChangeKind.PULLED, "Camille", 0)]
    page = desk.get(f"/admin/issues/{issue_id}").text
    assert "Camille took out:" in page
    assert "Le titre de eau" in page
    assert "Cet article était faux." in page


def test_a_sent_article_is_corrected_and_the_history_says_how_many_had_it(desk: httpx.Client) -> None:
    issue_id = sent_uncertainly()
    answer = act(desk, path(issue_id), "correct", note="Il s’agit de l’Aral.")
    assert answer.headers["location"] == f"/admin/issues/{issue_id}?done=corrected"
    assert changes(issue_id) == [(ChangeKind.CORRECTED, "Camille", 2)]
    assert "2 readers got it before" in desk.get(f"/admin/issues/{issue_id}").text
    assert "Il s’agit de l’Aral." in desk.get(f"/i/{issue_id}").text


def test_the_corrected_article_is_put_in_for_the_rest(desk: httpx.Client) -> None:
    issue_id = started()
    with transaction() as session:
        session.execute(select(Article).where(Article.guid == "eau")).scalar_one().title = "Le titre corrigé"
    assert act(desk, path(issue_id), "replace", note="Le titre était faux.").status_code == 303
    with transaction() as session:
        newest = session.execute(select(Variant.html).order_by(Variant.id.desc()).limit(1)).scalar_one()
    assert "Le titre corrigé" in newest


def test_looking_changes_nothing(desk: httpx.Client) -> None:
    issue_id = started()
    for method in (desk.get, desk.head):
        assert method(path(issue_id)).status_code == 200
    assert (changes(issue_id), issue(issue_id).revision) == ([], 0)


def test_a_note_that_can_not_be_is_asked_again_with_what_was_typed(desk: httpx.Client) -> None:
    issue_id = started()
    page = act(desk, path(issue_id), "replace", note="  ", subject="Un autre objet")
    assert page.status_code == 422
    assert "Write what was wrong" in page.text
    assert "Un autre objet" in page.text
    page = act(desk, path(issue_id), "correct", note="{{ name }} est faux")
    assert "looks like a placeholder" in page.text
    assert "{{ name }} est faux" in page.text
    with transaction() as session:
        assert session.execute(select(Correction.id)).first() is None


def test_the_subject_of_the_rest_can_be_changed(desk: httpx.Client) -> None:
    issue_id = started()
    act(desk, path(issue_id), "pull", note="", subject="Cette semaine")
    assert issue(issue_id).subject == "Cette semaine"


def test_what_the_checks_find_in_the_new_mails_stops_it_unless_it_is_let_pass(desk: httpx.Client) -> None:
    issue_id = started()
    page = act(desk, path(issue_id), "pull", note="", subject="{{ oubli }}")
    assert page.status_code == 422
    assert "Nothing was changed" in page.text
    assert issue(issue_id).revision == 0
    fields = {"how": "pull", "note": "", "subject": "{{ oubli }}", "despite_checks": "1"}
    assert desk.post(path(issue_id), data={**hidden(page), **fields}).status_code == 303


def test_a_draft_has_no_such_page_and_an_issue_without_the_article_says_so(desk: httpx.Client) -> None:
    draft = drafted()
    assert desk.get(path(draft)).status_code == 409
    with transaction() as session:
        issues.start(session, issues.get(session, draft), batch_size=100, now=clock.now())
    assert act(desk, path(draft), "pull", note="").status_code == 303
    assert act(desk, path(draft), "pull", note="").status_code == 404
    assert desk.get(f"/admin/issues/{draft}/articles/999999").status_code == 404


def test_a_reader_with_nothing_left_is_skipped_and_the_page_says_why_in_french(desk: httpx.Client) -> None:
    issue_id = started(reader_count=1)
    with transaction() as session:
        claim = deliveries.claim(session, owner="here.1", lease_seconds=60, now=clock.now())
        assert claim is not None
        ids = deliveries.unsettled_ids(session, claim)
        words = "an article was pulled, and nothing else was in it"
        settled = [deliveries.Settled(delivery_id=one, outcome=Outcome.SKIPPED, reply=words) for one in ids]
        deliveries.record(session, claim, settled, [], now=clock.now())
    speak("fr")
    assert (
        "un article a été retiré, et le message ne contenait rien d’autre" in desk.get(f"/admin/issues/{issue_id}").text
    )
    assert issue(issue_id).state == IssueState.SENDING


def test_the_page_is_in_french_too(desk: httpx.Client) -> None:
    issue_id = started()
    speak("fr")
    page = desk.get(path(issue_id)).text
    assert "Retirer ou corriger un article" in page
    assert "Que faut-il faire\u00a0?" in page
