"""Two runs against each other: differences, their causes, baselines."""

from harness.compare.attribution import Cause, attribute
from harness.compare.baseline import (
    Baseline,
    baseline_gate,
    baseline_of,
    judge_baseline,
    read_baseline,
    write_baseline,
)
from harness.compare.diff import RunDiff, diff_lines, diff_runs
from harness.compare.events import Divergence, first_divergence

__all__ = [
    "Baseline",
    "Cause",
    "Divergence",
    "RunDiff",
    "attribute",
    "baseline_gate",
    "baseline_of",
    "diff_lines",
    "diff_runs",
    "first_divergence",
    "judge_baseline",
    "read_baseline",
    "write_baseline",
]
