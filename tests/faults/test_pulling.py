"""An article is pulled in the middle of a send, and then the workers are killed: nobody is doubled, nobody lost."""

import os
import signal
import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from mailer import clock
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import issues, pulling
from mailer.issues.amending import Act
from mailer.models.choices import VariantArticle
from mailer.models.content import Article
from mailer.models.deliveries import Delivery, Outcome
from tests.factories import an_article
from tests.faults.service import Service, check
from tests.faults.test_workers import CONNECTIONS, processes, wait_until_gone

# A mail begun within this time of the pull was on its way already: workers look twice a second.
NOTICED_SECONDS = 1.5


def pulled(service: Service) -> float:
    """Send an issue of two articles and take the first out of it on the way. Returns when, on the monotonic clock."""
    with transaction() as session:
        an_article(session, service.newsletter(session), "barrage", seen=clock.now() - timedelta(seconds=30))
    service.begin()
    with transaction() as session:
        issue = issues.get(session, service.issue_id)
        dam = session.execute(select(Article.id).where(Article.guid == "barrage")).scalar_one()
        pulling.pull(session, issue, dam, Act(by="Camille", now=clock.now()))
    return time.monotonic()


def check_who_has_it(service: Service, pulled_at: float) -> None:
    """Compare what the ledger says about the pulled article with what the server really took."""
    had = {who for who, content in service.server.accepted if b"barrage" in content}
    late = [who for at, who in service.begun if at > pulled_at + NOTICED_SECONDS and who in had]
    assert 0 < len(had) < len(service.server.accepted)
    assert not late, "begun with the pulled article long after the pull"
    with transaction() as session:
        holding = (
            select(VariantArticle.variant_id)
            .join(Article, Article.id == VariantArticle.article_id)
            .where(Article.guid == "barrage")
        )
        old = set(session.execute(select(Delivery.id).where(Delivery.variant_id.in_(holding))).scalars())
        lines = ledger.log(session, service.issue_id, outcome=None, after_id=0, limit=1000)
    said = {one.address for one in lines if one.delivery_id in old and one.outcome == Outcome.ACCEPTED}
    maybe = {one.address for one in lines if one.delivery_id in old and one.outcome == Outcome.UNCERTAIN}
    assert said <= had <= said | maybe


def test_a_worker_process_is_killed_right_after_an_article_was_pulled(service: Service) -> None:
    pulled_at = pulled(service)
    os.kill(processes(service)[0], signal.SIGKILL)
    service.wait_for_progress()
    check(service, uncertain=CONNECTIONS)
    check_who_has_it(service, pulled_at)


@pytest.mark.slow
def test_the_whole_worker_is_killed_right_after_an_article_was_pulled(service: Service) -> None:
    pulled_at = pulled(service)
    children = processes(service)
    service.supervisor.end("worker", signal.SIGKILL)
    for child in children:
        wait_until_gone(child)
    service.supervisor.start(service.stack.worker())
    service.wait_for_progress()
    check(service, uncertain=2 * CONNECTIONS)
    check_who_has_it(service, pulled_at)
