"""Webhooks: what happened is told, signed, tried again, and never lost; never to where it must not go."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
import time_machine
from sqlalchemy import select, text, update

from mailer import clock, scheduling, settings, upkeep
from mailer.audience import leaving, readers, signups, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.audience import EndedReason
from mailer.models.content import Newsletter
from mailer.models.desk import DeskEvent, DeskMail
from mailer.models.webhooks import (
    CallState,
    CallTrouble,
    Webhook,
    WebhookCall,
    WebhookEvent,
    WebhookMessage,
    WebhookOff,
)
from mailer.newsroom import calling, newsletters, webhooks
from mailer.newsroom.webhooks import Wanted
from tests import factories
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, a_signup, an_article
from tests.hooks import Hook, listening_hook


@pytest.fixture
def hook(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """A newsletter with two readers and an article, and a server that may be called."""
    monkeypatch.setenv("MAILER_WEBHOOK_PRIVATE_NETWORKS", "127.0.0.0/8")
    settings.load.cache_clear()
    with transaction() as session:
        newsletter = a_newsletter(session, desk_addresses=["desk@courrier.example"])
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(hours=1))
        factories.readers(session, newsletter, 2)
    with listening_hook() as listening:
        yield listening


def add(hook: Hook, *events: WebhookEvent, slug: str | None = None) -> str:
    """A webhook; returns its secret."""
    with transaction() as session:
        newsletter = newsletters.get(session, slug) if slug else None
        made = webhooks.create(
            session, Wanted(url=hook.url, events=events, newsletter=newsletter), by="t", now=clock.now()
        )
        return webhooks.secret(made)


def end_first() -> None:
    with transaction() as session:
        subscriptions.end(session, 1, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())


def told(hook: Hook) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in hook.calls]


def call(number: int = 1) -> WebhookCall:
    with transaction() as session:
        return session.get_one(WebhookCall, number)


def webhook() -> Webhook:
    with transaction() as session:
        return session.execute(select(Webhook)).scalar_one()


def later(moment: timedelta) -> time_machine.travel:
    return time_machine.travel(clock.now() + moment, tick=True)


def test_a_call_is_signed_as_standard_webhooks_has_it(hook: Hook) -> None:
    secret = add(hook)
    end_first()
    assert calling.call_due(budget_seconds=5) == 1
    ((headers, body),) = hook.calls
    verified = standardwebhooks.Webhook(secret).verify(body, headers)
    assert (verified["type"], verified["data"]["address"]) == ("subscriber.unsubscribed", "r0@example.org")
    assert verified["data"]["reason"] == "unsubscribed"
    assert call().state == CallState.ANSWERED
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body + b" ", headers)


def test_what_happens_to_readers_is_told(hook: Hook) -> None:
    add(hook)
    now = clock.now()
    with transaction() as session:
        asked = a_signup(session, newsletters.get(session, "courrier"), now=now)
        signups.handle(session, asked, now=now)
        subscription = subscriptions.get(session, 3)
        signups.confirm(session, subscription, asked_at=now, origin=Origin(), now=now)
        subscriptions.end(session, 1, EndedReason.BOUNCED, origin=Origin(), now=now)
        leaving.end(session, [leaving.Left(subscription_id=2, at=now, origin=Origin())])
    calling.call_due(budget_seconds=5)
    assert [(one["type"], one["data"]["address"], one["data"]["reason"]) for one in told(hook)] == [
        ("subscriber.confirmed", "lea@example.org", None),
        ("subscriber.bounced", "r0@example.org", "bounced"),
        ("subscriber.unsubscribed", "r1@example.org", "one_click"),
    ]


def test_the_way_of_an_issue_is_told(hook: Hook) -> None:
    add(hook)
    now = clock.now()
    with transaction() as session:
        issue = issues.draft(session, newsletters.get(session, "courrier"), now=now)
        issues.schedule(session, issue, at=now + timedelta(hours=1), now=now)
        issues.start(session, issue, batch_size=10, now=now)
        issues.pause(session, issue, "by us", now=now)
        issues.resume(session, issue, now=now)
        issues.cancel(session, issue, now=now)
    calling.call_due(budget_seconds=5)
    assert [one["type"] for one in told(hook)] == [
        "issue.scheduled",
        "issue.sending",
        "issue.paused",
        "issue.sending",
        "issue.cancelled",
    ]
    last = told(hook)[-1]["data"]
    assert (last["newsletter"], last["issue_id"], last["state"], last["recipients"]) == ("courrier", 1, "cancelled", 2)


def test_a_sent_issue_is_told_once(hook: Hook) -> None:
    add(hook, WebhookEvent.ISSUE_SENT)
    with transaction() as session:
        issue = issues.draft(session, newsletters.get(session, "courrier"), now=clock.now())
        issues.start(session, issue, batch_size=10, now=clock.now())
    sending.send_due(budget_seconds=5)
    scheduling.tick()
    scheduling.tick()
    calling.call_due(budget_seconds=5)
    assert [(one["type"], one["data"]["state"]) for one in told(hook)] == [("issue.sent", "sent")]


def test_only_what_was_chosen_is_told_and_only_of_its_newsletter(hook: Hook) -> None:
    with transaction() as session:
        factories.readers(session, a_newsletter(session, "autre"), 1)
    add(hook, WebhookEvent.SUBSCRIBER_UNSUBSCRIBED, slug="autre")
    with transaction() as session:
        for one in (1, 3):
            subscriptions.end(session, one, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())
        subscriptions.resume(session, 3, origin=Origin(), now=clock.now())
    calling.call_due(budget_seconds=5)
    assert [(one["type"], one["data"]["newsletter"]) for one in told(hook)] == [("subscriber.unsubscribed", "autre")]


def test_without_webhooks_nothing_is_written(hook: Hook) -> None:
    end_first()
    with transaction() as session:
        assert session.execute(select(WebhookMessage)).scalars().all() == []


def test_what_was_undone_is_not_told(hook: Hook) -> None:
    add(hook)
    with transaction() as session:
        subscriptions.end(session, 1, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())
        session.rollback()
    assert calling.call_due(budget_seconds=5) == 0


def test_a_failed_call_is_tried_again_later_with_the_same_id(hook: Hook) -> None:
    add(hook)
    end_first()
    hook.answers = [500]
    calling.call_due(budget_seconds=5)
    assert (call().state, call().trouble, call().status, call().attempts) == (
        CallState.WAITING,
        CallTrouble.STATUS,
        500,
        1,
    )
    assert calling.call_due(budget_seconds=5) == 0
    with later(timedelta(seconds=31)):
        assert calling.call_due(budget_seconds=5) == 1
    assert call().state == CallState.ANSWERED
    assert len({headers["webhook-id"] for headers, _ in hook.calls}) == 1
    assert webhook().failing_since is None


def test_after_about_a_day_it_is_given_up(hook: Hook) -> None:
    add(hook)
    end_first()
    hook.answers = [503] * 20
    spent = timedelta()
    while call().state == CallState.WAITING:
        calling.call_due(budget_seconds=5)
        wait = call().due_at - clock.now()
        spent += max(wait, timedelta())
        with transaction() as session:
            session.execute(update(WebhookCall).values(due_at=clock.now()))
            session.execute(update(Webhook).values(quiet_until=None))
    assert (call().state, call().attempts) == (CallState.GIVEN_UP, len(calling.WAITS) + 1)
    assert timedelta(hours=20) < spent < timedelta(hours=30)


def test_who_asks_for_more_time_gets_it(hook: Hook) -> None:
    add(hook)
    end_first()
    hook.answers = [(429, {"Retry-After": "900"})]
    before = clock.now()
    calling.call_due(budget_seconds=5)
    assert timedelta(seconds=895) < call().due_at - before < timedelta(seconds=910)


def test_a_dead_server_holds_up_nobody_else(hook: Hook) -> None:
    add(hook)
    with listening_hook() as other:
        add(other)
        hook.answers = [500]
        with transaction() as session:
            for one in (1, 2):
                subscriptions.end(session, one, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())
        calling.call_due(budget_seconds=5)
        assert (len(hook.calls), len(other.calls)) == (1, 2)


def test_redirects_are_not_followed(hook: Hook) -> None:
    add(hook)
    end_first()
    with listening_hook() as other:
        hook.answers = [(302, {"Location": other.url}), 200]
        calling.call_due(budget_seconds=5)
        assert other.calls == []
    assert (call().trouble, call().status) == (CallTrouble.REDIRECT, 302)


def test_an_address_inside_is_never_called(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    add(hook)
    end_first()
    monkeypatch.setenv("MAILER_WEBHOOK_PRIVATE_NETWORKS", "")
    settings.load.cache_clear()
    calling.call_due(budget_seconds=5)
    assert hook.calls == []
    assert call().trouble == CallTrouble.PRIVATE_ADDRESS


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example/hook",
        "http://10.0.0.1/",
        "ftp://crm.example/",
        "https://user:secret@crm.example/",
        "https://",
        "javascript:alert(1)",
        "https://crm.example/" + "x" * 2000,
        "https://crm.example/\n",
    ],
)
def test_an_address_that_is_not_safe_is_refused(hook: Hook, url: str) -> None:
    with transaction() as session, pytest.raises(webhooks.WebhookInvalid):
        webhooks.create(session, Wanted(url=url), by="t", now=clock.now())


def test_a_server_that_says_nothing_is_given_up_after_a_while(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    add(hook)
    end_first()
    monkeypatch.setenv("MAILER_WEBHOOK_SECONDS", "0.3")
    settings.load.cache_clear()
    hook.delay_seconds = 1
    calling.call_due(budget_seconds=1)
    assert call().trouble == CallTrouble.TIMEOUT


def test_a_worker_that_dies_in_the_middle_loses_nothing(hook: Hook) -> None:
    """It had taken the call: what it wrote is committed, and then nothing more comes of it."""
    add(hook)
    end_first()
    with transaction() as session:
        taken = calling._take(session, now=clock.now())
    assert taken is not None
    assert calling.call_due(budget_seconds=5) == 0
    with later(calling.LEASE + timedelta(seconds=1)):
        assert calling.call_due(budget_seconds=5) == 1
        # What the dead one says after all is not believed.
        with transaction() as session:
            calling._record(session, taken, calling.Answer(trouble=CallTrouble.TIMEOUT), now=clock.now())
    assert call().state == CallState.ANSWERED
    assert len(hook.calls) == 1


def test_a_process_that_is_killed_while_it_calls_loses_nothing(hook: Hook) -> None:
    add(hook)
    end_first()
    hook.delay_seconds = 5
    script = "from mailer.newsroom import calling; calling.call_due(budget_seconds=30)"
    worker = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 20
    while not hook.calls:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    hook.delay_seconds = 0
    assert call().state == CallState.WAITING
    with later(calling.LEASE + timedelta(seconds=1)):
        calling.call_due(budget_seconds=5)
    assert call().state == CallState.ANSWERED
    first, second = (headers["webhook-id"] for headers, _ in hook.calls)
    assert first == second


def test_two_workers_tell_everything_once(hook: Hook) -> None:
    add(hook)
    with transaction() as session:
        for _ in range(20):
            webhooks.test(session, webhooks.get(session, 1), now=clock.now())
    workers = [threading.Thread(target=calling.call_due, kwargs={"budget_seconds": 10}) for _ in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(hook.calls) == 20
    assert len({headers["webhook-id"] for headers, _ in hook.calls}) == 20


def test_the_tick_finds_calls_whose_bell_was_lost(hook: Hook) -> None:
    assert not scheduling.tick().has_calls
    add(hook)
    end_first()
    assert scheduling.tick().has_calls


def test_a_new_secret_and_the_old_one_sign_for_a_day(hook: Hook) -> None:
    old = add(hook)
    with transaction() as session:
        new = webhooks.rotate(session, webhooks.get(session, 1), now=clock.now())
        webhooks.test(session, webhooks.get(session, 1), now=clock.now())
    calling.call_due(budget_seconds=5)
    ((headers, body),) = hook.calls
    assert old != new
    for secret in (old, new):
        standardwebhooks.Webhook(secret).verify(body, headers)
    with later(webhooks.OVERLAP + timedelta(minutes=1)), transaction() as session:
        assert webhooks.signing(webhooks.get(session, 1), now=clock.now()) == [new]
        upkeep.clean_up(session, now=clock.now())
        assert webhooks.get(session, 1).old_seed is None


def test_no_secret_is_in_the_database(hook: Hook) -> None:
    secret = add(hook)
    with transaction() as session:
        rows = session.execute(text("SELECT webhooks::text FROM webhooks")).scalars().all()
    assert secret.removeprefix("whsec_") not in "".join(rows)


def test_who_is_gone_is_called_no_more_and_the_newsroom_is_told(hook: Hook) -> None:
    add(hook)
    end_first()
    hook.answers = [410]
    calling.call_due(budget_seconds=5)
    assert webhook().off_because == WebhookOff.GONE
    with transaction() as session:
        mail = session.execute(select(DeskMail)).scalar_one()
    assert (mail.event, mail.address) == (DeskEvent.WEBHOOK_OFF, "desk@courrier.example")


def test_after_days_of_failures_it_is_switched_off_and_the_newsroom_gets_a_mail(
    hook: Hook, installation: SmtpInbox
) -> None:
    add(hook)
    end_first()
    hook.answers = [500]
    with transaction() as session:
        session.execute(update(Webhook).values(failing_since=clock.now() - calling.PATIENCE))
    calling.call_due(budget_seconds=5)
    assert webhook().off_because == WebhookOff.FAILING
    assert call().state == CallState.GIVEN_UP
    end_second = Origin()
    with transaction() as session:
        subscriptions.end(session, 2, EndedReason.UNSUBSCRIBED, origin=end_second, now=clock.now())
    assert calling.call_due(budget_seconds=5) == 0
    scheduling.mail_desk()
    sending.send_due(budget_seconds=5)
    (mail,) = installation.wait_for(1)
    assert "webhook" in mail.email["Subject"].lower()
    assert hook.url in str(mail.email.get_body(("plain",)).get_content())


def test_a_replay_tells_the_same_event_once_more(hook: Hook) -> None:
    add(hook)
    end_first()
    calling.call_due(budget_seconds=5)
    with transaction() as session:
        webhooks.replay(session, 1, 1, now=clock.now())
    calling.call_due(budget_seconds=5)
    assert len({headers["webhook-id"] for headers, _ in hook.calls}) == 1
    assert hook.calls[0][1] == hook.calls[1][1]


def test_of_an_erased_reader_only_the_number_is_told(hook: Hook) -> None:
    add(hook)
    end_first()
    with transaction() as session:
        readers.erase(session, 1, now=clock.now())
    calling.call_due(budget_seconds=5)
    assert (told(hook)[0]["data"]["address"], told(hook)[0]["data"]["subscriber_id"]) == (None, 1)
    assert b"r0@" not in hook.calls[0][1]


def test_what_was_told_is_forgotten_after_a_month(hook: Hook) -> None:
    add(hook)
    end_first()
    month: datetime = clock.now() + webhooks.KEPT_FOR + timedelta(minutes=1)
    with transaction() as session:
        webhooks.forget(session, now=month)
        assert session.execute(select(WebhookCall)).scalars().all() == []


def test_a_webhook_goes_with_its_newsletter_only(hook: Hook) -> None:
    add(hook)
    with transaction() as session:
        webhooks.remove(session, 1)
        assert session.execute(select(Newsletter)).scalars().all() != []
        with pytest.raises(webhooks.WebhookNotFound):
            webhooks.remove(session, 1)
