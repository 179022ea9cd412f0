"""The time as records have it."""

from datetime import UTC, datetime


def now() -> str:
    """Return the time, UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
