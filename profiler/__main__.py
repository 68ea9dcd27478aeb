"""``python -m profiler``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from contracts.errors import InputError
from contracts.exits import run_command
from dgdr import Dgdr, load_dgdr
from profiler import RapidOptions, load_gpu, run_rapid


def run(  # noqa: PLR0913  # options of a command line
    config: Annotated[str, typer.Option(help="DGDR as a file (YAML or JSON) or as JSON text.")],
    output_dir: Annotated[Path, typer.Option(help="Where the files go.")] = Path(
        "profiling_results"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the simulated load.", min=0)] = 0,
    startup_s: Annotated[float, typer.Option(help="Seconds until a worker is ready.", min=0)] = 30,
    model_config: Annotated[
        Path | None, typer.Option(help="Local config.json of a model that is not bundled.")
    ] = None,
    gpu_file: Annotated[
        Path | None, typer.Option(help="Facts of a GPU of your own (YAML), see docs/gpus.md.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the DGDR and stop.")] = False,
) -> None:
    """Search the best deployment for a DGDR and write it.

    Example: python -m profiler --config scenarios/dgdr/llama-70b.yaml --output-dir profile
    """
    dgdr = _load(config)
    if dry_run:
        print(f"{dgdr.metadata.name}: valid")
        return
    options = RapidOptions(
        seed=seed,
        startup_s=startup_s,
        model_config=None if model_config is None else json.loads(_read(model_config)),
        gpu=None if gpu_file is None else load_gpu(_read(gpu_file), source=str(gpu_file)),
    )
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, int] = {}

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)  # type: ignore[arg-type]

        result = run_rapid(dgdr, output_dir, options, progress=report)
    pools = ", ".join(
        f"{pool.replicas} x {pool.role.value} TP{pool.engine.tp}"
        for pool in result.plan.topology.pools
    )
    print(f"picked {result.picked} ({pools}; {result.plan.gpus} GPUs) -> {output_dir}")


def _load(config: str) -> Dgdr:
    if config.lstrip().startswith(("{", "[")):
        return load_dgdr(config, source="--config")
    return load_dgdr(_read(Path(config)), source=config)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    cli.command()(run)
    sys.exit(run_command(lambda: cli(standalone_mode=False)))


if __name__ == "__main__":
    main()
