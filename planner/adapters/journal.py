"""What a planner has seen, as JSON lines, and the decisions that follow from it.

The first line is ``{"journal": 1, "config_digest": ...}``; each further one is
``{"snapshot": {...}}`` or ``{"blind": {...}}`` with the fields of ``ClusterSnapshot`` and
``Blind``. The same configuration and journal give the same decisions, whichever adapter saw it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from contracts.decision import Decision
from contracts.errors import InputError
from contracts.observation import ClusterSnapshot
from planner.loop import Blind, Planner, View

FORMAT = 1
_SNAPSHOT: TypeAdapter[ClusterSnapshot] = TypeAdapter(ClusterSnapshot)
_BLIND: TypeAdapter[Blind] = TypeAdapter(Blind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A recorded journal.

    Attributes:
        config_digest: of the planner that saw it.
    """

    config_digest: str
    views: tuple[View, ...]


class JournalWriter:
    """Appends views to an open file, one line each, at once.

    Args:
        sink: an open text file; its owner closes it.
        config_digest: of the planner's configuration.
    """

    def __init__(self, sink: IO[str], config_digest: str) -> None:
        self._sink = sink
        self._write({"journal": FORMAT, "config_digest": config_digest})

    def __call__(self, view: View) -> None:
        """Record what the planner sees now."""
        key = "blind" if isinstance(view, Blind) else "snapshot"
        self._write({key: asdict(view)})

    def _write(self, content: object) -> None:
        self._sink.write(json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n")
        self._sink.flush()


def read_journal(path: Path) -> Journal:
    """Read a journal; a last line that was cut off is no part of it.

    Raises:
        InputError: the file cannot be read or is no journal.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    whole = text[: text.rfind("\n") + 1].splitlines()
    rows = [_row(line, f"{path}:{number}") for number, line in enumerate(whole, start=1)]
    if not rows or rows[0].get("journal") != FORMAT:
        raise InputError(
            "is no journal of a planner", source=str(path), allowed=f"journal {FORMAT}"
        )
    views = tuple(_view(row, f"{path}:{number}") for number, row in enumerate(rows[1:], start=2))
    return Journal(config_digest=str(rows[0].get("config_digest")), views=views)


def replay(planner: Planner, views: Iterable[View]) -> list[Decision]:
    """Show a planner what was seen; its decisions in their order."""
    return [planner.on_view(view) for view in views]


def _row(line: str, source: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", source=source) from error
    if not isinstance(row, dict):
        raise InputError("must be an object", source=source, value=line[:80])
    return row


def _view(row: dict[str, object], source: str) -> View:
    try:
        if "blind" in row:
            return _BLIND.validate_python(row["blind"])
        return _SNAPSHOT.validate_python(row["snapshot"])
    except KeyError as error:
        keys = ", ".join(row)
        raise InputError(
            "is no view", source=source, value=keys, allowed="snapshot, blind"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], source=source, path=where) from error
