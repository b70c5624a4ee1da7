"""The one place that reads the wall clock; everything below routes, tasks and commands takes `now`."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)
