"""The command line: `mailer <noun> <verb>`. Data goes to stdout, everything else to stderr."""

import sys
from typing import Annotated

import typer

from mailer.cli import (
    amending,
    articles,
    bounces,
    demo,
    feeds,
    first_run,
    issues,
    newsletters,
    output,
    pictures,
    subscribers,
    suppressions,
    system,
    tokens,
    topics,
    users,
    webhooks,
)

app = typer.Typer(
    name="mailer", no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
app.add_typer(newsletters.app, name="newsletter")
app.add_typer(feeds.app, name="feed")
articles.app.command("pictures")(pictures.show)
articles.app.command()(amending.correct)
app.add_typer(articles.app, name="article")
app.add_typer(issues.app, name="issue")
app.add_typer(subscribers.app, name="subscribers")
app.add_typer(topics.app, name="topic")
app.add_typer(bounces.app, name="bounces")
app.add_typer(suppressions.app, name="suppression")
app.add_typer(tokens.app, name="token")
app.add_typer(webhooks.app, name="webhook")
users.app.command()(first_run.link)
app.add_typer(users.app, name="user")
app.add_typer(system.config, name="config")
app.command()(demo.demo)
for command in (system.init, system.up, system.migrate, system.web, system.inbox, system.version):
    app.command()(command)


@app.callback()
def choose(
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON value.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result and errors.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
) -> None:
    """Send your newsroom's newsletter from your own server.

    Examples:

      mailer demo                    try it with a sample publication

      mailer issue next courrier     what the next issue would hold, and why

      mailer --json issue show 12    the same for scripts
    """
    output.CHOICES.as_json, output.CHOICES.quiet, output.CHOICES.color = json, quiet, not no_color


# Typer carries its own copy of click and gives no other public name to this class.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line and end with its exit code (docs/operating.md)."""
    try:
        # --json, --quiet and --no-color may stand anywhere.
        arguments = sorted(sys.argv[1:], key=lambda one: one not in ("--json", "--quiet", "-q", "--no-color"))
        code = app(args=arguments, prog_name="mailer", standalone_mode=False)
    except typer.Exit as ended:
        code = ended.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = output.INTERRUPTED
    except _UsageError as error:
        sys.stderr.write(f"mailer: {error}\n")
        code = output.USAGE
    except Exception as error:
        known = output.exit_code(error)
        if known is None:
            raise
        code, sentence = known
        sys.stderr.write(f"mailer: {sentence}\n")
    raise SystemExit(code or 0)
