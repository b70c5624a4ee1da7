"""`bin/bench` alone: every figure of the README, measured one after the other, as the table that stands there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench import freeze, overtake, report, send, sign, sinks, web

BEGIN: Final = "<!-- bench: begin -->"
END: Final = "<!-- bench: end -->"
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: what was measured, the figure, and what it is compared with."""

    what: str
    figure: str
    beside: str


def everything(
    write: Annotated[Path | None, typer.Option(help="Put the table into this file, between its marks.")] = None,
    scale: Annotated[float, typer.Option(min=0.001, max=1, help="A part of the usual numbers, to try it out.")] = 1.0,
) -> None:
    """Run every bench with the numbers of the README; about a quarter of an hour."""
    rows = [row for part in PARTS for row in _told(part, scale)]
    lines = ["| measured | here | beside it |", "| --- | --- | --- |"]
    lines += [f"| {row.what} | {row.figure} | {row.beside} |" for row in rows]
    table = "\n".join([*lines, "", f"Machine: {report.machine()}; server, services and workers all on it."])
    typer.echo(table)
    if write is not None:
        write.write_text(put_between(write.read_text(encoding="utf-8"), table), encoding="utf-8")


def put_between(text: str, table: str) -> str:
    """Return `text` with the table between its marks."""
    if BEGIN not in text or END not in text:
        raise typer.BadParameter(f"The file has no {BEGIN} and {END}.")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def _told(part: Callable[[float], list[Row]], scale: float) -> list[Row]:
    typer.echo(f"{(part.__doc__ or '').rstrip('.')} …", err=True)
    return part(scale)


def _plan(messages: float, **values: Any) -> send.Plan:
    usual: Result = {"workers": 2, "connections": 10, "sessions": 10, "delay_ms": 0, "sink": sinks.Sink.FAST, "runs": 3}
    return send.Plan(messages=max(100, int(messages)), **(usual | values))


def _ratio(found: Result) -> str:
    if found["ratio"] is None:
        return str(found["smtp_source_per_second"])
    low, high = found["spread"]
    kept = found["ratio_to_kept_connections"]
    first = f"{found['ratio']} × `smtp-source` ({low}–{high}), which sent {found['smtp_source_per_second']:,}/s"
    return f"{first}; {kept} × with its `-d`"


def _fast(scale: float) -> list[Row]:
    """To a server that is not the bottleneck."""
    found: Result = send.measure(_plan(100_000 * scale))
    what = f"issue to {found['messages']:,} readers, 2 worker processes × 10 connections"
    return [Row(what=what, figure=f"{found['messages_per_second']:,} messages/s", beside=_ratio(found))]


def _postfix(scale: float) -> list[Row]:
    """To Postfix's smtp-sink."""
    try:
        found: Result = send.measure(_plan(30_000 * scale, sink=sinks.Sink.SMTP_SINK))
    except sinks.Missing as error:
        return [Row(what="the same to Postfix `smtp-sink`", figure="–", beside=str(error))]
    figure = f"{found['messages_per_second']:,} messages/s"
    return [Row(what="the same to Postfix `smtp-sink`", figure=figure, beside=_ratio(found))]


def _slow(scale: float) -> list[Row]:
    """To a server that answers after 20 ms."""
    plan = _plan(100_000 * scale, workers=1, connections=300, sessions=300, delay_ms=20)
    found: Result = send.measure(plan)
    what = "to a server that answers after 20 ms, 300 connections of one process"
    return [Row(what=what, figure=f"{found['messages_per_second']:,} messages/s", beside=_ratio(found))]


def _growth(scale: float) -> list[Row]:
    """Ten thousand, a hundred thousand and a million readers."""
    found: list[Result] = [
        send.measure(_plan(count * scale, runs=runs)) for count, runs in ((10_000, 3), (100_000, 3), (1_000_000, 1))
    ]
    cpu = " / ".join(f"{sum(one['cpu_us_per_message'].values()):.0f}" for one in found)
    steady = " / ".join(f"{one['steady_us_per_message']:.0f}" for one in found)
    rates = " / ".join(f"{one['messages_per_second']:,}" for one in found)
    memory = " / ".join(str(one["peak_rss_mb"]) for one in found)
    counts = " / ".join(f"{one['messages']:,}" for one in found)
    return [
        Row(what=f"time a message in mid-send, {counts} readers", figure=f"{steady} µs", beside="the same"),
        Row(what="processor time a message, start and end included", figure=f"{cpu} µs", beside=f"{rates} messages/s"),
        Row(what="memory of a worker process, the same", figure=f"{memory} MB", beside="at most 150 MB"),
    ]


def _freeze(scale: float) -> list[Row]:
    """Freezing a million recipients."""
    found: Result = freeze.measure(max(1000, int(1_000_000 * scale)), 3)
    low, high = found["freeze_spread"]
    return [
        Row(
            what=f"freezing {found['messages']:,} recipients",
            figure=f"{found['freeze_seconds']} s ({low}–{high})",
            beside="at most 15 s",
        ),
        Row(
            what="claiming from the fresh rows",
            figure=f"{found['claimed_per_second']:,}/s",
            beside="at least 20,000/s",
        ),
    ]


def _overtake(scale: float) -> list[Row]:
    """Confirmations behind an issue that is being sent."""
    found: Result = overtake.measure(max(1000, int(1_000_000 * scale)), 60, 5)
    what = f"confirmation mail behind an issue to {found['messages']:,}: 95 % within"
    return [Row(what=what, figure=f"{found['p95_seconds']} s", beside="at most 10 s")]


def _sign(_: float) -> list[Row]:
    """Filling and signing one reader's copy."""
    found: Result = sign.measure()
    return [
        Row(what="filling one reader's copy", figure=f"{found['fill_us']} µs", beside="at most 10 µs"),
        Row(
            what="signing with DKIM, one core",
            figure=f"Ed25519 {found['ed25519_per_second']:,}/s, RSA-2048 {found['rsa2048_per_second']:,}/s",
            beside=f"dkimpy: {found['dkimpy_ed25519_per_second']:,}/s, {found['dkimpy_rsa2048_per_second']:,}/s",
        ),
    ]


def _web(scale: float) -> list[Row]:
    """Pixel, counted links, one-click, and the sign-up form."""
    found: Result = web.measure(max(0.3, 5 * scale))
    names = {
        "pixel": "pixels, one web process on one core",
        "click": "counted links, the same",
        "one_click": "one-click unsubscribing, on the disk before the answer, the same",
        "subscribe": "sign-ups by the form, two web processes, PostgreSQL and the client on both cores",
    }
    least = {"pixel": 1500, "click": 1500, "one_click": 1500, "subscribe": 750}
    return [
        Row(
            what=what,
            figure=f"{found[name]['per_second']:,}/s, 99 % within {found[name]['p99_ms']:.0f} ms",
            beside=f"at least {least[name]:,}/s",
        )
        for name, what in names.items()
    ]


PARTS: Final = (_fast, _postfix, _slow, _growth, _freeze, _overtake, _sign, _web)
