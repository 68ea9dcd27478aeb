"""Measures all sections, each within its share of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.errors import UnsupportedError
from profiler.calibrate.bench import Bench
from profiler.calibrate.clock import Clock
from profiler.calibrate.points import Measurement, Section, operator_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All measurements of one run.

    Attributes:
        planned: points by operator that the grid has.
        notes: points that were left out, and why.
        seconds: duration of the run.
    """

    rows: tuple[Measurement, ...]
    planned: dict[str, int]
    notes: tuple[str, ...]
    seconds: float


def measure(
    bench: Bench, sections: Sequence[Section], clock: Clock, *, limit_s: float, progress: Progress
) -> Measured:
    """Measure until all points are done or a section's time is over.

    Time that a section does not need is left to the ones after it. The first point of
    every section is measured in any case.
    """
    begin_s = clock.now_s()
    rows: list[Measurement] = []
    planned: dict[str, int] = {}
    notes: list[str] = []
    until_s = begin_s
    for section in sections:
        until_s += limit_s * section.share
        for point in section.points:
            name = operator_of(point)
            planned[name] = planned.get(name, 0) + 1
        refused: list[str] = []
        done = 0
        for done, point in enumerate(section.points, start=1):
            try:
                rows.append(Measurement(point=point, seconds=bench.seconds(point)))
            except UnsupportedError as error:
                refused.append(str(error))
            progress(section.name, done, len(section.points))
            if clock.now_s() >= until_s:
                break
        if done < len(section.points):
            notes.append(f"{section.name}: time was over after {done} of {len(section.points)}")
        if refused:
            notes.append(f"{section.name}: {len(refused)} shapes not measured: {refused[0]}")
    return Measured(
        rows=tuple(rows),
        planned=planned,
        notes=(*notes, *bench.notes),
        seconds=clock.now_s() - begin_s,
    )
