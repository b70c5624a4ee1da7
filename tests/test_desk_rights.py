"""Who may use which route of the desk: the matrix of roles and routes, made from the router itself."""

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import Depends
from fastapi.routing import iter_route_contexts

from mailer import clock
from mailer.db import transaction
from mailer.models.accounts import Account, AccountRight, Role
from mailer.models.content import IssueState
from mailer.newsroom import accounts, newsletters, rights
from mailer.web.admin import screens, session
from mailer.web.app import create_app
from tests.conftest import SmtpInbox
from tests.desk import OPEN_PATHS, drafted, filled, issue, running_desk
from tests.factories import a_newsletter
from tests.web_server import browser
from tests.web_site import Site

# Below these, things are found among their newsletter's own.
BEHIND = {"topic", "article_id", "feed_id"}
# Of no newsletter: accounts and sessions, and what only those use who may so at all newsletters.
OF_NONE = {"account_id", "name", "token", "server_id", "segment", "step", "table", "todo", "token_id", "webhook_id"}


def asked() -> dict[tuple[str, str], session.Require | None]:
    """What each method and path of the desk asks for; None: nothing."""
    found = {}
    for route in iter_route_contexts(create_app().routes):
        if route.path is not None and route.path.startswith("/admin"):
            assert isinstance(route.original_route, screens.DeskRoute), f"{route.path} is no DeskRoute"
            for method in route.methods or ():
                found[(method, route.path)] = route.original_route.asks_for
    return found


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        drafted()
        yield running


def somebody(site: Site, role: Role | None, *, at: dict[str, Role] | None = None) -> httpx.Client:
    """A browser in which somebody of that role is signed in."""
    now, name = clock.now(), f"{role}-{sorted(at or {})}"
    with transaction() as database:
        account = Account(email=f"{name}@x.example", name=name, language="en", role=role, created_at=now)
        database.add(account)
        database.flush()
        for slug, held in (at or {}).items():
            newsletter_id = newsletters.get(database, slug).id
            database.add(AccountRight(account_id=account.id, newsletter_id=newsletter_id, role=held))
        token = accounts.open_session(database, account.id, now=now)
    return browser(site.url, Cookie=f"{session.COOKIE}={token}")


def csrf(client: httpx.Client) -> dict[str, str]:
    return {"csrf": session.csrf_token(client.headers["cookie"].partition("=")[2])}


def test_a_route_without_a_role_can_not_be_made() -> None:
    def forgotten() -> None:
        """Change something."""

    def twice(desk: session.Writer, other: session.Owner) -> None:
        """Change something."""

    for endpoint in (forgotten, twice):
        with pytest.raises(session.RoleUndeclared, match="exactly one role"):
            screens.DeskRoute("/x", endpoint, methods=["POST"])
    assert screens.DeskRoute("/x", forgotten, dependencies=[session.ANYONE]).asks_for is None
    with pytest.raises(session.RoleUndeclared):
        screens.DeskRoute("/x", twice, dependencies=[Depends(session.anyone)])


def test_whatever_changes_something_asks_for_more_than_looking(environment: None) -> None:
    found = asked()
    assert len(found) > 80
    for (method, path), required in found.items():
        if method == "POST" and required is not None:
            assert required.role != Role.VIEWER, f"POST {path} would always be refused"
        if required is None:
            assert path in OPEN_PATHS, path


@pytest.mark.parametrize("role", [Role.VIEWER, Role.WRITER, Role.EDITOR, Role.ADMIN])
def test_each_role_is_refused_what_is_above_it(site: Site, role: Role) -> None:
    refused = 0
    with somebody(site, role) as client:
        for (method, path), required in asked().items():
            if method == "HEAD" or required is None or required.role is None or required.role.rank <= role.rank:
                continue
            response = client.request(method, filled(path), data=csrf(client) if method == "POST" else None)
            assert response.status_code == 403, (method, path, response.status_code)
            refused += 1
    assert refused > 1


