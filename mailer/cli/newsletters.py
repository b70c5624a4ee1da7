"""`mailer newsletter …`"""

import re
from datetime import datetime
from typing import Annotated

import typer

from mailer import clock, i18n
from mailer.audience import snippets
from mailer.cli import output
from mailer.db import transaction
from mailer.issues import schedules, slots
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters

app = typer.Typer(
    no_args_is_help=True, help="Newsletters: list, show, add, edit, schedule, form.", rich_markup_mode=None
)

Slug = Annotated[str, typer.Argument(metavar="NEWSLETTER", help="Its short name.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field to set; may be repeated.")]
Cron = Annotated[str | None, typer.Option(help="Five fields: minute hour day month weekday.")]


@app.command("list")
def list_() -> None:
    """List the newsletters."""
    with transaction() as session:
        rows = [
            {
                "slug": one.slug,
                "name": one.name,
                "language": one.language,
                "readers": newsletters.count_readers(session, one.id),
                "cron": one.cron,
                "next_slot": newsletters.next_slot(one, now=clock.now()),
            }
            for one in newsletters.all_newsletters(session)
        ]
    columns = ("slug", "name", "language", "readers", "cron", "next_slot")
    output.emit_rows(rows, columns=columns, empty="There is no newsletter yet: mailer newsletter add --help")


@app.command()
def show(slug: Slug) -> None:
    """Show a newsletter, its feeds, its next five dates, and what became of the last five."""
    with transaction() as session:
        found = newsletters.get(session, slug)
        value = {
            **_fields(found),
            "readers": newsletters.count_readers(session, found.id),
            "feeds": [feed.url for feed in newsletters.feeds(session, found)],
            "next_slots": _next_slots(found, clock.now()),
            "last_slots": [
                {"slot": one.slot_at, "result": one.result, "issue": one.issue_id, "note": one.note}
                for one in slots.latest(session, found.id, limit=5)
            ],
        }
    _print(value)


@app.command()
def add(
    slug: Slug,
    name: Annotated[str, typer.Option(help="As readers see it.")],
    sender: Annotated[str, typer.Option(metavar="ADDRESS", help="The address that mail comes from.")],
    publisher: Annotated[str, typer.Option(help="The publisher's legal name.")],
    postal_address: Annotated[str, typer.Option(help="The law asks for it at the foot of every issue.")],
    site: Annotated[str, typer.Option(metavar="URL", help="The publication's site.")],
    language: Annotated[str, typer.Option(help="fr or en.")] = "fr",
    cron: Cron = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of the schedule.")] = "Europe/Paris",
    set_: Set = None,
) -> None:
    """Create a newsletter.

    Example:

      mailer newsletter add hebdo --name "Le Courrier" --sender lettre@courrier.example --publisher "Le Courrier"
      --postal-address "12 rue des Caravanes, Strasbourg" --site https://courrier.example --cron "0 7 * * FRI"
    """
    values: dict[str, object] = {
        "name": name,
        "sender_name": name,
        "sender_address": sender,
        "publisher": publisher,
        "postal_address": postal_address,
        "site_url": site,
        "language": language,
        "cron": cron,
        "timezone": timezone,
        **_assignments(set_),
    }
    with transaction() as session:
        value = _fields(newsletters.create(session, slug, values=values, now=clock.now()))
    output.emit(value, text=f"Created “{slug}”. Next: mailer feed add {slug} URL")


@app.command()
def edit(slug: Slug, set_: Set = None) -> None:
    """Change fields, such as --set max_articles=10 --set "signature=Camille Ferrand".

    Before an issue leaves: desk_addresses (of the newsroom, with commas), review_hours (how long before its moment it is
    drafted and mailed to them; 0 for not), on_silence (send or hold, when nobody answers), when_late (send, hold or merge)
    after late_after_minutes, when_stale (send or hold) once more than stale_percent of the feeds could not be read for
    stale_hours. An empty value puts late_after_minutes and stale_percent back.

    Example:

      mailer newsletter edit hebdo --set desk_addresses=redaction@courrier.example --set review_hours=3
    """
    with transaction() as session:
        found = newsletters.get(session, slug)
        newsletters.edit(session, found, values=_assignments(set_), now=clock.now())
        value = _fields(found)
    output.emit(value, text=f"Changed “{slug}”.")


