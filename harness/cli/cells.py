"""Cells of a matrix as tasks of an executor."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.cli.console import progress_bars
from harness.compare import baseline_gate
from harness.executor.local import Executor, Processes, Serial
from harness.executor.on_ray import Ray
from harness.report import write_report
from harness.run import Execution, Profiles, rehearse
from harness.scenario import Rung, Scenario

Progress = Callable[[str, int, int], None]
_PROFILES = Profiles()


class ExecutorKind(StrEnum):
    """Where many runs are worked on."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One scenario that is to become a run folder.

    Attributes:
        words: command that repeats the run, without its rungs.
        baseline: file to judge against.
    """

    scenario: Scenario
    rungs: tuple[Rung, ...]
    words: tuple[str, ...]
    runs_dir: Path
    baseline: Path | None


def make_executor(
    kind: ExecutorKind, *, tasks: int | None, jobs: int | None, address: str | None
) -> Executor:
    """The executor of the options ``--executor``, ``--jobs`` and ``--ray-address``.

    Args:
        kind: processes or Ray.
        tasks: how many there will be, ``None`` when that is not known.
        jobs: at the same time; ``None`` is one for each core.
        address: of a Ray cluster; ``None`` starts Ray here.

    Raises:
        UnsupportedError: Ray is not installed.
        PermanentError: there is no Ray at the address.
    """
    limit = min(jobs or os.cpu_count() or 1, tasks or 1_000_000)
    if kind is ExecutorKind.RAY:
        return Ray(limit, address)
    return Serial() if limit == 1 else Processes(limit)


def run_cell(cell: Cell, progress: Progress | None = None) -> Execution:
    """Run one cell into its folder, report included."""
    done = rehearse(
        cell.scenario,
        cell.runs_dir,
        rungs=cell.rungs,
        words=cell.words,
        progress=progress or _ignore,
        gate=None if cell.baseline is None else baseline_gate(cell.baseline),
        profiles=_PROFILES,
    )
    write_report(done.folder)
    return done


def run_cells(cells: Sequence[Cell], executor: Executor, *, quiet: bool) -> list[Execution]:
    """Run all cells; the results are in their order.

    Cells with a rung on a wall clock run one after the other: side by side they would slow
    each other down and measure that.
    """
    virtual = all(rung is Rung.SIM for cell in cells for rung in cell.rungs)
    if isinstance(executor, Serial) or not virtual:
        done = []
        for cell in cells:
            with progress_bars(quiet=quiet) as progress:
                done.append(run_cell(cell, progress))
        return done
    done = []
    with progress_bars(quiet=quiet) as progress:
        progress("runs", 0, len(cells))
        for result in executor.map(run_cell, cells):
            done.append(result)
            progress("runs", len(done), len(cells))
    return done


def _ignore(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""
