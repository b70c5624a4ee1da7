"""Readers and editors act in the middle of a send: who leaves gets nothing more, and what was frozen stays as it was."""

import contextlib
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from mailer import clock
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.audience import EndedReason, Subscriber, Subscription
from mailer.models.content import Article, IssueState
from mailer.models.deliveries import Delivery
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article
from tests.faults import service as whole
from tests.faults.service import Service, check

# A mail begun within this time of a reader's leaving was on its way already.
GRACE_SECONDS = 1.0
ROOT = Path(__file__).parents[2]


def test_who_unsubscribes_during_the_send_gets_nothing_more(service: Service) -> None:
    service.begin()
    leavers = every_third_reader()
    with transaction() as session:
        for subscription_id in leavers.values():
            subscriptions.end(session, subscription_id, EndedReason.ONE_CLICK, origin=Origin(), now=clock.now())
    left_at = time.monotonic()
    check(service)
    assert service.begun_after(left_at + GRACE_SECONDS, list(leavers)) == 0
    assert service.begun_after(left_at + GRACE_SECONDS) > 0


def test_who_is_erased_during_the_send_gets_nothing_more(service: Service) -> None:
    service.begin()
    erased = every_third_reader()
    with transaction() as session:
        session.execute(delete(Subscriber).where(Subscriber.address.in_(erased)))
    erased_at = time.monotonic()
    check(service, absent=len(erased))
    assert service.begun_after(erased_at + GRACE_SECONDS, list(erased)) == 0


def test_who_subscribes_during_the_send_gets_the_next_issue(service: Service) -> None:
    service.begin()
    with transaction() as session:
        for n in range(20):
            subscriptions.add(
                session,
                service.newsletter(session),
                f"late{n}@example.org",
                language="fr",
                proof="test",
                now=clock.now(),
            )
    check(service)
    assert not [address for address in service.server.recipients if address.startswith("late")]


def test_what_is_edited_during_the_send_changes_no_mail(service: Service) -> None:
    service.begin()
    with transaction() as session:
        newsletter = service.newsletter(session)
        newsletter.name, newsletter.introduction, newsletter.brand_color = "Autre nom", "Autre texte", "#AA0000"
        session.execute(update(Article).values(title="Autre titre", excerpt="Autre résumé"))
        with pytest.raises(issues.IssueStateForbids):
            issues.edit(
                session,
                issues.get(session, service.issue_id),
                subject="Autre",
                preview_text="",
                introduction="",
                now=clock.now(),
            )
    check(service)
    assert len(whole.one_text(service)) == 1


def test_pausing_stops_and_resuming_goes_on(service: Service) -> None:
    service.begin()
    paused_at = pause(service)
    time.sleep(2.5)
    resumed_at = resume(service)
    service.wait_for_progress()
    check(service)
    assert service.begun_after(paused_at + GRACE_SECONDS, until=resumed_at) == 0


def test_twenty_pauses_and_resumptions_then_a_cancellation_account_for_everybody(service: Service) -> None:
    service.begin()
    dice = random.Random(20)
    for _ in range(20):
        with contextlib.suppress(issues.IssueStateForbids):  # it may be so already
            dice.choice((pause, resume))(service)
        time.sleep(dice.choice((0, 0.05, 0.2)))
    with transaction() as session:
        issues.cancel(session, issues.get(session, service.issue_id), now=clock.now())
    cancelled_at = time.monotonic()
    check(service, ends_as=IssueState.CANCELLED)
    assert service.begun_after(cancelled_at + GRACE_SECONDS) == 0


def test_a_template_that_fails_for_one_language_stops_that_issue_alone(
    installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tmp_path / "templates" / "issue" / "body.txt"
    body.parent.mkdir(parents=True)
    shipped = (ROOT / "templates" / "email" / "issue" / "body.txt").read_text()
    body.write_text(shipped + "{% if newsletter.language == 'en' %}{{ nowhere }}{% endif %}")
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(tmp_path / "templates"))
    with whole.running(tmp_path, monkeypatch) as service:
        broken_id = an_issue_with_an_english_reader()
        whole.wait_for(lambda: state_of(broken_id) == IssueState.FAILED)
        service.begin()
        check(service)
        with transaction() as session:
            assert "nowhere" in (issues.get(session, broken_id).state_reason or "")
            queued = select(func.count()).where(Delivery.issue_id == broken_id)
            assert session.execute(queued).scalar_one() == 0


def an_issue_with_an_english_reader() -> int:
    """Schedule now an issue of another newsletter, with one French and one English reader."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session, "herald")
        an_article(session, newsletter, "water", seen=now)
        newsletters.feeds(session, newsletter)[0].next_read_at = now.replace(year=now.year + 1)
        for language in ("fr", "en"):
            address = f"{language}@example.org"
            subscriptions.add(session, newsletter, address, language=language, proof="test", now=now)
        issue = issues.draft(session, newsletter, now=clock.now())
        issues.schedule_now(session, issue, now=now)
        return issue.id


def every_third_reader() -> dict[str, int]:
    """Return subscription ids by address, of readers spread over all batches."""
    with transaction() as session:
        rows: Sequence[tuple[str, int]] = [
            (row[0], row[1])
            for row in session.execute(
                select(Subscriber.address, Subscription.id)
                .join(Subscription, Subscription.subscriber_id == Subscriber.id)
                .where(Subscription.id % 3 == 0)
            )
        ]
    return dict(rows)


def pause(service: Service) -> float:
    with transaction() as session:
        issues.pause(session, issues.get(session, service.issue_id), "test", now=clock.now())
    return time.monotonic()


def resume(service: Service) -> float:
    now = time.monotonic()
    with transaction() as session:
        issues.resume(session, issues.get(session, service.issue_id), now=clock.now())
    return now


def state_of(issue_id: int) -> IssueState:
    with transaction() as session:
        return issues.get(session, issue_id).state
