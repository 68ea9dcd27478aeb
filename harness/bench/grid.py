"""All cells of a benchmark, run in this process or in several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import pandas as pd

from contracts.errors import InputError
from harness.bench.cells import FAULTS, Cell, run_cell
from harness.bench.finished import Finished
from harness.bench.lineup import ENTRANTS
from harness.bench.traces import TRACES
from harness.bench.workloads import JUDGED_SEEDS, SHAPES, TRAINING_SEEDS
from harness.executor.local import Executor

COMPARED = tuple(name for name, entrant in ENTRANTS.items() if not entrant.reference)
"""Policies that run when none are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What to run.

    Attributes:
        workloads: names of :data:`SHAPES` and :data:`TRACES`.
        startups_s: start-up times.
        faults: of :data:`FAULTS`; all but ``none`` run with default knobs only.
        seeds: one repetition for each; all policies see the same draws.
        entrants: names of :data:`ENTRANTS`.
        curves: run all values of the knobs; otherwise the defaults alone, except of the
            policies on whose curves the targets are judged.
        traces: folder of the trace files.
    """

    workloads: tuple[str, ...]
    startups_s: tuple[float, ...] = (0.0, 60.0, 180.0, 600.0)
    faults: tuple[str, ...] = ("none",)
    seeds: tuple[int, ...] = JUDGED_SEEDS
    entrants: tuple[str, ...] = COMPARED
    curves: bool = True
    traces: Path | None = None


_JUDGED = ("static", "oracle", "sla")
QUICK = Grid(workloads=("quick",), startups_s=(60.0,), seeds=TRAINING_SEEDS[:2], curves=False)


def held_out(traces: Path | None) -> tuple[str, ...]:
    """Workloads that were not used for tuning and can be run here."""
    found = [shape.name for shape in SHAPES.values() if not shape.training]
    if traces is not None:
        found += [trace.name for trace in TRACES.values() if (traces / trace.file).is_file()]
    return tuple(found)


def cells(grid: Grid) -> list[Cell]:
    """Every cell once, neighbours sharing their workload.

    Raises:
        InputError: an unknown name.
    """
    for path, given, known in (
        ("workloads", grid.workloads, (*SHAPES, *TRACES)),
        ("faults", grid.faults, FAULTS),
        ("policies", grid.entrants, tuple(ENTRANTS)),
    ):
        for name in given:
            if name not in known:
                raise InputError("unknown name", path=path, value=name, allowed=", ".join(known))
    found: dict[Cell, None] = {}
    for workload, seed, startup_s, fault, name in product(
        grid.workloads, grid.seeds, grid.startups_s, grid.faults, grid.entrants
    ):
        entrant = ENTRANTS[name]
        if fault == "never-ready" and not entrant.startup_matters:
            continue
        whole = fault == "none" and (grid.curves or name in _JUDGED)
        for knob in entrant.values if whole else entrant.values[:1]:
            # What never orders is not run again for every start-up time.
            at_s = startup_s if entrant.startup_matters else grid.startups_s[0]
            cell = Cell(
                workload=workload, startup_s=at_s, fault=fault, seed=seed, entrant=name, knob=knob
            )
            found[cell] = None
    return list(found)


def run_grid(
    grid: Grid,
    executor: Executor,
    *,
    finished: Finished,
    progress: Callable[[int, int], None],
) -> pd.DataFrame:
    """Run all cells; one row for each, with the columns of the cell and of its score.

    Args:
        grid: what to run.
        executor: runs the cells; the rows do not depend on which one it is.
        finished: cells that are done and not run again; further ones are added.
        progress: hears how many cells of how many are done.
    """
    every = cells(grid)
    todo = [cell for cell in every if finished.get(cell) is None]
    done = len(every) - len(todo)
    progress(done, len(every))
    scores = executor.map(_score_row, [(cell, grid.traces) for cell in todo])
    for count, (cell, found) in enumerate(zip(todo, scores, strict=True), done + 1):
        finished.add(cell, found)
        progress(count, len(every))
    frame = pd.DataFrame([{**asdict(cell), **(finished.get(cell) or {})} for cell in every])
    frame["default"] = frame["knob"] == frame["entrant"].map(lambda n: ENTRANTS[n].values[0])
    return _for_every_startup(frame, grid)


def _score_row(task: tuple[Cell, Path | None]) -> dict[str, float | int]:
    cell, traces = task
    return asdict(run_cell(cell, traces))


def _for_every_startup(frame: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Repeat rows of entrants that never order for the other start-up times."""
    still = frame["entrant"].map(lambda name: not ENTRANTS[name].startup_matters)
    parts = [frame]
    for startup_s in grid.startups_s[1:]:
        copy = frame[still].copy()
        copy["startup_s"] = startup_s
        parts.append(copy)
    order = ["workload", "fault", "startup_s", "entrant", "knob", "seed"]
    return pd.concat(parts).sort_values(order, kind="stable").reset_index(drop=True)


def quick(grid: Grid) -> Grid:
    """The small profile: minutes of traffic, default knobs, two seeds."""
    return replace(QUICK, traces=grid.traces)
