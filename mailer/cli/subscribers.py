"""`mailer subscribers …`"""

import dataclasses
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

import typer
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer import clock, i18n
from mailer.audience import attributes, readers, subscriptions, wishes
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.audience import Consent, EndedReason, LeftBecause, Subscriber, Subscription, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters

app = typer.Typer(
    no_args_is_help=True,
    help="Subscribers: list, show, add, choose, describe, unsubscribe, export, erase, stats.",
    rich_markup_mode=None,
)

Address = Annotated[str, typer.Argument(metavar="ADDRESS")]


@app.command("list")
def list_(
    slug: Slug,
    state: Annotated[SubscriptionState | None, typer.Option(help="Only those in this state.")] = None,
    after: Annotated[int, typer.Option(help="Go on after this id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
) -> None:
    """List a newsletter's subscribers in order of id."""
    with transaction() as session:
        statement = (
            select(Subscription, Subscriber.address)
            .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
            .where(Subscription.newsletter_id == newsletters.get(session, slug).id, Subscription.id > after)
            .order_by(Subscription.id)
            .limit(limit)
        )
        if state is not None:
            statement = statement.where(Subscription.state == state)
        rows = [_value(row[0], row[1]) for row in session.execute(statement)]
    columns = ("id", "address", "state", "language", "requested_at", "confirmed_at")
    output.emit_rows(rows, columns=columns, empty=f"“{slug}” has no such subscriber.")


@app.command()
def show(address: Address) -> None:
    """Show a reader's subscriptions, every entry of the consent log, and how the newest mails ended."""
    with transaction() as session:
        found = readers.find(session, address)
        rows = session.execute(select(Subscription).where(Subscription.subscriber_id == found.id)).scalars().all()
        entries = session.execute(
            select(Consent).where(Consent.subscription_id.in_([one.id for one in rows])).order_by(Consent.id)
        ).scalars()
        standing = [_value(one, found.address) for one in rows]
        consents: list[dict[str, object]] = [
            {"at": one.at, "event": one.event, "source": one.source, "network": one.network, "detail": one.detail}
            for one in entries
        ]
        known = {"name": found.name, "attributes": dict(found.attributes)}
        happened = readers.timeline(session, found.id)
        timeline = [dataclasses.asdict(one) for one in happened]
        value = {
            "address": found.address,
            **known,
            "subscriptions": standing,
            "consents": consents,
            "timeline": timeline,
        }
    lines = [found.address]
    lines += [f"  {name}: {text}" for name, text in {"name": known["name"], **found.attributes}.items() if text]
    lines += [f"  subscription {one['id']}: {one['state']}" for one in standing]
    for one in happened:
        about = "  ".join(part for part in (one.about, one.source, one.network) if part)
        lines.append(f"  {one.at:%Y-%m-%d %H:%M}  {one.what:10}  {about}".rstrip())
    output.emit(value, text="\n".join(lines))


@app.command()
def add(
    slug: Slug,
    address: Address,
    proof: Annotated[str, typer.Option(help="Where and when this reader agreed; kept in the consent log.")],
    language: Annotated[str | None, typer.Option(help="The newsletter's, if left out.")] = None,
) -> None:
    """Enter a reader who has agreed already. Never brings back one who left.

    Example:

      mailer subscribers add hebdo lea@example.org --proof "paper form, 3 March 2026"
    """
    if language is not None and language not in i18n.LANGUAGES:
        raise typer.BadParameter(f"The language must be one of {', '.join(i18n.LANGUAGES)}.")
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        chosen = language or newsletter.language
        made = subscriptions.add(session, newsletter, address, language=chosen, proof=proof, now=clock.now())
        value = _value(made, address)
    output.emit(value, text=f"Subscribed, with the proof “{proof}”.")


@app.command()
def choose(
    slug: Slug,
    address: Address,
    topic: Annotated[list[str] | None, typer.Option(help="May be repeated; “all” for every topic.")] = None,
    rhythm: Annotated[Rhythm | None, typer.Option(help="At most one issue a day, week or month, or each.")] = None,
    pause_until: Annotated[str | None, typer.Option(metavar="DAY", help="Such as 2026-12-24; “none” ends it.")] = None,
    language: Annotated[str | None, typer.Option(help="The language of the mails.")] = None,
    hour: Annotated[str | None, typer.Option(help="From 0 to 23; “none” for as soon as an issue is out.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of the hour; the newsletter's if left out.")] = None,
) -> None:
    """Choose for a reader, at their wish: topics, rhythm, a pause, the language, the hour. What is left out stays.

    Example:

      mailer subscribers choose hebdo lea@example.org --rhythm weekly --pause-until 2026-12-24

      mailer subscribers choose hebdo lea@example.org --hour 7 --timezone Asia/Almaty
    """
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        subscription = _subscription(session, newsletter, address)
        before = wishes.of(subscription)
        wanted = wishes.Wish(
            language=language or before.language,
            topics=before.topics if topic is None else tuple(sorted(set(topic) - {"all"})),
            rhythm=rhythm or before.rhythm,
            paused_until=before.paused_until if pause_until is None else _day(pause_until, newsletter.timezone),
            **_hour(before, hour, timezone, usual=newsletter.timezone),
        )
        origin = subscriptions.Origin(source="command line")
        changed = wishes.choose(session, subscription.id, wanted, origin=origin, now=clock.now())
        value = _value(subscription, address)
    output.emit({**value, "changed": changed}, text="Changed." if changed else "It was so already.")


@app.command()
def describe(
    address: Address,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="FIELD=VALUE", help="May be repeated; nothing after = removes it.")
    ],
) -> None:
    """Note a reader's name, and other texts that merge fields may use.

    Example:

      mailer subscribers describe lea@example.org --set "name=Léa Martin" --set city=Almaty
    """
    values = dict(one.split("=", 1) for one in set_ if "=" in one)
    if len(values) < len(set_):
        raise attributes.AttributeInvalid("--set takes FIELD=VALUE, each field once.")
    with transaction() as session:
        found = readers.find(session, address)
        attributes.change(session, found, values)
        value = {"address": found.address, "name": found.name, "attributes": found.attributes}
    output.emit(value, text="Noted.")


