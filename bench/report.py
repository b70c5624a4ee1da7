"""How results are shown, and on which machine they were measured."""

import json
import os
import platform
from pathlib import Path

import typer


def print_result(result: dict[str, object], *, as_json: bool) -> None:
    """Print one JSON object, or a line for each value."""
    typer.echo(json.dumps(result) if as_json else "\n".join(f"{name:28} {value}" for name, value in result.items()))


def machine() -> str:
    """Name the machine: processor, cores, Python."""
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
