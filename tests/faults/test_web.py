"""PostgreSQL or the web process dies while readers open, follow and leave: no answer fails and nothing answered is lost."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from mailer import clock, links, settings
from mailer.cli.stack import Stack
from mailer.counting import tracked
from mailer.db import transaction
from mailer.embedded.processes import Supervisor, free_port, wait_for_port
from mailer.issues import issues
from mailer.links import Purpose
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.content import Variant
from mailer.models.tracking import Event
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers
from tests.faults import service as whole
from tests.faults.conftest import Machine

READERS = 60
PHONE = {"User-Agent": "Mozilla/5.0 (iPhone)"}


class Web:
    """The web server as the product starts it, and what it was asked."""

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        self.supervisor, self.port = supervisor, free_port()
        self.stack = Stack(environment={}, folder=folder, port=self.port)
        self.clicks = self.failures = 0
        self.left: set[int] = set()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=PHONE, timeout=5)

    def start(self) -> None:
        """Start it, and return once it answers."""
        self.supervisor.start(self.stack.web())
        wait_for_port("127.0.0.1", self.port)

    def ask(self, variant_id: int, seconds: float) -> None:
        """Follow links, open, and leave, one reader after the other."""
        ends_at = time.monotonic() + seconds
        path = tracked.click_url(variant_id, 1, "https://courrier.example/eau").removeprefix(links.url(""))
        pixel = f"/o/{links.sign(Purpose.OPEN, variant_id)}.gif"
        while time.monotonic() < ends_at:
            reader = len(self.left) + 1
            if reader <= READERS:
                answer = self.client.post(f"/u/{links.sign(Purpose.ONE_CLICK, reader, 1)}/one-click")
                self.failures += answer.status_code != 200
                self.left.add(reader)
            self.failures += self.client.get(path).status_code != 302
            self.failures += self.client.get(pixel).status_code != 200
            self.clicks += 1
            time.sleep(0.01)


@pytest.fixture
def variant_id(installation: SmtpInbox) -> int:
    """A variant of an issue to READERS readers, in which everything is counted."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session, tracks_clicks=True, tracks_opens=True)
        an_article(session, newsletter, "eau", seen=now)
        readers(session, newsletter, READERS)
        issues.start(session, issues.draft(session, newsletter, now=clock.now()), batch_size=500, now=clock.now())
        return session.execute(select(Variant.id).where(Variant.issue_id.is_not(None))).scalar_one()


@pytest.fixture
def web(variant_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server that runs."""
    with Supervisor() as supervisor:
        made = Web(supervisor, tmp_path)
        monkeypatch.setenv("MAILER_PUBLIC_URL", f"http://localhost:{made.port}")
        settings.load.cache_clear()
        made.start()
        with made.client:
            yield made


def ended() -> int:
    with transaction() as session:
        chosen = select(func.count()).where(Subscription.state == SubscriptionState.ENDED)
        return session.execute(chosen).scalar_one()


def events(link: int) -> int:
    with transaction() as session:
        return session.execute(select(func.count()).select_from(Event).where(Event.link == link)).scalar_one()


@pytest.mark.parametrize("seconds", [1.5, pytest.param(30.0, marks=pytest.mark.slow)])
def test_postgresql_is_away(web: Web, variant_id: int, machine: Machine, seconds: float) -> None:
    web.ask(variant_id, 0.3)
    machine.kill("postgres", signal.SIGQUIT)
    web.ask(variant_id, seconds)
    machine.start_again("postgres")
    whole.wait_for(lambda: ended() == len(web.left), seconds=2)
    web.ask(variant_id, 0.2)
    whole.wait_for(lambda: (ended(), events(1), events(0)) == (len(web.left), web.clicks, web.clicks), seconds=5)
    assert web.failures == 0
    assert len(web.left) > 20


def test_the_web_process_is_killed_while_postgresql_is_away(web: Web, variant_id: int, machine: Machine) -> None:
    machine.kill("postgres", signal.SIGQUIT)
    web.ask(variant_id, 0.5)
    web.supervisor.end("web", signal.SIGKILL)
    machine.start_again("postgres")
    assert ended() == 0
    web.supervisor.start_again("web")
    wait_for_port("127.0.0.1", web.port)
    whole.wait_for(lambda: ended() == len(web.left), seconds=5)
    assert web.failures == 0
    with transaction() as session:
        assert newsletters.count_readers(session, 1) == READERS - len(web.left)
