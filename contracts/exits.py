"""Turns the outcome of a command line into one message and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from contracts.errors import RehearsalError

BAD_USAGE = 2
BUG = 70
INTERRUPTED = 130


def run_command(command: Callable[[], object], *, interrupted: str = "interrupted") -> int:
    """Run a command to its exit code; errors become one message on stderr.

    Args:
        command: returns an exit code, or anything else for success.
        interrupted: what to say after Ctrl-C or SIGTERM.
    """
    try:
        result = command()
    except RehearsalError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        result = INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last resort of the process
        return _unexpected(error)
    code = result if isinstance(result, int) and not isinstance(result, bool) else 0
    if code == INTERRUPTED:
        _say(interrupted)
    return code


def _unexpected(error: Exception) -> int:
    """Usage errors of a command-line library show themselves; all else is our bug."""
    show = getattr(error, "show", None)
    if callable(show) and hasattr(error, "exit_code"):
        show()
        return BAD_USAGE
    traceback.print_exception(error)
    _say("error: this is a bug, please report it")
    return BUG


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
