"""``harness bench planner``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from contracts.command_line import with_options
from contracts.files import folder_for_output
from harness.bench.finished import FILE, Finished, settings_digest
from harness.bench.grid import COMPARED, Grid, cells, held_out, quick, run_grid
from harness.bench.report import target_table, write_results
from harness.bench.workloads import JUDGED_SEEDS
from harness.cli.cells import ExecutorKind, make_executor
from harness.cli.console import progress_bars
from harness.cli.options import ExecutorOption, Jobs, RayAddress

bench_app = typer.Typer(
    name="bench",
    help="Benchmarks of the project's own parts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_GRID = Grid(workloads=())


@bench_app.callback()
def bench() -> None:
    """Benchmarks of the project's own parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerBench:
    """Options of ``harness bench planner``."""

    workload: Annotated[
        list[str] | None, typer.Option(help="May be repeated. Default: all not used for tuning.")
    ] = None
    policy: Annotated[list[str] | None, typer.Option(help="May be repeated. Default: all.")] = None
    startup: Annotated[
        list[float] | None, typer.Option(help="Start-up seconds. Default: 0, 60, 180, 600.")
    ] = None
    fault: Annotated[
        list[str] | None,
        typer.Option(help="none, crash, slow-worker, stale-metrics, never-ready. Default: none."),
    ] = None
    seeds: Annotated[int, typer.Option(min=1, max=len(JUDGED_SEEDS), help="Repetitions.")] = len(
        JUDGED_SEEDS
    )
    curves: Annotated[bool, typer.Option(help="All values of each policy's knob.")] = True
    traces: Annotated[
        Path | None, typer.Option(help="Folder with the trace files.", show_default=False)
    ] = None
    executor: ExecutorOption = ExecutorKind.LOCAL
    jobs: Jobs = None
    ray_address: RayAddress = None
    quick: Annotated[bool, typer.Option("--quick", help="One small workload, seconds.")] = False
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("bench-planner")
    as_json: Annotated[bool, typer.Option("--json", help="Print the targets as JSON.")] = False

    def grid(self) -> Grid:
        """What to run."""
        grid = Grid(
            workloads=tuple(self.workload) if self.workload else held_out(self.traces),
            startups_s=tuple(self.startup) if self.startup else _GRID.startups_s,
            faults=tuple(self.fault) if self.fault else _GRID.faults,
            seeds=JUDGED_SEEDS[: self.seeds],
            entrants=tuple(self.policy) if self.policy else COMPARED,
            curves=self.curves,
            traces=self.traces,
        )
        return quick(grid) if self.quick else grid


def planner(given: PlannerBench) -> None:
    """Compare scaling policies in the simulator: attainment, GPU-hours, stability, regret.

    Writes cells.parquet, summary.md, targets.json and pareto.png. The exit code is 0 whether
    targets are met or not: a benchmark measures. A run that was cut off goes on when the same
    command is given again: finished cells of the same code and traces are not run again.
    """
    grid = given.grid()
    folder_for_output(given.out, "--out")
    finished = Finished(given.out / FILE, settings_digest(given.traces))
    executor = make_executor(
        given.executor, tasks=len(cells(grid)), jobs=given.jobs, address=given.ray_address
    )
    with progress_bars(quiet=given.as_json and not sys.stderr.isatty()) as progress:
        frame = run_grid(
            grid,
            executor,
            finished=finished,
            progress=lambda n, all_: progress("cells", n, all_),
        )
    found = write_results(given.out, frame)
    if given.as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        print(target_table(found))
        print(f"results: {given.out}")


bench_app.command(
    name="planner", epilog="Example: harness bench planner --quick --out bench-planner"
)(with_options(PlannerBench, planner))
