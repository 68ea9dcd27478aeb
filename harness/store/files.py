"""Small files written so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from contracts.errors import InputError
from contracts.files import unreadable

T = TypeVar("T")


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file next to ``path``, then rename it into place.

    The content reaches the disk before the name does, so that not even a power cut
    leaves a half-written file under the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a UTF-8 text."""
    replace_file(path, lambda temporary: _write_utf8(temporary, text))


def write_json(path: Path, value: T, shape: TypeAdapter[T]) -> None:
    """Replace a file by a value as indented JSON."""
    write_text(path, shape.dump_json(value, indent=2).decode() + "\n")


def read_json(path: Path, shape: TypeAdapter[T]) -> T | None:
    """The value in a JSON file; ``None`` when the file does not exist.

    Raises:
        InputError: the content has another shape.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(unreadable(error), source=str(path)) from error
    try:
        return shape.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], source=str(path), path=where or None) from error


def _write_utf8(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


JsonObject = dict[str, Any]
