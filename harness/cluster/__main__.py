"""``python -m harness.cluster``: the server process behind ``harness cluster up``."""

from __future__ import annotations

import typer

from contracts.command_line import with_options
from contracts.exits import end_with
from harness.cluster.cli.options import ServeOptions
from harness.cluster.cli.serve import serve_cluster


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(with_options(ServeOptions, serve_cluster))
    end_with(lambda: app(standalone_mode=False))


if __name__ == "__main__":
    main()
