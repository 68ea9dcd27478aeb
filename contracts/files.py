"""What a person is told about files that cannot be read or written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from contracts.errors import InputError


def why(error: OSError | UnicodeError) -> str:
    """The reason alone: the path stands elsewhere in the message, the number helps nobody."""
    if isinstance(error, UnicodeError):
        return "is not UTF-8 text"
    return error.strerror or str(error)


def unreadable(error: OSError | UnicodeError) -> str:
    """What to say of a file that was not read, after its name."""
    return f"cannot be read: {why(error)}"


def folder_for_output(path: Path, option: str) -> None:
    """Make the folder of a command's results before the work begins.

    Args:
        path: folder, made with its parents if it is missing.
        option: that named it, for the message.

    Raises:
        InputError: it cannot be made, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"cannot be written: {why(error)}",
            path=option,
            value=str(path),
            allowed="a folder that may be written, or a name at which one can be made",
        ) from error
