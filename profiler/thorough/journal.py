"""What has been measured, so that a search that was killed goes on where it was.

One JSON object on each line, written and synchronised before anything depends on it. A line
that a crash cut short is dropped. Keys: ``search`` (the first line: digest of request and
options), ``point`` (figures of one burst), ``end`` (a candidate is through, with its outcome),
``kv`` (capacity of a deployed candidate), ``spent`` (seconds and GPU-seconds so far).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from profiler.thorough.ports import Measurement, OutputError

JOURNAL_FILE = "journal.jsonl"


class Outcome(StrEnum):
    """How a candidate ended."""

    DONE = "done"
    FAILED = "failed"
    PRUNED = "pruned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A candidate that is not looked at again, and why."""

    outcome: Outcome
    reason: str


class Journal:
    """Appends to and answers from the journal of one output folder.

    Args:
        folder: output folder; is made.
        digest: of everything that decides what is measured.
        append: writes a line and returns when it is safe; tests replace it.

    Raises:
        InputError: the folder holds the journal of another search.
        OutputError: it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        digest: str,
        append: Callable[[Path, bytes], None] | None = None,
    ) -> None:
        self._path = folder / JOURNAL_FILE
        self._append = append or append_line
        self._points: dict[str, Measurement] = {}
        self._failed_points: dict[str, str] = {}
        self._ends: dict[str, Ended] = {}
        self._kv: dict[str, tuple[int, str]] = {}
        self.spent_s = 0.0
        self.spent_gpu_s = 0.0
        entries = _entries(self._path)
        if not entries:
            self._write({"search": digest})
        elif entries[0].get("search") != digest:
            raise InputError(
                "holds a search for another request or with other options; "
                "take another folder or remove it",
                source=str(self._path),
                path="search",
                value=str(entries[0].get("search")),
                allowed=digest,
            )
        for entry in entries[1:]:
            self._take(entry)
        self.resumed = len(entries) > 1

    def point(self, key: str) -> Measurement | None:
        """Figures of a burst that was measured before."""
        return self._points.get(key)

    def failed_point(self, key: str) -> str | None:
        """Why a burst could not be measured before."""
        return self._failed_points.get(key)

    def ended(self, candidate: str) -> Ended | None:
        """How a candidate ended, ``None`` while it has not."""
        return self._ends.get(candidate)

    def kv(self, candidate: str) -> tuple[int, str] | None:
        """KV tokens of a candidate and where the number came from, once it was deployed."""
        return self._kv.get(candidate)

    def record_point(self, key: str, found: Measurement) -> None:
        """A burst was measured."""
        self._note({"point": key, "figures": asdict(found)})

    def record_failed_point(self, key: str, reason: str) -> None:
        """A burst could not be measured."""
        self._note({"point": key, "failed": reason})

    def record_kv(self, candidate: str, tokens: int, source: str) -> None:
        """A candidate is up and has this capacity."""
        self._note({"kv": candidate, "tokens": tokens, "source": source})

    def record_end(self, candidate: str, outcome: Outcome, reason: str = "") -> None:
        """A candidate is through."""
        self._note({"end": candidate, "outcome": outcome.value, "reason": reason})

    def record_spent(self, seconds: float, gpu_seconds: float) -> None:
        """Time and GPU time of a deployment that has just ended."""
        self._note({"spent": seconds, "gpu_seconds": gpu_seconds})

    def _note(self, entry: dict[str, Any]) -> None:
        self._write(entry)
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        if "point" in entry and "figures" in entry:
            self._points[entry["point"]] = Measurement(**entry["figures"])
        elif "point" in entry:
            self._failed_points[entry["point"]] = entry["failed"]
        elif "end" in entry:
            outcome = Outcome(entry["outcome"])
            self._ends[entry["end"]] = Ended(outcome=outcome, reason=entry["reason"])
        elif "kv" in entry:
            self._kv[entry["kv"]] = entry["tokens"], entry["source"]
        elif "spent" in entry:
            self.spent_s += entry["spent"]
            self.spent_gpu_s += entry["gpu_seconds"]

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._append(self._path, json.dumps(entry, sort_keys=True).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error}") from error


def append_line(path: Path, line: bytes) -> None:
    """Append a line and wait until it is on the disk; mends a line that was cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as sink:
        end = sink.seek(0, os.SEEK_END)
        if end:
            sink.seek(end - 1)
            if sink.read(1) != b"\n":
                line = b"\n" + line
        sink.write(line)
        sink.flush()
        os.fsync(sink.fileno())


def _entries(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; what a crash left of a line is no entry."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
