"""The page of an issue on its way: what it shows, how it renews itself for many at once, and what it tells afterwards."""

import asyncio
import functools
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import event

from mailer import clock, db
from mailer.db import transaction
from mailer.issues import issues
from mailer.newsroom import newsletters
from mailer.web import pages
from mailer.web.admin import live, watching
from tests.conftest import SmtpInbox
from tests.desk import drafted, running_desk, sign_in, speak
from tests.watched import an_address, leave, on_its_way, readers_at, sent_at
from tests.web_site import Site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


def ended(count: int = 4, *, refused: int = 1) -> list[int]:
    """Issues that were sent, a week from each other, the last an hour ago."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        readers_at(session, newsletter, 20)
        ids = []
        for number in range(count, 0, -1):
            at = now - timedelta(hours=1, days=7 * (number - 1))
            ids.append(sent_at(session, newsletter, at, refused=refused).id)
        return ids


def test_the_page_tells_how_much_how_long_with_whom_and_what_servers_say(site: Site) -> None:
    page = site.client.get(f"/admin/issues/{on_its_way()}").text
    for said in (
        "<title>(30%) Sending issue 1 ",
        "18 of 60 sent",
        "about 1 min left · done around ",
        "no limit set",
        "gmail.example",
        "550 5.1.1 … unknown",
        "The address does not exist.",
        "Sending began.",
        "60 = 18 accepted + 2 refused + 0 skipped + 0 uncertain + 40 waiting",
    ):
        assert said in page, said


def test_in_french_too(site: Site) -> None:
    issue_id = on_its_way()
    speak("fr")
    page = site.client.get(f"/admin/issues/{issue_id}").text
    assert "<title>(30\u00a0%) Envoi du numéro 1 " in page
    assert "18 sur 60 envoyés" in page
    assert "L’adresse n’existe pas." in page


def test_a_stall_is_told_with_the_last_reply(site: Site) -> None:
    page = site.client.get(f"/admin/issues/{on_its_way(seconds=90)}").text
    assert "No server has accepted anything since" in page
    assert "The last reply: 550 5.1.1 … unknown" in page


def test_without_scripts_the_page_asks_again_by_itself(site: Site) -> None:
    issue_id = on_its_way()
    page = site.client.get(f"/admin/issues/{issue_id}").text
    _, _, head = page.partition("<noscript>")
    assert head.lstrip().startswith(f'<meta http-equiv="refresh" content="3; url=/admin/issues/{issue_id}">')


def test_the_stream_tells_each_tick_and_ends_with_the_sending(site: Site) -> None:
    issue_id = on_its_way(readers=20, accepted=10)
    with transaction() as session:
        issues.cancel(session, issues.get(session, issue_id), now=clock.now())
    told = []
    with site.client.stream("GET", f"/admin/issues/{issue_id}/progress") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        for line in stream.iter_lines():
            if line.startswith("data: ") and line != "data: {}":
                told.append(json.loads(line[6:]))
                with transaction() as session:
                    issues.finish(session, issue_id, now=clock.now())
            if line == "event: over":
                break
    assert told[-1]["is_over"]
    assert "<section" in told[0]["html"]


def test_asking_once_tells_the_same(site: Site) -> None:
    told = site.client.get(f"/admin/issues/{on_its_way()}/progress.json").json()
    assert (told["percent"], told["state"], told["is_over"]) == (30, "sending", False)
    assert told["say"].startswith("18 of 60 sent, ")
    assert "18 of 60 sent" in told["html"]


def test_an_issue_that_does_not_exist_has_no_stream(site: Site) -> None:
    for name in ("progress", "progress.json"):
        assert site.client.get(f"/admin/issues/999/{name}").status_code == 404


def test_a_draft_has_nothing_to_watch(site: Site) -> None:
    issue_id = drafted()
    assert site.client.get(f"/admin/issues/{issue_id}/progress").text.endswith("event: over\ndata: {}\n\n")


def test_many_who_watch_cost_the_database_no_more_than_one(site: Site) -> None:
    issue_id = on_its_way()
    asked = []

    def count(*arguments: object) -> None:
        asked.append(arguments[2])

    async def watch(watched: live.Live, people: int) -> list[str]:
        make = functools.partial(watching.told, "en")
        return await asyncio.gather(*(watched.text(issue_id, "en", make) for _ in range(people)))

    event.listen(db.engine(), "before_cursor_execute", count)
    try:
        costs = []
        for people in (1, 100):
            watched = live.Live()
            asked.clear()
            texts = asyncio.run(watch(watched, people))
            costs.append(len(asked))
            assert len(set(texts)) == 1
            watched.close()
    finally:
        event.remove(db.engine(), "before_cursor_execute", count)
    assert costs[0] == costs[1]


def test_who_comes_when_too_many_watch_is_told_to_ask(site: Site) -> None:
    issue_id = on_its_way()

    async def read(watched: live.Live) -> list[str]:
        return [one async for one in watching.follow(watched, issue_id, "en", "{}")]

    watched = live.Live(most_watchers=0)
    assert asyncio.run(read(watched)) == ["event: full\ndata: {}\n\n"]


def test_the_page_costs_no_more_statements_with_more_readers(site: Site) -> None:
    costs = []
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        readers_at(session, newsletter, 3)
        few = sent_at(session, newsletter, clock.now() - timedelta(days=2)).id
        readers_at_more(session, newsletter)
        many = sent_at(session, newsletter, clock.now() - timedelta(days=1)).id
    asked: list[object] = []
    count = lambda *arguments: asked.append(arguments[2])  # noqa: E731
    event.listen(db.engine(), "before_cursor_execute", count)
    for issue_id in (few, many):
        asked.clear()
        assert site.client.get(f"/admin/issues/{issue_id}").status_code == 200
        costs.append(len(asked))
    event.remove(db.engine(), "before_cursor_execute", count)
    assert costs[0] == costs[1]


def readers_at_more(session: object, newsletter: object) -> None:
    readers_at(session, newsletter, 90, providers=[f"p{number}.example" for number in range(7)])  # type: ignore[arg-type]


def test_did_a_reader_get_it(site: Site) -> None:
    issue_id = ended(1)[0]
    with transaction() as session:
        address = an_address(session, issues.get(session, issue_id))
    answers = {
        address.upper(): "Accepted on ",
        "nobody@example.org": "nobody@example.org is not among the recipients.",
        "no address": "That is no whole address.",
    }
    for asked, answer in answers.items():
        assert answer in site.client.get(f"/admin/issues/{issue_id}", params={"reader": asked}).text, asked


def test_the_report_stands_beside_what_is_usual(site: Site) -> None:
    *before, last = ended(5)
    with transaction() as session:
        issue_ = issues.get(session, last)
        leave(session, issue_, 2, at=clock.now() - timedelta(minutes=30))
        leave(session, issue_, 1, at=clock.now() - timedelta(minutes=20), complained=True)
    page = site.client.get(f"/admin/issues/{last}").text
    assert "usual: the median of the 4 issues before" in page
    figures = page[page.index('id="report"') :]
    for label, number, part in (("Unsubscribes", "2", "11%"), ("Complaints", "1", "5.3%"), ("Refused", "1", "5%")):
        shown = figures[figures.index(label) :]
        assert f'<p class="figure num">{number}</p><p class="small num flush">{part}' in shown[:300], label
    assert "What is usual shows after three issues." in site.client.get(f"/admin/issues/{before[0]}").text


def test_the_script_is_small_and_needs_nothing_else() -> None:
    script = (pages.FOLDER / "static" / "progress.js").read_bytes()
    assert len(script) < 4096
    assert b"eval" not in script
