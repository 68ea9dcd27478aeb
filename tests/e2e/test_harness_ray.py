"""Ray itself: runs of a matrix are those of this machine bit for bit, lost workers are replaced.

Ray is an extra; ``RAY_PYTHON`` names an interpreter that has it, by default this one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("RAY_PYTHON") or sys.executable
LOSES_ONE = """
import os, sys
from pathlib import Path
from harness.executor.on_ray import Ray

def task(item):
    folder, number = item
    mark = Path(folder) / str(number)
    if number == 1 and not mark.exists():
        mark.touch()
        os._exit(9)
    return 10 * number

if __name__ == "__main__":
    print(list(Ray(2).map(task, [(sys.argv[1], number) for number in range(4)])))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.executable == PYTHON and importlib.util.find_spec("ray") is None,
        reason="no Ray here (extra ray), and no RAY_PYTHON",
    ),
]


def python(*words: object) -> str:
    done = subprocess.run(
        [PYTHON, *map(str, words)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(runs: Path) -> dict[str, list[str]]:
    """Digests of the files that a run consists of, by its name."""
    names = ("digests.json", "requests.parquet", "workers.parquet", "verdict.json")
    return {
        folder.name.partition("Z-")[2]: [
            hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names
        ]
        for folder in runs.iterdir()
    }


def test_a_matrix_gives_the_same_on_ray_and_here(tmp_path: Path) -> None:
    words = ("-m", "harness", "run", ROOT / "scenarios/routers.yaml", "--on", "sim", "--jobs", 2)
    for executor in ("local", "ray"):
        python(*words, "--executor", executor, "--runs-dir", tmp_path / executor)
    here, there = results(tmp_path / "local"), results(tmp_path / "ray")
    assert len(here) == 4
    assert here == there


@pytest.mark.parametrize(
    "words", [("search", "--count", 3, "--seed", 5), ("bench", "planner", "--quick")]
)
def test_search_and_planner_bench_give_the_same_on_ray_and_here(
    tmp_path: Path, words: tuple[object, ...]
) -> None:
    if words[0] == "bench":
        words = (*words, "--out", tmp_path / "out")
    here, there = (
        python("-m", "harness", *words, "--json", "--jobs", 2, "--executor", executor)
        for executor in ("local", "ray")
    )
    assert here == there
    assert len(here) > 50


def test_a_lost_worker_is_replaced_and_its_task_runs_again(tmp_path: Path) -> None:
    script = tmp_path / "loses_one.py"
    script.write_text(LOSES_ONE)
    assert python(script, tmp_path).strip().endswith("[0, 10, 20, 30]")
    assert (tmp_path / "1").exists()
