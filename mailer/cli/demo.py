"""`mailer demo`: try the whole service on one machine; mail stays in a local inbox."""

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.table import Table

from mailer import clock, links, scheduling
from mailer.articles import polling
from mailer.audience import subscriptions
from mailer.cli import demo_folder, demo_scenario, output
from mailer.cli.demo_installation import SLUG, Installation, Progress, running, set_up_newsletter
from mailer.cli.demo_readers import CheckFailed, browser
from mailer.db import transaction
from mailer.embedded.processes import ChildDied
from mailer.issues import issues
from mailer.newsroom import accounts, newsletters

DATA = Path(".mailer/demo")
ACCOUNT = "camille@courrier.example"
FIRST_READERS = ("lea", "timour", "ainoura", "bakyt", "dinara", "olivier")
# So that nobody waits: the interval between two looks for due work, and between two readings of the feed.
QUICK = {"MAILER_TICK_SECONDS": "1", "MAILER_FEED_MINUTES": "0.5"}


def demo(
    once: Annotated[bool, typer.Option("--once", help="Play everything without a person, check it, and end.")] = False,
    feed: Annotated[str | None, typer.Option(metavar="FILE_OR_URL", help="Your own RSS, Atom or JSON feed.")] = None,
    outbox: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --once: where every mail is written.")
    ] = None,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where the demo keeps its state.")] = DATA,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the state of earlier runs.")] = False,
    port: Annotated[int, typer.Option(min=1024, max=65_000, help="Of the web server; the others are above it.")] = 8000,
) -> None:
    """Try the whole service with a sample publication; mail stays on this machine.

    Examples:

      mailer demo                             open the pages it prints, Ctrl-C stops it

      mailer demo --feed https://my.site/rss  your own articles

      mailer demo --once --outbox mails/      the same without a person: writes every mail
    """
    if feed and "://" not in feed and not Path(feed).is_file():
        output.fail(f"there is no file {feed}.", output.NOT_FOUND)
    if once:
        _once(feed, outbox)
    else:
        _for_a_person(feed, demo_folder.prepare(data, fresh=fresh), port=port)


def _once(feed: str | None, outbox: Path | None) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        progress = _progress(stack)
        installation = stack.enter_context(running(None, port=None, feed=feed, environment=QUICK, progress=progress))
        try:
            outcome = demo_scenario.play(installation, has_own_feed=feed is not None, progress=progress)
        except (CheckFailed, ChildDied, httpx.HTTPError) as error:
            output.fail(f"{error}\nThe logs are in {_keep_logs(installation.folder)}.")
        progress("stopping")
    target = outbox or Path(tempfile.mkdtemp(prefix="mailer-outbox-"))
    written = demo_scenario.write_outbox(outcome, target)
    _report(outcome, target, written, seconds=time.monotonic() - began)


def _keep_logs(folder: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="mailer-logs-"))
    for log in folder.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _report(outcome: demo_scenario.Outcome, target: Path, written: list[Path], *, seconds: float) -> None:
    rows = [
        {
            "issue": result.issue,
            "subject": result.subject,
            "articles": result.articles,
            "recipients": result.equation.recipients,
            "accepted": result.equation.accepted,
            "refused": result.equation.refused,
            "skipped": result.equation.skipped,
            "uncertain": result.equation.uncertain,
        }
        for result in outcome.results
    ]
    mails = [str(path) for path in written]
    if output.CHOICES.as_json:
        output.emit({"issues": rows, "mails": mails, "outbox": str(target), "seconds": round(seconds, 1)})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "subject" else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    output.console(stderr=False).print(table)
    for row in rows:
        output.emit(
            None,
            text="Issue {issue}: {recipients} recipients = {accepted} accepted + {refused} refused + {skipped} skipped "
            "+ {uncertain} uncertain".format(**row),
        )
    output.emit(None, text=f"Nobody got an article twice; who left got nothing more. {len(mails)} mails in {target}")
    output.say(f"Done in {seconds:.0f} s.")