def test_of_each_parameter_of_a_path_it_is_known_whose_it_is(environment: None) -> None:
    named = {name for _, path in asked() for name in re.findall(r"\{(\w+)", path)}
    assert named <= {*rights.FINDERS, *BEHIND, *OF_NONE}
    for _, path in asked():
        if BEHIND & set(re.findall(r"\{(\w+)", path)):
            assert set(re.findall(r"\{(\w+)", path)) & set(rights.FINDERS), f"{path} is about nobody's thing"


def test_a_viewer_reads_what_is_there_to_look_at(site: Site) -> None:
    with somebody(site, Role.VIEWER) as client:
        for path in ("/admin", "/admin/issues", "/admin/issues/1", "/admin/newsletters/courrier"):
            assert client.get(path).status_code == 200, path


def test_a_viewer_is_shown_no_button_that_changes_anything(site: Site) -> None:
    newsletter = "/admin/newsletters/courrier"
    pages = [
        "/admin",
        "/admin/issues",
        "/admin/issues/1",
        "/admin/newsletters",
        "/admin/articles",
        "/admin/subscribers",
    ]
    pages += [newsletter, *(f"{newsletter}/{one}" for one in ("next", "articles", "feeds", "topics")), "/admin/forms"]
    offered = {}
    with somebody(site, Role.VIEWER) as client:
        for path in pages:
            forms = re.findall(r'<form method="post" action="([^"]+)"', client.get(path).text)
            found = [one for one in forms if one not in ("/admin/sign-out", "/admin/look")]
            if found:
                offered[path] = found
    assert offered == {}


def test_a_foreign_newsletter_is_not_there(site: Site) -> None:
    with transaction() as database:
        a_newsletter(database, "autre")
    with somebody(site, None, at={"autre": Role.ADMIN}) as client:
        for (method, path), required in asked().items():
            if required is None or not any(f"{{{name}}}" in path for name in ("slug", "issue_id")):
                continue
            response = client.request(method, filled(path), data=csrf(client) if method == "POST" else None)
            assert response.status_code == 404, (method, path, response.status_code)
        assert client.get("/admin/newsletters/autre").status_code == 200
        # Nor in lists.
        for path in ("/admin", "/admin/issues", "/admin/newsletters", "/admin/forms"):
            assert "courrier/" not in client.get(path).text.replace("courrier.example", ""), path
            assert "/admin/issues/1" not in client.get(path).text


def test_a_right_at_one_newsletter_holds_there_and_nowhere_else(site: Site) -> None:
    with transaction() as database:
        a_newsletter(database, "autre")
    with somebody(site, Role.VIEWER, at={"autre": Role.ADMIN}) as client:
        rhythm = {**csrf(client), "cron": "", "timezone": "UTC"}
        assert client.post("/admin/newsletters/autre/schedule", data=rhythm).status_code == 303
        assert client.post("/admin/newsletters/courrier/schedule", data=rhythm).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/admin/issues/1/cancel/",
        "/admin//issues/1/cancel",
        "//admin/issues/1/cancel",
        "/ADMIN/issues/1/cancel",
        "/admin/Issues/1/Cancel",
        "/admin/issues%2F1%2Fcancel",
        "/admin/issues/1%2Fcancel",
        "/admin/x/../issues/1/cancel",
        "/admin/issues/1/cancel;x",
        "/admin/issues/1/cancel%00",
        "/admin/issues/%31/cancel",
    ],
)
def test_no_spelling_of_a_path_gets_around_the_role(site: Site, path: str) -> None:
    with somebody(site, Role.WRITER) as client:
        for headers in ({}, {"X-HTTP-Method-Override": "POST"}, {"X-Original-URL": "/admin/issues/1/cancel"}):
            for method in ("POST", "GET", "HEAD", "PUT", "DELETE", "PATCH"):
                data = {**csrf(client), "_method": "POST"} if method != "GET" else None
                response = client.request(method, path, data=data, headers=headers)
                # Whoever may look may see the question, however its address is spelled.
                is_question = method in ("GET", "HEAD") and response.status_code == 200
                assert response.status_code in (403, 404, 405) or is_question, (method, response.status_code)
    assert issue(1).state == IssueState.DRAFT
