"""``python -m harness`` and the ``harness`` command."""

from __future__ import annotations

import signal
import sys

from contracts.exits import run_command
from harness.cli.app import app


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(
        run_command(
            lambda: app(standalone_mode=False),
            interrupted="interrupted; the run folder is marked incomplete",
        )
    )


if __name__ == "__main__":
    main()
