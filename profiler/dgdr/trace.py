"""Reads a trace whose requests a deployment shall serve."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from contracts.errors import InputError
from contracts.files import unreadable
from contracts.workload import Workload
from simcore.workload import (
    parse_azure,
    parse_burstgpt,
    parse_csv,
    parse_jsonl,
    parse_mooncake,
    parse_servegen,
)

_PARSERS: Mapping[str, Callable[..., Workload]] = {
    "azure": parse_azure,
    "burstgpt": parse_burstgpt,
    "mooncake": parse_mooncake,
    "servegen": parse_servegen,
    "csv": parse_csv,
    "jsonl": parse_jsonl,
}
FORMATS = ("auto", *_PARSERS)
# The search simulates a trace many times; it takes its beginning.
REQUESTS_MAX = 5000


def load_trace(
    path: Path, *, kind: str = "auto", limit: int | None = REQUESTS_MAX, speed: float = 1.0
) -> Workload:
    """Read the first ``limit`` requests of a trace, which may be compressed with gzip.

    Args:
        path: the file.
        kind: one of :data:`FORMATS`; ``auto`` looks at the first line.
        limit: requests to take, ``None`` for all.
        speed: 2.0 halves every gap between arrivals.

    Raises:
        InputError: it cannot be read, or a line is wrong.
    """
    if kind not in FORMATS:
        raise InputError(
            "is unknown", path="--trace-format", value=kind, allowed=", ".join(FORMATS)
        )
    try:
        with _open(path) as lines:
            if kind == "auto":
                kind = _guess(lines.readline())
                lines.seek(0)
            return _PARSERS[kind](lines, source=str(path), limit=limit, speed=speed)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=str(path)) from error


def _guess(first: str) -> str:
    if first.lstrip().startswith("{"):
        try:
            keys = set(json.loads(first))
        except json.JSONDecodeError:
            return "jsonl"
        return "mooncake" if {"timestamp", "input_length"} <= keys else "jsonl"
    columns = {name.strip() for name in next(csv.reader([first]), [])}
    if "TIMESTAMP" in columns:
        return "azure"
    if "Request tokens" in columns:
        return "burstgpt"
    return "servegen" if "client_id" in columns else "csv"


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
