"""Every task: read ids, one call. Running one twice does no harm, losing one loses nothing (see mailer/queue.py)."""

from typing import Final

from mailer import clock, queue, scheduling, settings, upkeep
from mailer.articles import fetching, polling, rechecking
from mailer.audience import readers, signups
from mailer.db import transaction
from mailer.delivery import sending
from mailer.newsroom import calling, site_reading
from workers.app import app

# Short, so that confirmations, other queues and a stop of the worker wait for seconds only.
SEND_SECONDS: Final = 3
CALL_SECONDS: Final = 10
MAILS_AT_ONCE: Final = 5000


@app.task(name=queue.TICK)
def tick() -> None:
    """Find what is due and ring for it."""
    scheduling.tick()


@app.task(name=queue.READ_FEED)
def read_feed(feed_id: int) -> None:
    """Read one feed, then the pages of what is new in it."""
    polling.read_feed(feed_id)
    rechecking.look_at_new(feed_id)


@app.task(name=queue.FETCH_PICTURES)
def fetch_pictures() -> None:
    """Fetch the pictures that are due."""
    fetching.fetch_due(budget_seconds=SEND_SECONDS)


@app.task(name=queue.READ_SITE)
def read_site() -> None:
    """Read the newsroom's site at the first run."""
    site_reading.read()


@app.task(name=queue.HANDLE_SIGNUP)
def handle_signup(*request_ids: int) -> None:
    """Answer what people typed into the form, by mail."""
    scheduling.answer(signups.handle, request_ids)
    sending.send_due(budget_seconds=SEND_SECONDS, only_urgent=True)


@app.task(name=queue.SEND_LINK)
def send_link(request_id: int) -> None:
    """Mail a reader the link to all that is theirs."""
    with transaction() as session:
        readers.send_link(session, request_id, now=clock.now())
    sending.send_due(budget_seconds=SEND_SECONDS, only_urgent=True)


@app.task(name=queue.MAKE_ISSUE)
def make_issue(newsletter_id: int) -> None:
    """Make the issue of a newsletter's due slot and start it."""
    scheduling.make_issue(newsletter_id)


@app.task(name=queue.START_ISSUE)
def start_issue(issue_id: int) -> None:
    """Start an issue that was scheduled or that an editor sends."""
    scheduling.start_issue(issue_id, only_due=True)


@app.task(name=queue.MAIL_DESK)
def mail_desk() -> None:
    """Mail the newsroom what it must hear of."""
    scheduling.mail_desk()
    sending.send_due(budget_seconds=SEND_SECONDS, only_urgent=True)


@app.task(name=queue.CALL_WEBHOOKS)
def call_webhooks() -> None:
    """Tell other programs what happened."""
    calling.call_due(budget_seconds=CALL_SECONDS)


@app.task(name=queue.SEND)
def send() -> None:
    """Send what is due, confirmations first."""
    sending.send_due(budget_seconds=SEND_SECONDS, meanwhile=scheduling.answer_signups)


@app.task(name=queue.READ_MAILBOX)
def read_mailbox() -> None:
    """Read what came back to the mailbox."""
    scheduling.read_mailbox(limit=MAILS_AT_ONCE)


@app.task(name=queue.HANDLE_RETURNS)
def handle_returns() -> None:
    """Let what came back take effect."""
    scheduling.handle_returns(budget_seconds=SEND_SECONDS)


@app.task(name=queue.CLEAN_UP)
def clean_up() -> None:
    """Erase what has served its time."""
    with transaction() as session:
        upkeep.clean_up(session, now=clock.now())
        upkeep.sweep_journals(session, settings.load().journal_dir)
