"""An append-only file of changes: written and synchronised before a request is answered.

A record is one line: eight hexadecimal digits of its CRC-32, a space, JSON. A line that
was torn by a crash was never acknowledged; it ends the file when the file is read. From
time to time the whole state goes into a snapshot, which replaces the lines before it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.errors import PermanentError

COMPACT_BYTES = 64 * 2**20
_JOURNAL = "journal.log"
_SNAPSHOT = "snapshot.json"


class Journal:
    """The two files of one data folder.

    Args:
        folder: made if absent.
        compact_bytes: size of the journal from which on a snapshot is due.
    """

    def __init__(self, folder: Path, *, compact_bytes: int = COMPACT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / _JOURNAL
        self._compact_bytes = compact_bytes
        self._size = 0
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)

    def snapshot(self) -> dict[str, Any] | None:
        """The last snapshot, if there is one."""
        path = self._folder / _SNAPSHOT
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise PermanentError(f"{path} is damaged: {error}") from error
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record in order; cuts off a torn end.

        Raises:
            PermanentError: a record before the last one is damaged.
        """
        content = self._path.read_bytes()
        position = 0
        while position < len(content):
            end = content.find(b"\n", position)
            line = content[position : end if end >= 0 else len(content)]
            record = _decoded(line) if end >= 0 else None
            if record is None:
                if end >= 0 and content.find(b"\n", end + 1) >= 0:
                    raise PermanentError(f"{self._path} is damaged at byte {position}")
                break
            yield record
            position = end + 1
        if position < len(content):
            os.ftruncate(self._file, position)
        self._size = position

    def append(self, record: dict[str, Any]) -> None:
        """Write a record; it is on the disk when this returns.

        Raises:
            PermanentError: the disk does not take it; the journal is as before.
        """
        text = json.dumps(record, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        try:
            written = os.write(self._file, line)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise PermanentError(f"{self._path} cannot be written: {error}") from error
        if written != len(line):
            os.ftruncate(self._file, self._size)
            raise PermanentError(f"{self._path}: {written} of {len(line)} bytes written")
        self._size += len(line)

    @property
    def compaction_due(self) -> bool:
        """Whether the journal has grown enough for a snapshot."""
        return self._size > self._compact_bytes

    def compact(self, state: dict[str, Any]) -> None:
        """Replace everything by a snapshot."""
        temporary = self._folder / f"{_SNAPSHOT}.new"
        with temporary.open("wb") as file:
            file.write(json.dumps(state, separators=(",", ":")).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / _SNAPSHOT)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        os.ftruncate(self._file, 0)
        self._size = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _decoded(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found
