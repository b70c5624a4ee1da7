"""`bin/bench`: each figure a ratio to a reference in the same run."""

import typer

from bench.send import send

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(send)


@app.callback()
def benches() -> None:
    """Measure the service on this machine. Example: bin/bench send --messages 20000 --json"""


app()
