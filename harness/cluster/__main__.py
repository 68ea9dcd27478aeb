"""``python -m harness.cluster``: the server process behind ``harness cluster up``."""

from __future__ import annotations

import sys

import typer

from contracts.command_line import with_options
from contracts.exits import run_command
from harness.cluster.cli.options import ServeOptions
from harness.cluster.cli.serve import serve_cluster


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(with_options(ServeOptions, serve_cluster))
    sys.exit(run_command(lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
