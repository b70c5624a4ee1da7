"""What was counted, told to the newsroom: on the command line and at the desk."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from mailer import clock
from mailer.counting import tracking
from mailer.counting.tracked import Mark
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import Variant
from mailer.newsroom import newsletters
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import running_desk, sign_in
from tests.factories import a_newsletter, an_article, readers
from tests.web_site import Site

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X)"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


def followed(*links: int, agent: str = PHONE, **switches: bool) -> int:
    """An issue is sent, and these links of it are followed (0: it is opened). Returns its id."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletters.edit(session, newsletter, values=dict(switches), now=now)
        for slug in ("eau", "ville"):
            an_article(session, newsletter, slug, seen=now - timedelta(milliseconds=5))
        readers(session, newsletter, 1)
        issue = issues.draft(session, newsletter, now=now)
        issues.start(session, issue, batch_size=10, now=now)
        variant_id = session.execute(select(Variant.id).where(Variant.issue_id == issue.id)).scalar_one()
        seen = [
            tracking.seen(Mark(variant_id=variant_id, link=one), agent=agent, network=None, is_head=False, now=now)
            for one in links
        ]
        tracking.apply(session, "queue", 1, seen, now=now)
        return issue.id


def test_the_command_line_shows_figures_by_link_with_machines_apart(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session)
    issue_id = followed(0, 2, 2, tracks_clicks=True, tracks_opens=True)
    found = mailer("issue", "stats", str(issue_id), "--json").value
    assert (found["opens"], found["clicks"], found["recipients"]) == (1, 2, 1)
    first = found["links"][0]
    assert (first["url"], first["clicks"]) == ("https://courrier.example/eau", 2)
    assert "by machines 0" in mailer("issue", "stats", str(issue_id)).out


def test_the_command_line_judges_again(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session)
    issue_id = followed(1, agent="curl/8", tracks_clicks=True)
    ran = mailer("issue", "stats", str(issue_id), "--judge-again", "--json")
    assert "0 events are judged otherwise" in ran.err
    assert (ran.value["clicks"], ran.value["clicks_by_machines"]) == (0, 1)
    assert mailer("issue", "stats", "99").code == 3


def test_the_page_of_an_issue_shows_clicks_by_link_only_where_they_are_counted(desk: Site) -> None:
    issue_id = followed(1, 2, 2, tracks_clicks=True)
    page = desk.client.get(f"/admin/issues/{issue_id}").text
    assert "Opens and clicks" in page
    assert page.index("Le titre de eau</a></td><td") < page.index("https://courrier.example</a></td><td")
    with transaction() as session:
        newsletters.edit(
            session, newsletters.get(session, "courrier"), values={"tracks_clicks": False}, now=clock.now()
        )
    # What was counted before stays to be seen.
    assert "Opens and clicks" in desk.client.get(f"/admin/issues/{issue_id}").text


def test_nothing_is_shown_where_nothing_is_counted(desk: Site) -> None:
    assert "Opens and clicks" not in desk.client.get(f"/admin/issues/{followed()}").text


def test_the_desk_switches_what_is_counted(desk: Site) -> None:
    page = desk.client.get("/admin/newsletters/courrier").text
    (token,) = {part.split('"')[0] for part in page.split('name="csrf" value="')[1:]}
    path = "/admin/newsletters/courrier/measuring"
    desk.client.post(path, data={"csrf": token, "tracks_clicks": "yes", "is_indexable": "yes"})
    with transaction() as session:
        found = newsletters.get(session, "courrier")
        switches = (found.tracks_clicks, found.tracks_opens, found.tracks_readers, found.is_indexable)
    assert switches == (True, False, False, True)
    desk.client.post(path, data={"csrf": token})
    with transaction() as session:
        assert not newsletters.get(session, "courrier").tracks_clicks
