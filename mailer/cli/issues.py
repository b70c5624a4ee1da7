"""`mailer issue …`"""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from mailer import clock
from mailer.audience import hours
from mailer.cli import amending, checks, measuring, output, settling, watching, writing
from mailer.cli import leaving as leaving_cli
from mailer.cli.newsletters import Slug
from mailer.cli.settling import IssueId
from mailer.db import transaction
from mailer.delivery import ledger, remedies
from mailer.issues import amending as amended
from mailer.issues import approvals, explanations, handwriting, issues, leaving, reviewing, schedules, selection
from mailer.models.content import Issue, IssueState, WhenUncertain
from mailer.models.deliveries import Outcome
from mailer.newsroom import newsletters

app = typer.Typer(no_args_is_help=True, help="Issues: see the next one, create, send, watch.", rich_markup_mode=None)
app.command()(checks.check)
app.command()(settling.uncertain)
app.command()(settling.settle)
app.command()(writing.edit)
app.command()(amending.pull)
app.command()(amending.replace)
app.command()(measuring.stats)
app.command("test")(leaving_cli.try_out)
app.command()(leaving_cli.undo)
app.command()(leaving_cli.retry)
app.command()(leaving_cli.duplicate)

Policy = Annotated[
    WhenUncertain | None,
    typer.Option("--when-uncertain", help="What to do with a mail whose answer is lost; resend may mail some twice."),
]


@app.command("list")
def list_(slug: Slug, limit: Annotated[int, typer.Option(min=1, max=500)] = 20) -> None:
    """List a newsletter's issues, newest first."""
    with transaction() as session:
        found = issues.latest(session, newsletters.get(session, slug).id, limit=limit)
        rows = [_value(session, issue) for issue in found]
    columns = ("id", "number", "state", "subject", "recipients", "accepted", "refused", "uncertain")
    output.emit_rows(rows, columns=columns, empty=f"“{slug}” has no issue yet: mailer issue next {slug}")


@app.command()
def show(issue_id: IssueId) -> None:
    """Show an issue, its articles, and what became of its deliveries."""
    with transaction() as session:
        issue = issues.get(session, issue_id)
        articles = [
            {"id": one.id, "title": one.title, "layout": layout, "url": one.url}
            for one, layout in issues.placed(session, issue_id)
        ]
        changes = amended.history(session, issue)
        decisions = [{"act": one.act, "by": one.by, "at": one.at} for one in reviewing.acts(session, issue_id)]
        value = {
            **_value(session, issue),
            "articles": articles,
            "findings": issue.findings,
            "body": issue.body,
            "changes": amending.values(changes),
            "decisions": decisions,
        }
    lines = [
        f"{name.replace('_', ' '):14} {'–' if one is None else one}"
        for name, one in value.items()
        if name not in ("articles", "findings", "body", "changes", "decisions")
    ]
    lines[4:4] = [f"  {one}" for one in remedies.explain(issue.state_code, None)]
    lines += [f"  {one['id']:6} {one['layout']:5} {one['title']}" for one in articles]
    lines += amending.lines(changes)
    lines += [f"  {one['act']:6} decided by {one['by']}, {one['at']}" for one in decisions]
    lines += [f"  {one['severity']:6} {one['words']}" for one in issue.findings]
    output.emit(value, text="\n".join(lines))


@app.command("next")
def next_(
    slug: Slug,
    at: Annotated[
        datetime | None, typer.Option(help="As of this moment, in the newsletter's zone; now if left out.")
    ] = None,
    reader: Annotated[str | None, typer.Option("--as", metavar="ADDRESS", help="As this reader would get it.")] = None,
) -> None:
    """Show what the next issue would hold, with the reason for every article in or out. Changes nothing.

    Example:

      mailer issue next hebdo --at 2026-11-20T08:00 --as lea@example.org
    """
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        zone = schedules.zone(newsletter.timezone)
        moment = at.replace(tzinfo=zone).astimezone(UTC) if at else now
        told = explanations.explain(session, newsletter, at=moment, now=now, subscriber=reader)
        due_at = newsletters.next_slot(newsletter, now=moment)
        found, arrives_at = told.selection, told.arrival(due_at or moment)
        value = {
            "newsletter": slug,
            "due_at": due_at,
            "window_start": found.window_start,
            "window_end": found.window_end,
            "is_enough": found.is_enough,
            "readers": newsletters.count_readers(session, newsletter.id),
            "aside": told.aside_words,
            "arrives_at": arrives_at,
            "articles": [_choice(one) for one in found.chosen],
            "left_out": [_choice(one) for one in (*found.left_out, *told.late)],
        }
    heading = f"{slug} has no schedule; its issues are made by hand."
    if due_at is not None:
        heading = f"Next issue of {slug}: {due_at.astimezone(zone):%A %d %B %Y, %H:%M %Z}"
    if arrives_at is not None:
        heading += f"\nThis reader gets it at their hour: {arrives_at.astimezone(zone):%A %d %B %Y, %H:%M %Z}"
    output.emit(value, text="\n".join([heading, *_in_words(told)]))


