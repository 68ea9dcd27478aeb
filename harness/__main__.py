"""``python -m harness`` and the ``harness`` command."""

from __future__ import annotations

import signal
import sys
import traceback

import click

from contracts.errors import RehearsalError
from harness.cli.app import app

BUG = 70
INTERRUPTED = 130


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except RehearsalError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        print("interrupted; the run folder is marked incomplete", file=sys.stderr)
        code = INTERRUPTED
    except Exception:  # noqa: BLE001  # the last resort of the process
        traceback.print_exc()
        print("error: this is a bug in the harness, please report it", file=sys.stderr)
        code = BUG
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
