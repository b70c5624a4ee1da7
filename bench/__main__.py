"""`bin/bench`: each figure a ratio to a reference in the same run."""

import typer

from bench.bounces import bounces
from bench.everything import everything
from bench.freeze import freeze
from bench.kill import kill
from bench.overtake import overtake
from bench.send import send
from bench.sign import sign
from bench.web import web

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
for command in (everything, send, freeze, overtake, sign, web, bounces, kill):
    app.command()(command)


@app.callback(invoke_without_command=True)
def benches(context: typer.Context) -> None:
    """Measure the service on this machine; without a command, everything, as the README's table.

    Examples: bin/bench send --messages 20000 --json; bin/bench kill --seed 7; bin/bench everything --write README.md
    """
    if context.invoked_subcommand is None:
        everything()


app()