def _for_a_person(feed: str | None, data: Path, *, port: int) -> None:
    with ExitStack() as stack:
        with ExitStack() as starting:
            progress = _progress(starting)
            installation = stack.enter_context(
                running(data, port=port, feed=feed, environment=QUICK, progress=progress)
            )
            progress("the sample newsletter, its feed and readers")
            _set_up(installation)
        _greet(installation)
        installation.supervisor.wait()


def _set_up(installation: Installation) -> None:
    """Bring a new demo to where there is something to see: an account, readers, an issue that was sent, a draft."""
    set_up_newsletter(installation)
    error = _read_feeds()
    with transaction() as session:
        # Made last, together with all the rest: an earlier run that got no further left none.
        was_set_up = bool(accounts.all_accounts(session))
    if error and not was_set_up:
        output.fail(f"The feed can't be read: {error}")
    if error:
        output.say(f"The feed can't be read at present, the articles of earlier runs are there: {error}")
    if was_set_up:
        return
    issue_id = _account_readers_issue()
    if issue_id is None:
        output.say("The feed has no article yet, so there is no issue to show.")
        return
    scheduling.start_issue(issue_id)
    if installation.feed_url == f"{installation.site_url}/feed.xml":
        _draft_of_later_articles(installation)


def _read_feeds() -> str | None:
    with transaction() as session:
        feed_ids = [feed.id for feed in newsletters.feeds(session, newsletters.get(session, SLUG))]
    errors = [error for feed_id in feed_ids if (error := polling.read_feed(feed_id))]
    return errors[0] if errors else None


def _account_readers_issue() -> int | None:
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, SLUG)
        accounts.create(session, ACCOUNT, name="Camille Ferrand", password=_password(), language="fr", now=now)
        for name in FIRST_READERS:
            subscriptions.add(session, newsletter, f"{name}@example.org", language="fr", proof="demo", now=now)
        try:
            return issues.draft(session, newsletter, now=now).id
        except issues.IssueEmpty:
            return None


def _draft_of_later_articles(installation: Installation) -> None:
    browser(installation).post(f"{installation.site_url}/publish-later").raise_for_status()
    _read_feeds()
    with transaction() as session:
        issues.draft(session, newsletters.get(session, SLUG), now=clock.now())


def _greet(installation: Installation) -> None:
    with transaction() as session:
        account = accounts.find(session, ACCOUNT)
        token = links.sign_now(links.Purpose.SIGN_IN, account.id, clock.now())
    command = Path(sys.executable).with_name("mailer")
    addresses = {
        "Subscribe page": f"{installation.web_url}/{SLUG}",
        "Admin (link for one hour)": f"{installation.web_url}/admin/sign-in/{token}",
        "Inbox with every mail": installation.inbox_url,
        "The publication's site": installation.site_url,
        "Command line": f"MAILER_CONFIG={installation.folder / 'mailer.toml'} {command} issue next {SLUG}",
    }
    table = Table.grid(padding=(0, 2))
    for name, address in addresses.items():
        table.add_row(name, address)
    output.console(stderr=False).print(table)
    output.say("Nothing leaves this machine. Ctrl-C stops everything; the next start goes on from here.")


def _progress(stack: ExitStack) -> Progress:
    """Show what is being done: a spinner on a terminal, a line each elsewhere."""
    console = output.console()
    if not console.is_terminal or output.CHOICES.quiet:
        return lambda step: output.say(f"… {step}")
    status = stack.enter_context(console.status("starting"))

    def show(step: str) -> None:
        status.update(step)
        console.print(f"[green]✓[/green] {step}", highlight=False)

    return show


def _password() -> str:
    # Nobody needs it: the demo prints a sign-in link.
    return links.sign(links.Purpose.SIGN_IN, 0, 0)
