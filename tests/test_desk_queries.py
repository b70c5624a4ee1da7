"""No page of the desk asks the database more often because there is more to show."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import event

from mailer import db
from mailer.db import transaction
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.crowded import crowd
from tests.desk import OPEN_PATHS, a_topic, filled, routes, running_desk, sign_in
from tests.factories import a_newsletter

# The first ends only with the issue; the second asks the workers, which takes a second.
LEFT_OUT = {"/admin/issues/{issue_id}/progress", "/admin/settings/system"}


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def counted(desk: httpx.Client, paths: list[str]) -> dict[str, int]:
    """How many statements each page takes; those that do not show are left out."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(db.engine(), "before_cursor_execute", note)
    try:
        counts = {}
        for path in paths:
            asked.clear()
            status = desk.get(path).status_code
            assert status < 500, path
            if status == 200:
                counts[path] = len(asked)
        return counts
    finally:
        event.remove(db.engine(), "before_cursor_execute", note)


def test_no_page_asks_more_often_because_there_is_more(desk: httpx.Client) -> None:
    a_topic()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        crowd(session, newsletter, 0)
        ids = crowd(session, newsletter, 1)
        crowd(session, a_newsletter(session, "autre"), 100)
    shown = [path for method, path in routes() if method == "GET" and path not in OPEN_PATHS | LEFT_OUT]
    paths = [filled(path, **ids) for path in shown]
    # What is read once and kept is not counted.
    counted(desk, paths)
    few = counted(desk, paths)
    assert len(few) > 30
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for number in range(2, 14):
            crowd(session, newsletter, number)
        for number in range(3):
            crowd(session, a_newsletter(session, f"autre-{number}"), 200 + number)
    many = counted(desk, paths)
    assert {path: (few[path], count) for path, count in many.items() if count > few.get(path, count)} == {}
    assert max(many.values()) <= 60
