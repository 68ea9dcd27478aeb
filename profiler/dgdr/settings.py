"""The clock of the status file, and what a profiling Job is told by its surroundings."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from dgdr.request import MODEL_CACHE_VARIABLE


def utc_text() -> str:
    """The present in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def model_cache() -> Path | None:
    """Where weights are kept, if anything says so."""
    found = os.environ.get(MODEL_CACHE_VARIABLE)
    return Path(found) if found else None
