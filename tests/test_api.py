"""The REST API: what programs see and do, in the words of the pages."""

import json
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import event, func, select

from mailer import clock, db, settings
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.audience import SignupRequest, Subscription, SubscriptionState
from mailer.models.audit import AuditEntry
from mailer.models.content import Issue, IssueState
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters, reports, webhooks
from mailer.web.app import create_app
from tests.api import Program, make_token, refused
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers


@pytest.fixture
def app(installation: SmtpInbox) -> FastAPI:
    """Two newsletters; the first has three articles, two readers and a draft, issue 1."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session, cron="0 7 * * FRI")
        a_newsletter(session, "autre", name="Autre")
        for slug in ("eau", "ble", "fer"):
            an_article(session, newsletter, slug, seen=now - timedelta(hours=1))
        readers(session, newsletter, 2)
        issues.draft(session, newsletter, now=now)
    return create_app()


@pytest.fixture
def program(app: FastAPI) -> Program:
    return Program(make_token(), app)


def state(issue_id: int = 1) -> IssueState:
    with transaction() as session:
        return session.get_one(Issue, issue_id).state


def count(table: type) -> int:
    with transaction() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


def test_newsletters_are_listed_and_shown(program: Program) -> None:
    listed = program.get("/newsletters").json()["data"]
    assert [one["slug"] for one in listed] == ["autre", "courrier"]
    shown = program.get("/newsletters/courrier").json()
    assert (shown["readers"], shown["cron"], shown["is_paused"]) == (2, "0 7 * * FRI", False)
    assert shown["next_issue_at"] is not None


def test_a_newsletter_is_changed_in_part(program: Program) -> None:
    answer = program.ask("PATCH", "/newsletters/courrier", {"is_paused": True, "cron": None, "reply_to": "a@b.example"})
    assert (answer.json()["is_paused"], answer.json()["cron"], answer.json()["reply_to"]) == (True, None, "a@b.example")
    assert answer.json()["name"] == "Le Courrier d’Asie centrale"


@pytest.mark.parametrize(
    "change",
    [{"slug": "x"}, {"id": 7}, {"created_at": None}, {"name": None}, {"cron": "every friday"}, {"max_articles": 0}],
)
def test_what_is_no_setting_is_refused_and_nothing_changes(program: Program, change: dict[str, object]) -> None:
    refused(program.ask("PATCH", "/newsletters/courrier", {**change, "description": "new"}), 422, "invalid")
    assert program.get("/newsletters/courrier").json()["description"] == "L’actualité de l’Asie centrale"


def test_feeds_are_added_once_and_removed(program: Program) -> None:
    added = program.post("/newsletters/courrier/feeds", {"url": "https://site.example/feed"})
    assert added.status_code == 201
    again = program.post("/newsletters/courrier/feeds", {"url": "https://site.example/feed"})
    assert again.json()["id"] == added.json()["id"]
    assert program.ask("DELETE", f"/newsletters/courrier/feeds/{added.json()['id']}").status_code == 204
    refused(program.ask("DELETE", f"/newsletters/courrier/feeds/{added.json()['id']}"), 404, "not_found")


def test_topics_are_put_ranked_and_removed(program: Program) -> None:
    for slug in ("eau", "ble"):
        rules = {"names": {"fr": slug.title()}, "categories": [slug]}
        assert program.ask("PUT", f"/newsletters/courrier/topics/{slug}", rules).status_code == 200
    ranked = program.ask("PUT", "/newsletters/courrier/topic-order", {"topics": ["ble"]}).json()["data"]
    assert [one["slug"] for one in ranked] == ["ble", "eau"]
    assert program.ask("DELETE", "/newsletters/courrier/topics/ble").status_code == 204
    assert [one["slug"] for one in program.get("/newsletters/courrier/topics").json()["data"]] == ["eau"]


def test_articles_are_held_released_withdrawn_and_pinned(program: Program) -> None:
    path = "/newsletters/courrier/articles"
    first = program.get(path).json()["data"][0]
    assert program.post(f"{path}/{first['id']}/hold").json()["status"] == "held"
    assert [one["id"] for one in program.get(f"{path}?status=held").json()["data"]] == [first["id"]]
    assert program.post(f"{path}/{first['id']}/release").json()["status"] == "ready"
    assert program.post(f"{path}/{first['id']}/withdraw").json()["status_code"] == "withdrawn_by_hand"
    until = (clock.now() + timedelta(days=2)).isoformat()
    assert program.ask("PUT", f"{path}/{first['id']}/pin", {"until": until}).json()["pinned_until"]
    assert len(program.get(f"{path}?pinned=true").json()["data"]) == 1
    assert program.ask("DELETE", f"{path}/{first['id']}/pin").json()["pinned_until"] is None


def test_an_article_of_another_newsletter_is_not_there(program: Program) -> None:
    refused(program.post("/newsletters/autre/articles/1/hold"), 404, "not_found")


def test_an_issue_is_drafted_edited_arranged_and_previewed(program: Program) -> None:
    issue = program.get("/issues/1").json()
    ids = [one["id"] for one in issue["articles"]]
    wanted = {"articles": [{"id": ids[1], "layout": "lead"}, {"id": ids[0]}], "version": issue["version"]}
    arranged = program.ask("PUT", "/issues/1/articles", wanted).json()
    assert [(one["id"], one["layout"]) for one in arranged["articles"]] == [(ids[1], "lead"), (ids[0], "card")]
    edited = program.ask("PATCH", "/issues/1", {"subject": "L’eau", "version": arranged["version"]}).json()
    assert (edited["subject"], edited["preview_text"]) == ("L’eau", issue["preview_text"])
    seen = program.get("/issues/1/preview").json()
    assert seen["subject"] == "L’eau"
    assert "<html" in seen["html"]
    assert len(program.post("/issues/1/automatic").json()["articles"]) == 3


def test_what_somebody_else_changed_is_not_overwritten(program: Program) -> None:
    old = program.get("/issues/1").json()["version"]
    program.ask("PATCH", "/issues/1", {"subject": "First"})
    refused(program.ask("PATCH", "/issues/1", {"subject": "Second", "version": old}), 409, "changed_meanwhile")
    assert program.get("/issues/1").json()["subject"] == "First"


def test_an_issue_holds_only_articles_that_it_may_have(program: Program) -> None:
    told = refused(program.ask("PUT", "/issues/1/articles", {"articles": [{"id": 99}]}), 422, "invalid")
    assert told["errors"] == [{"field": "body.articles.0.id", "message": "The issue can’t take this article."}]


def test_an_issue_is_written_by_hand_and_duplicated(program: Program) -> None:
    written = program.post("/newsletters/courrier/issues", {"subject": "Spécial", "body": "Bonjour,\n\nvoici."})
    assert (written.status_code, written.json()["body"]) == (201, "Bonjour,\n\nvoici.")
    copied = program.post(f"/issues/{written.json()['id']}/duplicate").json()
    assert (copied["subject"], copied["id"] > written.json()["id"]) == ("Spécial", True)


def test_the_next_issue_is_told_with_reasons(program: Program) -> None:
    told = program.get("/newsletters/courrier/next").json()
    assert len(told["articles"]) == 3
    assert all(one["why"] for one in told["articles"])
    assert program.get("/newsletters/courrier/next?as=r0@example.org").json()["aside"] is None


def test_an_issue_is_scheduled_and_unscheduled(program: Program) -> None:
    at = clock.now() + timedelta(days=1)
    assert program.post("/issues/1/schedule", {"at": at.isoformat()}).json()["state"] == "scheduled"
    assert program.post("/issues/1/unschedule").json()["state"] == "draft"
    refused(program.post("/issues/1/unschedule"), 409, "state_forbids")
    past = clock.now() - timedelta(hours=1)
    refused(program.post("/issues/1/schedule", {"at": past.isoformat()}), 409, "state_forbids")
    # Without a zone nobody knows when that is.
    refused(program.post("/issues/1/schedule", {"at": "2099-01-01T07:00:00"}), 422, "invalid")


def test_an_issue_is_sent_paused_resumed_and_cancelled(program: Program) -> None:
    assert program.post("/issues/1/send", {}).status_code == 202
    with transaction() as session:
        issues.start(session, issues.get(session, 1), batch_size=10, now=clock.now())
    paused = program.post("/issues/1/pause").json()
    assert (paused["state"], paused["state_reason"]) == ("paused", "paused by token “a program”")
    assert program.post("/issues/1/resume").json()["state"] == "sending"
    assert program.post("/issues/1/cancel").json()["state"] == "cancelled"
    figures = program.get("/issues/1/stats").json()
    assert (figures["recipients"], figures["waiting"], figures["clicks"]) == (2, 2, None)


def test_without_readers_nothing_is_sent(program: Program) -> None:
    with transaction() as session:
        an_article(session, newsletters.get(session, "autre"), "x", seen=clock.now())
    made = program.post("/newsletters/autre/issues", {}).json()
    refused(program.post(f"/issues/{made['id']}/send", {}), 409, "nothing_to_send")


def test_what_the_checks_find_holds_an_issue_unless_its_code_is_allowed(program: Program) -> None:
    program.ask("PATCH", "/issues/1", {"introduction": "Bonjour {{ TODO }}, [INSERT NAME] lorem ipsum"})
    told = refused(program.post("/issues/1/send", {}), 409, "checks_failed")
    codes = sorted({one["code"] for one in told["errors"]})
    assert program.get("/issues/1/checks").json()["blocks"]
    assert program.post("/issues/1/send", {"allow": codes}).status_code == 202


def test_deliveries_are_masked_for_who_may_not_see_readers(app: FastAPI, program: Program) -> None:
    with transaction() as session:
        issues.start(session, issues.get(session, 1), batch_size=10, now=clock.now())
    whole = program.get("/issues/1/deliveries").json()["data"]
    assert [one["address"] for one in whole] == ["r0@example.org", "r1@example.org"]
    masked = Program(make_token(Scope.READ), app).get("/issues/1/deliveries").text
    assert "r0@example.org" not in masked


def test_a_test_goes_out_by_the_real_path(program: Program, installation: SmtpInbox) -> None:
    told = program.post("/issues/1/test", {"addresses": ["camille@example.org"]}).json()["data"]
    assert told[0]["verdict"] == "accepted"
    assert installation.wait_for(1)[0].recipients == ("camille@example.org",)


def test_adding_a_reader_only_ever_asks_them(program: Program) -> None:
    answers = [
        program.post("/newsletters/courrier/subscribers", {"address": address, "language": "fr"})
        for address in ("new@example.org", "r0@example.org")
    ]
    assert [(one.status_code, one.content) for one in answers] == [(202, b'{"status":"check_inbox"}')] * 2
    assert count(SignupRequest) == 2
    with transaction() as session:
        states = session.execute(select(Subscription.state)).scalars().all()
    assert states == [SubscriptionState.CONFIRMED] * 2


@pytest.mark.parametrize("field", ["state", "status", "confirmed_at", "consent", "is_admin", "ip", "network", "proof"])
def test_nobody_is_confirmed_by_the_api(program: Program, field: str) -> None:
    body = {"address": "new@example.org", field: "confirmed"}
    refused(program.post("/newsletters/courrier/subscribers", body), 422, "invalid")
    refused(program.ask("PATCH", "/subscriptions/1", {field: "confirmed"}), 422, "invalid")


def test_sign_ups_have_the_limits_of_the_form(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "2")
    settings.load.cache_clear()
    for number in range(2):
        assert (
            program.post("/newsletters/courrier/subscribers", {"address": f"n{number}@a{number}.example"}).status_code
            == 202
        )
    answer = program.post("/newsletters/courrier/subscribers", {"address": "n3@a3.example"})
    refused(answer, 429, "too_many_requests")
    assert int(answer.headers["retry-after"]) > 0


def test_readers_are_searched_shown_and_changed(program: Program) -> None:
    found = program.get("/subscribers?q=r0@example.org").json()["data"]
    assert [(one["address"], one["state"]) for one in found] == [("r0@example.org", "confirmed")]
    person = program.get(f"/subscribers/{found[0]['subscriber_id']}").json()
    assert [one["what"] for one in person["timeline"]] == ["imported", "requested"]
    changed = program.ask("PATCH", f"/subscriptions/{found[0]['id']}", {"rhythm": "weekly", "language": "en"}).json()
    assert (changed["rhythm"], changed["language"], changed["state"]) == ("weekly", "en", "confirmed")
    described = program.ask("PATCH", f"/subscribers/{person['id']}", {"attributes": {"name": "Léa", "city": "Osh"}})
    assert (described.json()["name"], described.json()["attributes"]) == ("Léa", {"city": "Osh"})


def test_a_reader_is_unsubscribed_exported_and_erased(program: Program) -> None:
    ended = program.post("/subscriptions/1/unsubscribe").json()
    assert (ended["state"], ended["ended_reason"]) == ("ended", "removed")
    kept = program.get(f"/subscribers/{ended['subscriber_id']}/export").json()["tables"]
    assert kept["subscribers"][0]["address"] == "r0@example.org"
    assert program.ask("DELETE", f"/subscribers/{ended['subscriber_id']}").status_code == 204
    refused(program.get(f"/subscribers/{ended['subscriber_id']}"), 404, "not_found")


def test_a_list_is_read_page_by_page(program: Program) -> None:
    seen, path = [], "/newsletters/courrier/articles?limit=2"
    first = program.get(path)
    assert first.headers["link"].endswith('; rel="next"')
    seen += first.json()["data"]
    following = program.get(f"{path}&cursor={first.json()['next']}")
    seen += following.json()["data"]
    assert len({one["id"] for one in seen}) == 3
    assert following.json()["next"] is None
    assert "link" not in following.headers


def test_a_cursor_that_we_did_not_make_for_this_list_is_refused(program: Program) -> None:
    cursor = program.get("/newsletters/courrier/articles?limit=2").json()["next"]
    for wrong in ("1", "AAAA", cursor[:-2], "é" * 10):
        refused(program.get(f"/newsletters/courrier/articles?cursor={wrong}"), 422, "invalid")
    refused(program.get(f"/issues?cursor={cursor}"), 422, "invalid")


def test_every_change_is_in_the_audit_log(program: Program) -> None:
    program.ask("PATCH", "/issues/1", {"subject": "Secret words"})
    entry = program.get("/audit").json()["data"][0]
    assert (entry["actor"], entry["actor_name"], entry["action"]) == ("token", "a program", "api.edit_issue")
    assert entry["objects"] == {"issue_id": "1"}
    assert "Secret" not in json.dumps(entry)
    refused(program.ask("PATCH", "/issues/1", {"subject": ""}), 422, "invalid")
    assert count(AuditEntry) == 1


def test_a_message_is_a_problem_whatever_went_wrong(program: Program) -> None:
    refused(program.get("/nothing"), 404, "not_found")
    refused(program.ask("PUT", "/issues"), 405, "method_not_allowed")
    refused(program.post("/issues/1/send", b"{"), 400, "malformed")
    refused(program.post("/issues/1/send", b"{}", Content_Type="text/plain"), 415, "media_type")
    refused(program.post("/issues/1/send", b" " * (8 * 1024 * 1024 + 1)), 413, "too_large")
    refused(program.get("/issues/0"), 404, "not_found")
    refused(program.get("/issues?limit=201"), 422, "invalid")
    refused(program.get("/issues?colour=red"), 422, "invalid")
    refused(program.ask("PATCH", "/issues/1", {"subject": "a\0b"}), 422, "invalid")
    refused(program.ask("PATCH", "/issues/1", b'{"subject": "\\ud800"}'), 422, "invalid")


def test_reports_tell_what_the_desk_shows(program: Program) -> None:
    with transaction() as session:
        reports.count(session, now=clock.now())
    report = program.get("/newsletters/courrier/report?days=14").json()
    assert report["readers"][-1]["readers"] == 2
    assert (report["rhythms"], report["languages"]) == ({"each": 2}, {"fr": 2})
    assert len(report["weeks"]) == 3
    with transaction() as session:
        issues.start(session, issues.get(session, 1), batch_size=10, now=clock.now())
    told = program.get("/issues/1/report").json()
    assert (told["accepted"], len(told["clicks_by_hour"]), told["usual"]) == (0, 48, None)


def test_no_list_asks_the_database_more_often_because_it_is_longer(app: FastAPI, program: Program) -> None:
    paths = [
        "/newsletters",
        "/issues",
        "/subscribers",
        "/newsletters/courrier/articles",
        "/webhooks",
        "/tokens",
        "/audit",
    ]
    few = [statements(program, path) for path in paths]
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for number in range(8):
            readers(session, a_newsletter(session, f"n{number}", name=f"N{number}"), 3)
            an_article(session, newsletter, f"more-{number}", seen=clock.now())
            issues.draft(session, newsletter, now=clock.now())
            webhooks.create(session, webhooks.Wanted(url="https://crm.example/"), by="tests", now=clock.now())
    for _ in range(5):
        make_token()
        program.ask("PATCH", "/issues/1", {"subject": "Again"})
    assert dict(zip(paths, [statements(program, path) for path in paths], strict=True)) == dict(
        zip(paths, few, strict=True)
    )


def statements(program: Program, path: str) -> int:
    """How many SQL statements a request takes."""
    program.get(path)
    seen: list[str] = []
    engine = db.engine()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert program.get(path).status_code == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(seen)
