"""`mailer webhook …`"""

from typing import Annotated

import typer

from mailer import clock, queue
from mailer.cli import output
from mailer.cli.tokens import ALL
from mailer.db import transaction
from mailer.models.webhooks import WebhookEvent
from mailer.newsroom import newsletters, webhooks
from mailer.newsroom.webhooks import Wanted

app = typer.Typer(
    no_args_is_help=True,
    help="Webhooks, which tell other programs what happens: add, list, test, deliveries, replay, remove.",
    rich_markup_mode=None,
)

WebhookId = Annotated[int, typer.Argument(metavar="ID")]


@app.command()
def add(
    newsletter: Annotated[str, typer.Argument(metavar="NEWSLETTER", help="Its short name; “all” for all newsletters.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to POST what happened; https://.")],
    event: Annotated[
        list[WebhookEvent] | None, typer.Option(help="What it is told of; may be repeated. Left out: everything.")
    ] = None,
) -> None:
    """Have another program told of what happens, and print the secret that calls are signed with, once.

    Example:

      mailer webhook add hebdo https://crm.example/hook --event subscriber.confirmed --event subscriber.unsubscribed
    """
    with transaction() as session:
        found = newsletters.get(session, newsletter) if newsletter != ALL else None
        wanted = Wanted(url=url, events=event or (), newsletter=found)
        made = webhooks.create(session, wanted, by="cli", now=clock.now())
        value = {"id": made.id, "secret": webhooks.secret(made)}
    text = (
        f"{value['secret']}\nIt is shown this once. Webhook {value['id']} is told from now on; docs/api.md tells how."
    )
    output.emit(value, text=text)


@app.command("list")
def list_() -> None:
    """List the webhooks."""
    with transaction() as session:
        rows = [
            {
                "id": one.id,
                "url": one.url,
                "events": one.events if output.CHOICES.as_json else ",".join(one.events) or ALL,
                "newsletter": one.newsletter.slug if one.newsletter else ALL,
                "failing_since": one.failing_since,
                "off": one.off_because,
            }
            for one in webhooks.all_webhooks(session)
        ]
    columns = ("id", "url", "events", "newsletter", "failing_since", "off")
    output.emit_rows(rows, columns=columns, empty="There is no webhook yet: mailer webhook add NEWSLETTER URL")


@app.command()
def test(webhook_id: WebhookId) -> None:
    """Send an event that tells of nothing; `mailer webhook deliveries` shows how it went."""
    with transaction() as session:
        call_id = webhooks.test(session, webhooks.get(session, webhook_id), now=clock.now())
    _told(call_id)


@app.command()
def deliveries(
    webhook_id: WebhookId, limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20
) -> None:
    """List what a webhook was told, the newest first."""
    with transaction() as session:
        webhooks.get(session, webhook_id)
        rows = [
            {
                "id": one.id,
                "event": message.event,
                "happened_at": message.happened_at,
                "state": one.state,
                "attempts": one.attempts,
                "status": one.status,
                "trouble": one.trouble,
            }
            for one, message in webhooks.calls(session, webhook_id, limit=limit)
        ]
    columns = ("id", "event", "happened_at", "state", "attempts", "status", "trouble")
    output.emit_rows(rows, columns=columns, empty="It was told nothing yet.")


@app.command()
def replay(webhook_id: WebhookId, call_id: Annotated[int, typer.Argument(metavar="DELIVERY")]) -> None:
    """Tell a webhook once more of the event of an earlier delivery, by its id."""
    with transaction() as session:
        webhooks.get(session, webhook_id)
        made = webhooks.replay(session, webhook_id, call_id, now=clock.now())
    _told(made)


@app.command()
def remove(webhook_id: WebhookId) -> None:
    """Tell an address nothing any more."""
    with transaction() as session:
        webhooks.remove(session, webhook_id)
    output.emit({"removed": webhook_id}, text=f"Webhook {webhook_id} is told nothing any more.")


def _told(call_id: int) -> None:
    try:
        queue.enqueue(queue.CALL_WEBHOOKS)
    except queue.QueueUnavailable as error:
        output.say(f"A worker does it once Redis is back ({error}).")
    output.emit({"delivery": call_id}, text=f"Delivery {call_id} leaves within seconds.")
