"""The clock of the status file."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text() -> str:
    """The present in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