@app.command()
def create(
    slug: Slug,
    body: writing.Body = None,
    subject: writing.Subject = None,
    preview_text: writing.PreviewText = None,
    respect_rhythm: Annotated[
        bool, typer.Option("--respect-rhythm", help="With --body: only to readers who are due by their rhythm.")
    ] = False,
) -> None:
    """Draft an issue from the newest articles, or of a text that is written by hand; nothing is sent yet.

    Example:

      mailer issue create hebdo --subject "Un numéro spécial" --body numero.md
    """
    if body is not None:
        wanted = handwriting.Draft(
            subject=subject or "",
            body=writing.read(body),
            preview_text=preview_text or "",
            respects_rhythm=respect_rhythm,
        )
        issue_id = writing.draft(slug, wanted)
    elif subject is not None or preview_text is not None or respect_rhythm:
        raise typer.BadParameter("These go with --body only; mailer issue edit changes an automatic issue's words.")
    else:
        with transaction() as session:
            issue_id = issues.draft(session, newsletters.get(session, slug), now=clock.now()).id
    with transaction() as session:
        value = _value(session, issues.get(session, issue_id))
    output.emit(
        value, text=f"Drafted issue {value['id']}: {value['subject']}\nSend it: mailer issue send {value['id']}"
    )


@app.command()
def send(
    issue_id: IssueId,
    when_uncertain: Policy = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask to type the number of readers.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the progress until it is sent.")] = False,
    despite_checks: Annotated[
        bool, typer.Option("--despite-checks", help="Let it leave with what the checks find (mailer issue check).")
    ] = False,
) -> None:
    """Send an issue now. Asks to type the number of readers, unless --yes.

    Example:

      mailer issue send 12 --watch
    """
    with transaction() as session:
        issue = issues.get(session, issue_id)
        count = newsletters.count_readers(session, issue.newsletter_id)
        subject, name, sender = issue.subject, issue.newsletter.name, issue.newsletter.sender_address
        approvals.require(session, issue, None, now=clock.now())
        if not despite_checks:
            checks.fail_if_blocked(session, issue)
    output.say(f"  {subject}\n  to {count:,} readers of {name}, from {sender}, now")
    if not yes:
        _ask_for(count)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        if despite_checks:
            checks.let_pass(session, issue)
        _choose(session, issue, when_uncertain)
        at = leaving.leave(session, issue, now=clock.now())
    if yes or at <= clock.now():
        leaving_cli.tell(issue_id, at)
    else:
        output.say(f"Leaving in {round((at - clock.now()).total_seconds())} s, Ctrl-C to stop …")
        leaving_cli.wait_or_undo(issue_id, at)
    if watch:
        watching.watch(issue_id)
    else:
        output.emit({"id": issue_id, "state": "scheduled"}, text=f"Leaving. Watch it: mailer issue watch {issue_id}")


@app.command()
def watch(issue_id: IssueId) -> None:
    """Show the progress of an issue until it is sent. Ctrl-C only stops watching."""
    watching.watch(issue_id)


@app.command()
def schedule(
    issue_id: IssueId,
    at: Annotated[datetime, typer.Argument(help="In the newsletter's zone.")],
    when_uncertain: Policy = None,
) -> None:
    """Have a draft leave at a moment, such as 2026-12-04T07:00."""
    with transaction() as session:
        issue = issues.get(session, issue_id)
        moment = at.replace(tzinfo=schedules.zone(issue.newsletter.timezone)).astimezone(UTC)
        _choose(session, issue, when_uncertain)
        approvals.require(session, issue, None, now=clock.now())
        issues.schedule(session, issue, at=moment, now=clock.now())
        value = _value(session, issue)
    output.emit(value, text=f"Issue {issue_id} leaves at {at:%Y-%m-%d %H:%M}.")


@app.command("set")
def set_(issue_id: IssueId, when_uncertain: Annotated[WhenUncertain, typer.Option()]) -> None:
    """Choose what happens to mails whose answer is lost, until the issue is sent: leave them, or resend.

    Example:

      mailer issue set 12 --when-uncertain resend
    """
    with transaction() as session:
        issue = issues.get(session, issue_id)
        issues.set_when_uncertain(session, issue, when_uncertain, now=clock.now())
    output.emit({"id": issue_id, "when_uncertain": when_uncertain}, text=f"Issue {issue_id}: {when_uncertain}.")


