"""The OpenAPI document is true: what it allows is never a failure of ours, and what comes back is as it says."""

import json
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import text

from mailer import clock, settings
from mailer.articles import topics
from mailer.db import transaction
from mailer.issues import issues
from mailer.newsroom import webhooks
from mailer.web import api
from mailer.web.api import reference
from mailer.web.app import create_app
from tests.api import Program, make_token
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# They ask servers outside.
OUTSIDE = {"test_issue", "check_issue"}
FEW, MANY = 6, 150
# Addresses of things that are there; one reader and one webhook are only there to be removed.
THERE = {
    "slug": "hebdo",
    "topic": "eau",
    "subscriber_id": 129,
    "subscription_id": 129,
    "issue_id": 129,
    "article_id": 130,
}
THERE |= {"webhook_id": 129, "call_id": 129, "feed_id": 129, "token_id": 1}
REMOVED = {"erase_subscriber": 131, "remove_webhook": 130}


@pytest.fixture
def app(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """A newsletter “hebdo”, as in the examples, whose things have the numbers of the examples."""
    monkeypatch.setenv("MAILER_API_CALLS_PER_MINUTE", "1000000")
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "100000")
    settings.load.cache_clear()
    now = clock.now()
    with transaction() as session:
        for table in ("issues", "articles", "subscribers", "subscriptions", "webhooks", "feeds", "webhook_calls"):
            session.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 128)"))
        # Out of reach, so that it is not revoked.
        session.execute(text("SELECT setval(pg_get_serial_sequence('access_tokens', 'id'), 4000000000000000)"))
        newsletter = a_newsletter(session, "hebdo")
        topics.put(session, newsletter, "eau", names={"fr": "Eau"}, rules={"categories": ["eau"]})
        for slug in ("eau", "ble", "fer"):
            an_article(session, newsletter, slug, seen=now - timedelta(hours=1))
        readers(session, newsletter, 3)
        issues.draft(session, newsletter, now=now)
        made = webhooks.create(session, webhooks.Wanted(url="https://crm.example/hook"), by="tests", now=now)
        webhooks.create(session, webhooks.Wanted(url="https://crm.example/other"), by="tests", now=now)
        webhooks.test(session, made, now=now)
    return create_app()


def ask_everything(app: FastAPI, examples: int) -> dict[str, set[int]]:
    """Ask each operation so many times with what its schema allows, and with what it does not; check every answer."""
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    headers = {"Authorization": f"Bearer {make_token()}"}
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        if name in OUTSIDE:
            continue
        seen = statuses.setdefault(name, set())
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except ValueError:
                continue
            is_positive = mode == GenerationMode.POSITIVE
            there = {key: REMOVED.get(name, value) for key, value in THERE.items() if key != "slug"} | {"slug": "hebdo"}
            _run(strategy, examples if is_positive else examples // 2, headers, (there if is_positive else {}, seen))
    return statuses


def _run(strategy: Any, examples: int, headers: dict[str, str], about: tuple[dict[str, Any], set[int]]) -> None:
    there, seen = about

    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: schemathesis.Case) -> None:
        case.path_parameters |= {name: there[name] for name in case.path_parameters or {} if name in there}
        answer = case.call(headers=headers)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()


def test_no_operation_fails_or_answers_otherwise_than_it_says(app: FastAPI) -> None:
    statuses = ask_everything(app, FEW)
    assert len(statuses) > 55
    succeeding = {name for name, seen in statuses.items() if min(seen) < 300}
    # Most operations were not only refused.
    assert len(succeeding) > 30, sorted(set(statuses) - succeeding)


@pytest.mark.slow
def test_no_operation_fails_however_often_it_is_asked(app: FastAPI) -> None:
    ask_everything(app, MANY)


def test_the_document_is_valid_openapi_3_1_and_complete(environment: None) -> None:
    document = reference.describe(api.operations)
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for path, item in document["paths"].items():
        for method, one in item.items():
            where = f"{method} {path}"
            assert one["description"], where
            assert one["x-scope"] in str(one["security"]), where
            assert "curl" in one["x-codeSamples"][0]["source"], where
            assert {"401", "403", "429"} <= set(one["responses"]), where
            first = next(iter(one["responses"].values()))
            assert method == "delete" or first["content"]["application/json"]["schema"], where
            assert "requestBody" not in one or _examples(document, one), where


def test_every_description_of_a_parameter_and_of_a_field_is_a_sentence_or_nothing(environment: None) -> None:
    assert "TODO" not in json.dumps(reference.describe(api.operations))


def test_the_examples_are_taken_as_they_stand(app: FastAPI) -> None:
    program, document = Program(make_token(), app), reference.describe(api.operations)
    asked = (
        "/newsletters/{slug}/feeds",
        "/newsletters/{slug}/subscribers",
        "/newsletters/{slug}/articles",
        "/webhooks",
    )
    for path in asked:
        one = document["paths"][f"/api/v1{path}"]["post"]
        for example in _examples(document, one):
            answer = program.post(path.replace("{slug}", "hebdo"), example)
            assert answer.status_code < 300, (path, answer.text)


def test_the_reference_page_shows_every_operation_and_every_problem(app: FastAPI) -> None:
    page = Program("", app).get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    for item in reference.describe(api.operations)["paths"].values():
        for one in item.values():
            assert f'id="{one["operationId"]}"' in page.text
    assert 'id="problem-unauthorized"' in page.text


def _examples(document: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema.get("examples", [])
