"""``python -m profiler``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from contracts.command_line import with_options
from contracts.errors import InputError
from contracts.exits import end_with
from contracts.files import folder_for_output
from profiler import ProfileResult, check_request, run_rapid
from profiler.dgdr.arguments import RapidArguments
from profiler.dgdr.inputs import load_request
from profiler.page import REPORT_FILE
from profiler.page.build import write_choice
from profiler.thorough.dispatch import wants_thorough


def run(given: RapidArguments) -> None:
    """Search the best deployment for a DGDR and write it.

    Example: python -m profiler --config scenarios/dgdr/llama-70b.yaml --output-dir profile
    """
    dgdr, folder = load_request(given.config), given.output_dir
    folder_for_output(folder, "--output-dir")
    options = given.options(dgdr.spec.model)
    if given.dry_run:
        check_request(dgdr, folder, options)
        print(f"{dgdr.metadata.name}: valid")
        return
    with _bars() as report:
        result = run_rapid(dgdr, folder, options, progress=report)
    write_choice(folder, dgdr, options.timer_for)
    _tell(result, folder)


def _tell(result: ProfileResult, output_dir: Path) -> None:
    """What was picked, what it misses, and how the backends compare."""
    pools = ", ".join(
        f"{pool.replicas} x {pool.role.value} with {pool.engine.gpus} GPUs"
        for pool in result.plan.topology.pools
    )
    print(f"picked {result.picked} ({pools}; {result.plan.gpus} GPUs) -> {output_dir}")
    print(f"report: {output_dir / REPORT_FILE}; to choose: python -m profiler ui {output_dir}")
    if result.sla_note:
        print(result.sla_note)
    if len(result.backend_notes) > 1:
        print("\n".join(result.backend_notes))


def calibrate(  # noqa: PLR0913  # options of a command line
    out: Annotated[Path, typer.Option(help="GPU file to write (YAML).")],
    csv: Annotated[
        Path | None, typer.Option(help="Raw measurements; default: beside the GPU file.")
    ] = None,
    sku: Annotated[str | None, typer.Option(help="Name in the file.")] = None,
    like: Annotated[
        str | None, typer.Option(help="Bundled SKU whose data sheet holds for this GPU.")
    ] = None,
    device: Annotated[str, typer.Option(help="cuda (NVIDIA or AMD) or cpu.")] = "cuda",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Tiny shapes: shows that the command runs.")
    ] = False,
    limit_s: Annotated[float, typer.Option(help="Seconds for all measurements.", min=1.0)] = 240.0,
) -> None:
    """Measure the GPU of this machine and write its facts, see docs/calibrate.md.

    Example: python -m profiler calibrate --out my_gpu.yaml
    """
    from profiler.calibrate import CalibrateOptions
    from profiler.calibrate import calibrate as run_calibration
    from profiler.calibrate.clock import WallClock
    from profiler.calibrate.torch_bench import torch_bench
    from profiler.dgdr.settings import utc_text

    if device == "cpu" and not tiny:
        raise InputError("needs --tiny on a processor", path="--device", value=device)
    options = CalibrateOptions(
        out=out,
        csv=csv or out.with_suffix(".csv"),
        sku=sku,
        like=like,
        tiny=tiny,
        limit_s=limit_s,
    )
    clock = WallClock()
    bench = torch_bench(device, clock)
    with _bars() as report:
        result = run_calibration(bench, options, clock, at_utc=utc_text(), progress=report)
    for name, error in result.calibration.operators.items():
        print(
            f"{name:18} {error.points:4} of {error.planned:4} points, error "
            f"median {error.error_p50:.1%}, p90 {error.error_p90:.1%}"
        )
    for note in result.calibration.notes:
        print(f"note: {note}")
    print(f"{result.gpu.sku} ({result.gpu.evidence.value}) -> {out}, {options.csv}")


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars on stderr, one for each phase."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)

        yield report


def _no_command(word: str) -> NoReturn:
    raise InputError(
        "is no command; a search takes options only, --config FILE first",
        path="python -m profiler",
        value=word,
        allowed="ui, calibrate, or options (--help)",
    )


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    # Without a sub-command the search runs, as it always did.
    arguments, name = sys.argv[1:], "python -m profiler"
    if arguments[:1] in (["calibrate"], ["ui"]):
        name = f"{name} {arguments[0]}"
    if arguments[:1] == ["calibrate"]:
        cli.command(name="calibrate")(calibrate)
        arguments = arguments[1:]
    elif arguments[:1] == ["ui"]:
        from profiler.page.command import ui

        cli.command(epilog="Example: python -m profiler ui profile --kubeconfig ~/.kube/config")(ui)
        arguments = arguments[1:]
    elif arguments and not arguments[0].startswith("-"):
        end_with(lambda: _no_command(arguments[0]))
    elif wants_thorough(arguments):
        from profiler.thorough.cli import command

        cli.command(name="thorough")(command(_bars, write_choice))
    else:
        cli.command(
            epilog="Also: python -m profiler --deployer sim|mock|kubernetes --help (measure every "
            "candidate, docs/thorough.md), python -m profiler ui --help (choose a deployment), "
            "python -m profiler calibrate --help (measure a GPU of your own)"
        )(with_options(RapidArguments, run))
    end_with(lambda: cli(arguments, prog_name=name, standalone_mode=False))


if __name__ == "__main__":
    main()
