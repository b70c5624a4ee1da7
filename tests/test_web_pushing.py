"""Articles that a site's own system sends, over HTTP."""

import json
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from mailer import clock
from mailer.db import transaction
from mailer.issues import selection
from mailer.models.content import Article
from mailer.models.intake import ArticleStatus
from mailer.newsroom import newsletters
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter
from tests.web_site import Site, running_site

ARTICLES = "/api/v1/newsletters/courrier/articles"
EAU = {
    "id": "eau",
    "url": "https://site.example/eau?utm_source=x",
    "title": "L’eau du Syr-Daria",
    "content_html": "<p>Один <script>alert(1)</script>текст</p>",
    "tags": ["Kazakhstan"],
    "date_published": "2026-11-24T08:00:00Z",
}


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


@pytest.fixture
def token(site: Site) -> str:
    return mailer("--json", "token", "create", "courrier", "publishing system").value["token"]


def push(site: Site, token: str, *items: object) -> httpx.Response:
    return site.client.post(ARTICLES, json={"items": items}, headers={"Authorization": f"Bearer {token}"})


def stored() -> list[Article]:
    with transaction() as session:
        return list(session.execute(select(Article).order_by(Article.id)).scalars())


def test_what_is_pushed_is_in_the_next_issue(site: Site, token: str) -> None:
    assert push(site, token, EAU).json() == {"new": 1, "changed": 0}
    with transaction() as session:
        chosen = selection.select_articles(session, newsletters.get(session, "courrier"), now=clock.now()).chosen
    (article,) = (one.article for one in chosen)
    assert (article.title, article.canonical_url) == ("L’eau du Syr-Daria", "https://site.example/eau")
    assert "текст" in article.html
    assert "script" not in article.html


def test_the_same_id_again_is_the_same_article(site: Site, token: str) -> None:
    push(site, token, EAU)
    assert push(site, token, EAU).json() == {"new": 0, "changed": 0}
    assert push(site, token, {**EAU, "title": "L’eau, encore"}).json() == {"new": 0, "changed": 1}
    assert [one.title for one in stored()] == ["L’eau, encore"]


def test_a_whole_json_feed_is_taken(site: Site, token: str) -> None:
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "Courrier", "items": [EAU]}
    headers = {"Authorization": f"bearer {token}", "Content-Type": "application/feed+json"}
    assert site.client.post(ARTICLES, content=json.dumps(feed), headers=headers).json()["new"] == 1


def test_what_is_taken_back_is_withdrawn_until_it_is_pushed_again(site: Site, token: str) -> None:
    push(site, token, EAU)
    headers = {"Authorization": f"Bearer {token}"}
    assert site.client.delete(f"{ARTICLES}/eau", headers=headers).json() == {"withdrawn": 1}
    assert site.client.delete(f"{ARTICLES}/eau", headers=headers).json() == {"withdrawn": 0}
    assert stored()[0].status == ArticleStatus.WITHDRAWN
    push(site, token, EAU)
    assert stored()[0].status == ArticleStatus.READY


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "breaks off"),
        (b"[]", "not a JSON Feed"),
        (b'{"items": 3}', "no list"),
        (b'{"items": [3]}', "no list"),
        (b'{"items": [{"id": "eau", "title": "x"}]}', "Article 1 has no title or no"),
        (b'{"items": [{"url": "https://site.example/a"}]}', "Article 1 has no title or no"),
        (b'{"items": [{"url": "javascript:alert(1)", "title": "x"}]}', "Article 1 has no title or no"),
        (b'{"items": ' + b"[" * 100_000, "breaks off|nested too deep"),
        (b"\xff\xfe", "UTF-8"),
        (json.dumps({"items": [EAU] * 501}).encode(), "501 articles; push at most 500"),
    ],
)
def test_what_cannot_be_taken_is_a_problem_and_stores_nothing(site: Site, token: str, body: bytes, words: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = site.client.post(ARTICLES, content=body, headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert any(one in answer.json()["detail"] for one in words.split("|"))
    assert stored() == []


def test_one_bad_article_of_two_stores_neither(site: Site, token: str) -> None:
    assert push(site, token, EAU, {"title": "nowhere"}).status_code == 422
    assert stored() == []


def test_nobody_pushes_without_a_token_of_this_newsletter(site: Site, token: str) -> None:
    with transaction() as session:
        a_newsletter(session, slug="autre")
    other = mailer("--json", "token", "create", "autre", "other").value["token"]
    for secret in ("nonsense", token[:-1]):
        answer = push(site, secret, EAU)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="mailer"')
    # For a token of another newsletter this one does not exist.
    assert push(site, other, EAU).status_code == 404
    assert site.client.post(ARTICLES, json={"items": [EAU]}).status_code == 401
    assert site.client.delete(f"{ARTICLES}/eau").status_code == 401
    assert stored() == []


def test_a_revoked_token_lets_nobody_in_and_none_is_ever_shown_again(site: Site, token: str) -> None:
    push(site, token, EAU)
    shown = mailer("--json", "token", "list")
    (row,) = shown.value
    assert token not in shown.out
    assert row["used_at"] is not None
    assert mailer("token", "revoke", str(row["id"])).code == 0
    assert push(site, token, EAU).status_code == 401
    assert mailer("token", "revoke", str(row["id"])).code == 3