@app.command()
def schedule(
    slug: Slug,
    cron: Annotated[str | None, typer.Argument(help="Five fields; leave out to make issues by hand.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA zone; the present one if left out.")] = None,
) -> None:
    """Set when issues are made, and show the next five dates.

    Example:

      mailer newsletter schedule hebdo "0 7 * * FRI" --timezone Europe/Paris
    """
    with transaction() as session:
        found, now = newsletters.get(session, slug), clock.now()
        newsletters.schedule(session, found, cron=cron, timezone=timezone or found.timezone, now=now, since=now)
        slots = _next_slots(found, now)
    text = "\n".join(f"{slot:%A %d %B %Y, %H:%M}" for slot in slots) or "Issues are made by hand."
    output.emit({"cron": cron, "next_slots": slots}, text=text)


@app.command()
def form(
    slug: Slug,
    kind: Annotated[snippets.Kind, typer.Option(help="What to paste into the site.")] = snippets.Kind.HTML,
    language: Annotated[str | None, typer.Option(help="Of the form; the newsletter's if left out.")] = None,
    color: Annotated[str | None, typer.Option(help="Of its button, #0F5C5C; the newsletter's if left out.")] = None,
    source: Annotated[str, typer.Option(help="Name of the place: sign-ups are counted by it.")] = "site",
) -> None:
    """Print a sign-up form to paste into a site.

    Example:

      mailer newsletter form hebdo --kind script --language fr --source article
    """
    with transaction() as session:
        found = newsletters.get(session, slug)
        if language is not None and language not in i18n.LANGUAGES:
            raise newsletters.NewsletterInvalid(f"The language “{language}” is not one of {', '.join(i18n.LANGUAGES)}.")
        if color is not None and not re.fullmatch(r"#[0-9A-Fa-f]{6}", color):
            raise newsletters.NewsletterInvalid(f"“{color}” is not a colour such as #0F5C5C.")
        look = snippets.Look(language=language or found.language, color=color or found.brand_color, source=source)
        made = snippets.make(found, kind, look)
    output.emit({"kind": kind.value, "code": made}, text=made.rstrip())


def _next_slots(found: Newsletter, now: datetime) -> list[datetime]:
    if found.cron is None:
        return []
    zone = schedules.zone(found.timezone)
    return [slot.astimezone(zone) for slot in schedules.next_slots(found.cron, found.timezone, after=now, count=5)]


def _assignments(given: list[str] | None) -> dict[str, object]:
    values: dict[str, object] = {}
    for one in given or []:
        name, separator, value = one.partition("=")
        if not separator:
            raise newsletters.NewsletterInvalid(f"“{one}” is not FIELD=VALUE.")
        is_number = name in newsletters.BOUNDS
        if is_number and not value.isdecimal():
            raise newsletters.NewsletterInvalid(f"{name} must be a number, not “{value}”.")
        values[name] = int(value) if is_number else value == "true" if name in newsletters.SWITCHES else value
        if name in newsletters.LISTS:
            values[name] = [part.strip() for part in value.split(",") if part.strip()]
    return values


def _fields(found: Newsletter) -> dict[str, object]:
    return {column.key: getattr(found, column.key) for column in Newsletter.__table__.columns}


def _print(value: dict[str, object]) -> None:
    text = "\n".join(f"{name.replace('_', ' '):18} {_line(one)}" for name, one in value.items())
    output.emit(value, text=text)


def _line(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(_entry(one) for one in value) or "–"
    return "–" if value in (None, "") else str(value).replace("\n", " / ")


def _entry(value: object) -> str:
    parts = value.values() if isinstance(value, dict) else (value,)
    return " ".join(str(one) for one in parts if one not in (None, ""))
