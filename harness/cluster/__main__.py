"""``python -m harness.cluster``: the server process behind ``harness cluster up``."""

from __future__ import annotations

import sys

from contracts.exits import run_command
from harness.cluster.cli import cluster_app


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    sys.exit(run_command(lambda: cluster_app(standalone_mode=False)))


if __name__ == "__main__":
    main()
