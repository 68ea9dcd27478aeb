"""``python -m harness`` and the ``harness`` command."""

from __future__ import annotations

import sys

from contracts.exits import end_with


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    told = "interrupted"
    if sys.argv[1:2] == ["run"]:
        told += "; a run folder that was begun is marked incomplete"
    end_with(_run, interrupted=told)


def _run() -> object:
    """Some commands start without the libraries of the others: they are quick, and small."""
    if sys.argv[1:2] == ["cluster"]:
        from harness.cluster.cli import cluster_app

        return cluster_app(args=sys.argv[2:], prog_name="harness cluster", standalone_mode=False)
    if sys.argv[1:2] == ["serve"]:
        from harness.cli.service import serve_app

        return serve_app(args=sys.argv[2:], prog_name="harness serve", standalone_mode=False)
    from harness.cli.app import app

    return app(standalone_mode=False)


if __name__ == "__main__":
    main()
