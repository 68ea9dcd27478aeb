"""Cells that are done: a run that is cut off goes on where it was.

Beside the results lies ``finished.jsonl``, one line for each cell as soon as it is done. A line
counts only for the code and the trace files that it was run with, both as one digest, so that
rows of different code are never mixed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from contracts.errors import InputError
from harness.bench.cells import Cell
from harness.bench.traces import TRACES

FILE = "finished.jsonl"
_ROOT = Path(__file__).resolve().parents[2]
# Whatever a cell runs through, data files included.
_CODE = ("contracts", "simcore", "profiler", "planner", "harness/bench", "harness/store")

Row = dict[str, float | int]


def settings_digest(traces: Path | None, code: Iterable[Path] | None = None) -> str:
    """SHA-256 over the code that a cell runs through and the trace files that are there.

    Args:
        traces: folder of the trace files.
        code: folders, ``None`` for those of the project.
    """
    found = hashlib.sha256()
    for folder in code if code is not None else [_ROOT / name for name in _CODE]:
        files = (path for path in folder.rglob("*") if path.is_file())
        for path in sorted(path for path in files if path.suffix != ".pyc"):
            _add(found, path, str(path.relative_to(folder)))
    for trace in TRACES.values():
        if traces is not None and (traces / trace.file).is_file():
            _add(found, traces / trace.file, trace.file)
    return found.hexdigest()


def _add(found: hashlib._Hash, path: Path, name: str) -> None:
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    found.update(f"{name}\0{content}\n".encode())


class Finished:
    """Rows of cells by cell, kept in a file to which lines are only added.

    Args:
        path: the file; it need not exist.
        digest: of code and settings; lines with another one are passed over.

    Raises:
        InputError: a line is not one of this file's; the last one may be cut off.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path, self._digest = path, digest
        self._rows: dict[Cell, Row] = {}
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        *lines, rest = text.split("\n")
        if rest:
            path.write_text(text[: len(text) - len(rest)], encoding="utf-8")
        for number, line in enumerate(lines, 1):
            try:
                read = json.loads(line)
                cell, row = Cell(**read["cell"]), read["row"]
                if read["digest"] == digest:
                    self._rows[cell] = row
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    "is not a finished cell; remove the file to begin anew",
                    path=f"{path}:{number}",
                    value=line[:80],
                ) from error

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, cell: Cell) -> Row | None:
        """The row of a cell, ``None`` when it has to be run."""
        return self._rows.get(cell)

    def add(self, cell: Cell, row: Mapping[str, float | int]) -> None:
        """Keep a row, on disk when this returns."""
        self._rows[cell] = dict(row)
        line = json.dumps({"digest": self._digest, "cell": asdict(cell), "row": dict(row)})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
