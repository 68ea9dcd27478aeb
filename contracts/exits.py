"""Turns the outcome of a command line into one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from contracts.errors import InfeasibleError, PermanentError, RehearsalError
from contracts.files import why

BAD_USAGE = 2
BUG = 70
INTERRUPTED = 130
# Whoever read our standard output has gone (`| head -1`); what a shell says of SIGPIPE.
OUTPUT_LOST = 141
# The option of our servers that stands for `end_with_stdin`.
UNTIL_STDIN_ENDS = "--until-stdin-ends"

# By then the callback in which an interrupt was lost has returned.
_AGAIN_S = 0.01


def end_with(command: Callable[[], object], *, interrupted: str = "interrupted") -> NoReturn:
    """Run the command of this process and end it with the command's exit code.

    SIGTERM does what Ctrl-C does, and neither gets lost.

    Args:
        command: as of `run_command`.
        interrupted: as of `run_command`.
    """
    _hear_signals()
    code = run_command(command, interrupted=interrupted)
    # An interrupt within `exec` of a string (dataclasses are made so) leaves a mark, although it
    # was caught: the process would end by SIGINT instead of its code. The next `exec` clears it.
    exec("pass")
    sys.exit(code)


def end_with_stdin() -> None:
    """Send this process SIGTERM when its standard input ends.

    So it does not outlive whoever holds the other end, however that one dies.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 65536):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="until-stdin-ends", daemon=True).start()


def run_command(command: Callable[[], object], *, interrupted: str = "interrupted") -> int:
    """Run a command to its exit code; errors become one message on stderr.

    Args:
        command: returns an exit code, or anything else for success.
        interrupted: what to say after Ctrl-C or SIGTERM.
    """
    try:
        result = command()
        _flush()
    except RehearsalError as error:
        _say(f"error: {_readable(error)}")
        return error.exit_code
    except KeyboardInterrupt:
        result = INTERRUPTED
    except SystemExit as end:
        # Command-line libraries answer a reader that has gone with 1, which would be a verdict.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return _output_lost()
    except BrokenPipeError as error:
        return _output_lost() if _output_is_lost() else _unexpected(error)
    except OSError as error:
        return _of_a_file(error)
    except Exception as error:  # noqa: BLE001  # the last resort of the process
        return _unexpected(error)
    code = result if isinstance(result, int) and not isinstance(result, bool) else 0
    if code == INTERRUPTED:
        _say(interrupted)
    return code


def _hear_signals() -> None:
    """SIGTERM is heard as SIGINT is; an interrupt that a callback swallowed comes again."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    tell = sys.unraisablehook

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM)).start()
        else:
            tell(lost)

    sys.unraisablehook = unraisable


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell's background job ignores SIGINT
        handler = signal.default_int_handler
    handler(number, frame)


def _readable(error: RehearsalError) -> str:
    """Several candidates take a line each."""
    if isinstance(error, InfeasibleError) and error.closest:
        head = str(error).removesuffix("; closest: " + "; ".join(error.closest))
        return "\n".join([head, *(f"  closest: {each}" for each in error.closest)])
    return str(error)


def _flush() -> None:
    if sys.stdout is not None:  # closed by the shell (`>&-`)
        sys.stdout.flush()


def _output_is_lost() -> bool:
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _output_lost() -> int:
    """End in silence: nobody reads any more, and the interpreter would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return OUTPUT_LOST


def _of_a_file(error: OSError) -> int:
    """A file that the system refuses, or a full disk, is no bug of ours."""
    if error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        _say(f"error: {name}: cannot be used: {why(error)}")
        return PermanentError.exit_code
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        _say(f"error: what was to be written is not complete: {why(error)}")
        return PermanentError.exit_code
    return _unexpected(error)


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