@app.command()
def unschedule(issue_id: IssueId) -> None:
    """Make a scheduled issue a draft again."""
    with transaction() as session:
        issues.unschedule(session, issues.get(session, issue_id), now=clock.now())
    _told(issue_id, IssueState.DRAFT)


@app.command()
def pause(issue_id: IssueId) -> None:
    """Stop handing an issue over; workers notice within a second."""
    with transaction() as session:
        issues.pause(session, issues.get(session, issue_id), "paused from the command line", now=clock.now())
    _told(issue_id, IssueState.PAUSED)


@app.command()
def resume(issue_id: IssueId) -> None:
    """Go on with a paused issue."""
    with transaction() as session:
        issues.resume(session, issues.get(session, issue_id), now=clock.now())
    _told(issue_id, IssueState.SENDING)


@app.command()
def cancel(issue_id: IssueId, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Give up what has not been handed over yet. This can't be undone."""
    if not yes:
        output.need_terminal()
        typer.confirm(f"Cancel the rest of issue {issue_id}?", abort=True, err=True)
    with transaction() as session:
        issues.cancel(session, issues.get(session, issue_id), now=clock.now())
    _told(issue_id, IssueState.CANCELLED)


@app.command()
def deliveries(
    issue_id: IssueId,
    outcome: Annotated[Outcome | None, typer.Option(help="Only those that ended so.")] = None,
    after: Annotated[int, typer.Option(help="Go on after this delivery.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
) -> None:
    """List what became of every single delivery, with the server's words."""
    with transaction() as session:
        issues.get(session, issue_id)
        lines = ledger.log(session, issue_id, outcome=outcome, after_id=after, limit=limit)
    rows = [
        {
            "delivery": one.delivery_id,
            "address": one.address,
            "outcome": one.outcome,
            "reply": one.reply,
            "at": one.recorded_at,
        }
        for one in lines
    ]
    output.emit_rows(
        rows, columns=("delivery", "address", "outcome", "reply", "at"), empty="There is no such delivery."
    )


def _in_words(told: explanations.Explanation) -> list[str]:
    found = told.selection
    lines = [told.aside_words] if told.aside_words else []
    lines += [f"  {one.layout or '':5} {one.article.title}\n        {one.reason}" for one in found.chosen]
    lines += [f"  out   {one.article.title}\n        {one.reason}" for one in (*found.left_out, *told.late)]
    if not found.chosen and not told.aside:
        lines.append("Nothing new since the last issue: it would be skipped.")
    return lines


def _ask_for(count: int) -> None:
    output.need_terminal()
    typed = typer.prompt(f"Type {count} to send", err=True)
    if typed.replace(",", "").replace(" ", "").strip() != str(count):
        output.fail("That is not the number; nothing was sent.", output.USAGE)


def _choose(session: Session, issue: Issue, when_uncertain: WhenUncertain | None) -> None:
    if when_uncertain is not None:
        issues.set_when_uncertain(session, issue, when_uncertain, now=clock.now())


def _told(issue_id: int, state: IssueState) -> None:
    output.emit({"id": issue_id, "state": state}, text=f"Issue {issue_id} is {state}.")


def _value(session: Session, issue: Issue) -> dict[str, object]:
    found = ledger.equation(session, issue.id)
    waiting = hours.waiting(session, issue.id, now=clock.now())
    return {
        "id": issue.id,
        "number": issue.number,
        "state": issue.state,
        "state_code": issue.state_code,
        "state_reason": issue.state_reason,
        "when_uncertain": issue.when_uncertain,
        "subject": issue.subject,
        "scheduled_at": issue.scheduled_at,
        "started_at": issue.started_at,
        "finished_at": issue.finished_at,
        "recipients": issue.recipients,
        "readers_not_due": issue.readers_not_due,
        "readers_without_news": issue.readers_without_news,
        "accepted": found.accepted,
        "refused": found.refused,
        "skipped": found.skipped,
        "uncertain": found.uncertain,
        "waiting": found.waiting,
        "waiting_for_hour": waiting.readers if waiting else 0,
        "last_hour": waiting.last_at if waiting else None,
    }


def _choice(one: selection.Choice) -> dict[str, object]:
    article = one.article
    return {"id": article.id, "title": article.title, "url": article.url, "layout": one.layout, "reason": one.reason}
