"""Who gets in by the API: every operation with every scope, other newsletters, revoked tokens, requests asked twice."""

import re
import threading
from datetime import timedelta
from typing import Final

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import select, text

from mailer import clock, settings
from mailer.db import engine, transaction
from mailer.issues import issues
from mailer.models.content import Issue
from mailer.models.tokens import AccessToken, KeptAnswer, Scope
from mailer.newsroom import answers, tokens, webhooks
from mailer.web.api import access
from mailer.web.api.route import ApiRoute, ScopeUndeclared
from mailer.web.app import create_app
from tests.api import BASE, Program, make_token, refused
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers
from tests.web_site import fingerprint

OPEN: Final = {f"{BASE}/openapi.json", f"{BASE}/docs"}
# What each operation is asked with; everything of the newsletter “courrier” has the number 1.
PATHS: Final = {"slug": "courrier", "topic": "eau", "guid:path": "none"}
# Operations that a token for one newsletter may use on no object of another: they have none in their path.
LISTS: Final = {
    "list_newsletters",
    "list_issues",
    "list_subscribers",
    "list_webhooks",
    "add_webhook",
    "list_tokens",
    "list_audit_log",
}


@pytest.fixture
def app(installation: SmtpInbox) -> FastAPI:
    """“courrier” with an article, an issue, a reader and a webhook, and “autre” with nothing."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session)
        a_newsletter(session, "autre", name="Autre")
        an_article(session, newsletter, "eau", seen=now - timedelta(hours=1))
        readers(session, newsletter, 1)
        issues.draft(session, newsletter, now=now)
        wanted = webhooks.Wanted(url="https://crm.example/hook", newsletter=newsletter)
        webhooks.create(session, wanted, by="tests", now=now)
        webhooks.test(session, webhooks.get(session, 1), now=now)
    return create_app()


def operations(app: FastAPI) -> list[tuple[str, str, ApiRoute]]:
    """Every operation as method, path below /api/v1 with ids filled in, and route."""
    found = []
    for one in iter_route_contexts(app.routes):
        path = getattr(one, "path", "") or ""
        if path.startswith(BASE) and path not in OPEN:
            filled = re.sub(r"\{([a-z_:]+)\}", lambda part: PATHS.get(part[1], "1"), path)
            found += [(method, filled.removeprefix(BASE), one.original_route) for method in sorted(one.methods)]
    return found


def test_every_operation_declares_one_scope(app: FastAPI) -> None:
    listed = operations(app)
    assert len(listed) > 55
    assert all(isinstance(route, ApiRoute) for _, _, route in listed)
    assert {route.scope for _, _, route in listed} == set(Scope)


def test_an_operation_without_a_scope_can_not_be_built() -> None:
    router = APIRouter(route_class=ApiRoute)

    def everything() -> None:
        pass

    with pytest.raises(ScopeUndeclared):
        router.get("/all-of-it")(everything)


def test_without_a_token_nothing_answers(app: FastAPI) -> None:
    nobody = Program("", app)
    for method, path, _ in operations(app):
        answer = nobody.ask(method, path, {} if method != "GET" else None)
        refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_allows_its_own_operations_and_no_other(app: FastAPI, scope: Scope) -> None:
    program = Program(make_token(scope), app)
    for method, path, route in operations(app):
        if route.scope != scope:
            refused(program.ask(method, path, {} if method != "GET" else None), 403, "scope_missing")
        elif method == "GET":
            assert program.get(path).status_code in (200, 404), path


def test_nothing_is_done_for_who_may_not(app: FastAPI) -> None:
    program = Program(make_token(Scope.READ), app)
    program.get("/newsletters")
    before = fingerprint()
    for method, path, route in operations(app):
        if route.scope != Scope.READ:
            program.ask(method, path, {} if method != "GET" else None)
    assert fingerprint() == before


def test_what_belongs_to_another_newsletter_does_not_exist(app: FastAPI) -> None:
    """With every scope, but for “autre” only."""
    # Number 1; a token could revoke itself.
    make_token(newsletter="courrier")
    program = Program(make_token(newsletter="autre"), app)
    program.get("/newsletters")
    before = fingerprint()
    bodies = {
        "change_newsletter": {"is_paused": True},
        "add_feed": {"url": "https://site.example/feed"},
        "put_topic": {"names": {"fr": "Eau"}, "categories": ["eau"]},
        "rank_topics": {"topics": []},
        "pin_article": {"until": "2099-01-01T00:00:00Z"},
        "push_articles": {"items": []},
        "arrange_issue": {"articles": [{"id": 1}]},
        "test_issue": {"addresses": ["a@example.org"]},
        "schedule_issue": {"at": "2099-01-01T00:00:00Z"},
        "describe_subscriber": {"attributes": {"name": "x"}},
        "add_subscriber": {"address": "new@example.org"},
    }
    for method, path, route in operations(app):
        name = route.endpoint.__name__
        if name in LISTS:
            continue
        answer = program.ask(method, path, bodies.get(name, {}) if method != "GET" else None)
        if name in ("export_subscriber", "erase_subscriber"):
            refused(answer, 403, "token_too_narrow")
        else:
            refused(answer, 404, "not_found")
    assert fingerprint() == before


def test_lists_hold_only_what_the_token_may_see(app: FastAPI) -> None:
    program = Program(make_token(newsletter="autre"), app)
    assert [one["slug"] for one in program.get("/newsletters").json()["data"]] == ["autre"]
    for path in ("/issues", "/subscribers", "/webhooks", "/audit"):
        assert program.get(path).json()["data"] == [], path
    assert [one["newsletter"] for one in program.get("/tokens").json()["data"]] == ["autre"]
    refused(program.post("/webhooks", {"url": "https://crm.example/"}), 403, "token_too_narrow")
    refused(program.get("/issues?newsletter=courrier"), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/newsletters/",
        "/Newsletters",
        "//newsletters",
        "/newsletters%2f",
        "/newsletters/courrier%2F..",
        "/./newsletters/x/y",
    ],
)
def test_no_spelling_of_an_address_gets_around_the_token(app: FastAPI, path: str) -> None:
    assert Program("", app).get(path).status_code in (401, 404)


def test_no_header_makes_another_method_of_it(app: FastAPI) -> None:
    program = Program(make_token(Scope.READ), app)
    program.get("/newsletters")
    before = fingerprint()
    for header in ("X_HTTP_Method_Override", "X_Method_Override", "_method"):
        program.get("/issues/1", **{header: "DELETE"})
    assert fingerprint() == before
    assert program.ask("HEAD", "/issues/1").status_code == 405


def test_a_token_in_the_address_is_never_accepted(app: FastAPI) -> None:
    token = make_token()
    for name in ("token", "access_token", "api_key", "authorization"):
        refused(Program("", app).get(f"/newsletters?{name}={token}"), 401, "unauthorized")
        refused(Program(token, app).get(f"/newsletters?{name}={token}"), 422, "invalid")


def test_a_revoked_or_expired_token_lets_nobody_in_from_the_next_request_on(app: FastAPI) -> None:
    program = Program(make_token(), app)
    assert program.get("/newsletters").status_code == 200
    assert program.ask("DELETE", "/tokens/1").status_code == 204
    refused(program.get("/newsletters"), 401, "unauthorized")
    with transaction() as session:
        wanted = tokens.Wanted(name="x", scopes=[Scope.READ], expires_at=clock.now() + timedelta(hours=1))
        made, secret = tokens.create(session, wanted, by="tests", now=clock.now())
        made.expires_at = clock.now() - timedelta(seconds=1)
    refused(Program(secret, app).get("/newsletters"), 401, "unauthorized")


def test_of_a_token_only_a_hash_and_its_beginning_are_kept(app: FastAPI) -> None:
    secret = make_token()
    with transaction() as session:
        kept = session.execute(select(AccessToken)).scalar_one()
        rows = session.execute(text("SELECT access_tokens::text FROM access_tokens")).scalars().all()
    assert secret.startswith(kept.prefix)
    assert secret not in "".join(rows)
    assert len(secret) - len(kept.prefix) > 30


def test_calls_beyond_the_limit_are_told_when_to_come_back(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_API_CALLS_PER_MINUTE", "3")
    settings.load.cache_clear()
    program, other = Program(make_token(), app), Program(make_token(), app)
    seen = [program.get("/newsletters") for _ in range(5)]
    # Five calls may fall into two windows.
    assert 429 in {one.status_code for one in seen} or seen[-1].headers["ratelimit"].startswith('"token";r=')
    assert seen[0].headers["ratelimit-policy"] == '"token";q=3;w=60'
    late = next((one for one in seen if one.status_code == 429), None)
    if late is not None:
        refused(late, 429, "too_many_requests")
        assert 0 < int(late.headers["retry-after"]) <= 60
    assert other.get("/newsletters").status_code == 200


def test_the_same_request_with_a_key_is_done_once(app: FastAPI) -> None:
    program = Program(make_token(), app)
    first = program.post("/issues/1/duplicate", Idempotency_Key="k1")
    again = program.post("/issues/1/duplicate", Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    with transaction() as session:
        assert len(session.execute(select(Issue.id)).scalars().all()) == 2


def test_a_key_belongs_to_one_request_and_one_token(app: FastAPI) -> None:
    program, other = Program(make_token(), app), Program(make_token(), app)
    program.post("/newsletters/courrier/feeds", {"url": "https://a.example/feed"}, Idempotency_Key="k1")
    answer = program.post("/newsletters/courrier/feeds", {"url": "https://b.example/feed"}, Idempotency_Key="k1")
    refused(answer, 422, "key_reused")
    mine = other.post("/newsletters/courrier/feeds", {"url": "https://b.example/feed"}, Idempotency_Key="k1")
    assert (mine.status_code, "idempotency-replayed" in mine.headers) == (201, False)


def test_a_request_that_failed_can_be_repeated_with_its_key(app: FastAPI) -> None:
    program = Program(make_token(), app)
    refused(program.post("/issues/1/unschedule", Idempotency_Key="k1"), 409, "state_forbids")
    program.post("/issues/1/schedule", {"at": "2099-01-01T00:00:00Z"})
    assert program.post("/issues/1/unschedule", Idempotency_Key="k1").json()["state"] == "draft"


def test_two_at_the_same_time_with_one_key_do_it_once(app: FastAPI) -> None:
    program = Program(make_token(), app)
    asked = ("POST", "/issues/1/duplicate", None, {"Idempotency_Key": "k1"})
    statuses = sorted(one.status_code for one in program.ask_at_once([asked] * 8))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    with transaction() as session:
        assert len(session.execute(select(Issue.id)).scalars().all()) == 2


def test_while_a_request_is_answered_its_key_is_in_use(app: FastAPI) -> None:
    program = Program(make_token(), app)
    with transaction() as session:
        # Another process is at it.
        answers.find(session, answers.Asked(token_id=1, key="k1", request_hash=b""), now=clock.now())
        refused(program.post("/issues/1/duplicate", Idempotency_Key="k1"), 409, "key_in_use")


def test_after_a_crash_between_the_change_and_its_answer_there_is_neither(app: FastAPI) -> None:
    """The connection is cut before the commit, as a killed process leaves it."""
    program = Program(make_token(), app)
    found = threading.Event()

    def cut() -> None:
        query = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        )
        while not found.is_set():
            with engine().connect() as connection:
                if connection.execute(query).scalars().all():
                    found.set()

    with engine().connect() as holder:
        # Holds the request when all is done but the keeping of its answer.
        holder.execute(text("LOCK TABLE audit_entries IN ACCESS EXCLUSIVE MODE"))
        killer = threading.Thread(target=cut)
        killer.start()
        answer = program.post("/issues/1/duplicate", Idempotency_Key="k1")
        found.set()
        killer.join()
        holder.rollback()
    assert answer.status_code in (500, 503)
    with transaction() as session:
        assert session.execute(select(Issue.id)).scalars().all() == [1]
        assert session.execute(select(KeptAnswer)).scalars().all() == []
    assert program.post("/issues/1/duplicate", Idempotency_Key="k1").status_code == 201


def test_a_secret_that_an_answer_held_is_not_in_the_database(app: FastAPI) -> None:
    program = Program(make_token(), app)
    wanted = {"url": "https://crm.example/"}
    secret = program.post("/webhooks", wanted, Idempotency_Key="k1").json()["secret"]
    with transaction() as session:
        (sealed,) = session.execute(select(KeptAnswer.sealed)).scalars().all()
    assert secret.encode() not in sealed
    assert program.post("/webhooks", wanted, Idempotency_Key="k1").json()["secret"] == secret


def test_kept_answers_are_forgotten_after_a_day(app: FastAPI) -> None:
    program = Program(make_token(), app)
    program.post("/issues/1/duplicate", Idempotency_Key="k1")
    with transaction() as session:
        answers.forget(session, now=clock.now() + answers.LIFETIME + timedelta(seconds=1))
        assert session.execute(select(KeptAnswer)).scalars().all() == []


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_can_not_be_kept_is_refused(app: FastAPI, key: str) -> None:
    program = Program(make_token(), app)
    refused(program.post("/issues/1/duplicate", Idempotency_Key=key), 422, "invalid")


def test_the_scope_in_the_description_is_the_one_that_is_asked_for(app: FastAPI) -> None:
    for _, _, route in operations(app):
        assert route.openapi_extra[access.SCOPE] == route.scope.value
