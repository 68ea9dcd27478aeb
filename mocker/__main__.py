"""``python -m mocker serve``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from contracts.exits import run_command
from contracts.faults import LostRequestPolicy
from mocker.settings import ServeSettings, load_plan, load_step_times

cli = typer.Typer(
    name="mocker",
    help="OpenAI-compatible server whose timing is a simulated engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@cli.callback()
def mocker() -> None:
    """OpenAI-compatible server whose timing is a simulated engine."""


@cli.command(epilog="Example: python -m mocker serve --plan profile/plan.json --port 8000")
def serve(  # noqa: PLR0913  # options of a command line
    plan: Annotated[Path, typer.Option(help="Deployment plan (JSON) of the profiler.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any free one.")] = 8000,
    speed: Annotated[float, typer.Option(help="Simulated seconds in a wall second.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Chooses the generated text.")] = 0,
    on_worker_lost: Annotated[
        LostRequestPolicy, typer.Option(help="What happens to requests of a dead worker.")
    ] = LostRequestPolicy.RETRY,
    step_times: Annotated[
        str, typer.Option(help="roofline, profile:DIR or table:FILE, see docs/step-times.md.")
    ] = "roofline",
) -> None:
    """Serve a deployment plan until interrupted."""
    from mocker.server import serve as run

    settings = ServeSettings(
        plan=load_plan(plan),
        host=host,
        port=port,
        speed=speed,
        seed=seed,
        on_worker_lost=on_worker_lost,
        timer_for=load_step_times(step_times),
    )
    asyncio.run(run(settings))


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    sys.exit(run_command(lambda: cli(standalone_mode=False)))


if __name__ == "__main__":
    main()