@app.command()
def unsubscribe(slug: Slug, address: Address) -> None:
    """End a reader's subscription at their wish."""
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        subscription_id = _subscription(session, newsletter, address).id
        origin = subscriptions.Origin(source="command line")
        ended = subscriptions.end(session, subscription_id, EndedReason.REMOVED, origin=origin, now=clock.now())
    output.emit({"ended": ended}, text="Unsubscribed." if ended else "Was unsubscribed already.")


@app.command()
def export(address: Address) -> None:
    """Print all that is kept of a reader, as JSON, for whoever asks for their data.

    Example:

      mailer subscribers export lea@example.org > lea.json
    """
    with transaction() as session:
        kept = readers.export(session, readers.find(session, address).id)
    typer.echo(readers.as_json(kept), nl=False)


@app.command()
def erase(address: Address, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Erase all that is kept of a reader, at their wish. A hash of the address stays, so that no import brings them back."""
    if not yes:
        typer.confirm("Erase this reader for good?", abort=True, err=True)
    with transaction() as session:
        readers.erase(session, readers.find(session, address).id, now=clock.now())
    output.emit({"erased": True}, text="Erased. A hash of the address stays.")


@app.command()
def stats(slug: Slug) -> None:
    """Count a newsletter's subscribers by state, and why those left who told."""
    with transaction() as session:
        newsletter_id = newsletters.get(session, slug).id
        statement = select(Subscription.state, func.count()).where(Subscription.newsletter_id == newsletter_id)
        counts = {row[0].value: row[1] for row in session.execute(statement.group_by(Subscription.state))}
        reasons = select(Subscription.left_because, func.count()).where(
            Subscription.newsletter_id == newsletter_id, Subscription.left_because.is_not(None)
        )
        told = {f"{row[0]}": row[1] for row in session.execute(reasons.group_by(Subscription.left_because))}
    value = {state.value: counts.get(state.value, 0) for state in SubscriptionState}
    because = {reason.value: told.get(reason.value, 0) for reason in LeftBecause}
    lines = [f"{name:16} {count}" for name, count in {**value, **because}.items()]
    output.emit({**value, "left_because": because}, text="\n".join(lines))


def _subscription(session: Session, newsletter: Newsletter, address: str) -> Subscription:
    chosen = (
        Subscription.subscriber_id == readers.find(session, address).id,
        Subscription.newsletter_id == newsletter.id,
    )
    found = session.execute(select(Subscription).where(*chosen)).scalar_one_or_none()
    if found is None:
        raise subscriptions.SubscriptionNotFound(f"This address has no subscription to “{newsletter.slug}”.")
    return found


def _hour(before: wishes.Wish, hour: str | None, timezone: str | None, *, usual: str) -> dict[str, Any]:
    """Return hour and time zone as they shall be: as before where nothing else is said."""
    if hour == "none":
        return {"hour": None, "timezone": None}
    if hour is not None and not hour.isdecimal():
        raise wishes.WishInvalid(f"“{hour}” is no hour from 0 to 23.")
    chosen = before.hour if hour is None else int(hour)
    if chosen is None:
        return {"hour": None, "timezone": timezone}
    return {"hour": chosen, "timezone": timezone or before.timezone or usual}


def _day(day: str, timezone: str) -> datetime | None:
    if day == "none":
        return None
    try:
        return datetime.combine(date.fromisoformat(day), time(), tzinfo=schedules.zone(timezone)).astimezone(UTC)
    except ValueError as error:
        raise wishes.WishInvalid(f"“{day}” is not a day such as 2026-12-24.") from error


def _value(one: Subscription, address: str) -> dict[str, object]:
    return {
        "id": one.id,
        "address": address,
        "state": one.state,
        "language": one.language,
        "topics": one.topics,
        "rhythm": one.rhythm,
        "paused_until": one.paused_until,
        "hour": one.hour,
        "timezone": one.timezone,
        "source": one.source,
        "requested_at": one.requested_at,
        "confirmed_at": one.confirmed_at,
        "ended_at": one.ended_at,
        "ended_reason": one.ended_reason,
        "left_because": one.left_because,
    }
