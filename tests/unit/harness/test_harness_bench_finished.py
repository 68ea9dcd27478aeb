"""A benchmark that was cut off goes on: finished cells are kept and not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from harness.bench import grid as grid_module
from harness.bench.cells import Cell
from harness.bench.finished import FILE, Finished, settings_digest
from harness.bench.grid import Grid, cells, run_grid
from harness.bench.traces import TRACES

CELL = Cell(workload="step", startup_s=60.0, fault="none", seed=11, entrant="sla", knob=0.0)
ROW: dict[str, float | int] = {"offered": 7, "attainment": 0.1 + 0.2, "gpu_hours": 11.0}
GRID = Grid(workloads=("step",), startups_s=(60.0,), seeds=(11,), entrants=("sla",))


class CutError(Exception):
    """The process ends here."""


class Cutting:
    """Runs tasks one after the other and ends after a few."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.ran = after, 0

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self.ran == self.after:
                raise CutError
            self.ran += 1
            yield function(item)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that are scored without being run."""

    def row(task: tuple[Cell, Path | None]) -> dict[str, float | int]:
        return {**ROW, "gpu_hours": task[0].knob}

    monkeypatch.setattr(grid_module, "_score_row", row)


def test_rows_are_kept_exactly(tmp_path):
    path = tmp_path / "new" / FILE
    Finished(path, "d").add(CELL, ROW)
    again = Finished(path, "d")
    assert again.get(CELL) == ROW
    assert len(again) == 1


def test_rows_of_other_code_do_not_count(tmp_path):
    Finished(tmp_path / FILE, "old").add(CELL, ROW)
    new = Finished(tmp_path / FILE, "new")
    assert new.get(CELL) is None
    new.add(CELL, ROW)
    assert Finished(tmp_path / FILE, "old").get(CELL) == ROW


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / FILE
    Finished(path, "d").add(CELL, ROW)
    whole = path.read_text()
    path.write_text(whole + whole[:30])
    again = Finished(path, "d")
    assert len(again) == 1
    again.add(Cell(**{**again_fields(), "seed": 12}), ROW)
    assert len(Finished(path, "d")) == 2


def again_fields() -> dict[str, Any]:
    return {name: getattr(CELL, name) for name in Cell.__slots__}


@pytest.mark.parametrize("line", ["nonsense", '{"digest": "d"}', '{"cell": {}, "row": {}}'])
def test_a_damaged_line_is_refused_by_place(tmp_path, line):
    path = tmp_path / FILE
    Finished(path, "d").add(CELL, ROW)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError) as caught:
        Finished(path, "d")
    assert caught.value.path == f"{path}:2"


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path, scored):
    path, every = tmp_path / FILE, len(cells(GRID))
    heard: list[tuple[int, int]] = []

    def run(executor: Cutting) -> Any:
        finished = Finished(path, "d")
        return run_grid(
            GRID, executor, finished=finished, progress=lambda n, of: heard.append((n, of))
        )

    with pytest.raises(CutError):
        run(Cutting(after=2))
    heard.clear()
    rest = Cutting()
    frame = run(rest)
    assert rest.ran == every - 2
    assert (heard[0], heard[-1]) == ((2, every), (every, every))
    once_more = Cutting()
    assert run(once_more).equals(frame)
    assert once_more.ran == 0
    assert list(frame["gpu_hours"]) == list(frame["knob"])


def test_the_digest_follows_code_and_traces(tmp_path):
    code, traces = tmp_path / "code", tmp_path / "traces"
    (code / "deep").mkdir(parents=True)
    traces.mkdir()
    (code / "deep" / "a.py").write_text("one")

    def digest() -> str:
        return settings_digest(traces, [code])

    found = [digest()]
    (code / "deep" / "a.py").write_text("two")
    found.append(digest())
    (traces / next(iter(TRACES.values())).file).write_bytes(b"trace")
    found.append(digest())
    assert len(set(found)) == 3
    (code / "deep" / "a.pyc").write_bytes(b"compiled")
    (traces / "other.csv").write_text("not used")
    assert digest() == found[-1]


def test_the_digest_of_the_project_covers_its_code():
    assert settings_digest(None) == settings_digest(None) != settings_digest(None, [])
