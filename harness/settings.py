"""What the harness needs of its surroundings: the clock, the arguments, the checkout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path


def utc_text() -> str:
    """The present as text fit for a file name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def utc_iso() -> str:
    """The present in ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def command_line() -> tuple[str, ...]:
    """Arguments of this process."""
    return tuple(sys.argv)


def environment() -> dict[str, str]:
    """What child processes inherit."""
    return dict(os.environ)


def checkout() -> Path:
    """Folder of the source tree."""
    return Path(__file__).resolve().parents[1]


def variables(changes: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of this process with changes, for a process that it starts."""
    return {**os.environ, **changes}
