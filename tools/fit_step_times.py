"""Fit the coefficients of the step-time model to measured points, and cross-validate.

``python -m tools.fit_step_times ../shared/data`` replays the points of ``harness accuracy``
again and again, moves the coefficients below so that the logarithms of simulated over measured
become small (soft-L1, so that outliers count little), and prints errors before and after.
``--cross-validate`` leaves out one GPU and one model at a time; ``--write`` stores the
coefficients in ``simcore/perf/data``. ``make fast`` first makes it several times faster.

A coefficient is moved for the points that depend on it only: those of its GPU family, of its
backend, or of mixtures of experts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import InfeasibleError, InputError
from harness.accuracy import Point, read_points, replay
from simcore.perf import gpus, host

FloatArray = npt.NDArray[np.float64]
DATA = Path(__file__).resolve().parent.parent / "simcore" / "perf" / "data"
# Relative weight of the figures; TTFT hangs on the benchmark's protocol as much as on steps.
WEIGHTS = {"itl_ms": 1.0, "ttft_ms": 0.4, "e2e_ms": 1.0, "tokens_per_s": 0.3}
# Points of the sources that served requests count fully, offline tables less.
SOURCE_WEIGHTS = {
    "aic_silicon_sample": 1.0,
    "blis_training_h100": 4.0,
    "argonne_llm_inference_bench": 0.5,
}
_OTHER_SOURCE_WEIGHT = 0.2
# Points that cost most and tell least about a step.
_CONCURRENCY_MAX = 600
# Weighted logarithms above this count linearly instead of by their squares.
_OUTLIER = 0.1
# Cross-validation leaves out GPUs and models with so many points at least.
_LEFT_OUT_MIN = 15
# Steps of the logarithm of a coefficient.
_FIRST_STEP = 0.3
_SHRINK = 0.6


class Coefficient(NamedTuple):
    """One number that is fitted, where it is stored, and its bounds."""

    file: str
    groups: tuple[str, ...]
    name: str
    low: float
    high: float

    def applies_to(self, point: Point) -> bool:
        """Whether it can change what is simulated for this point."""
        if self.name.startswith("expert") and not point.model.experts:
            return False
        if self.name in ("allreduce_us", "link_ratio") and point.tp * point.dp == 1:
            return False
        if self.file == "backends":
            return point.backend in self.groups
        return gpus._data()["gpus"][point.gpu_sku]["efficiencies"] in self.groups


HOPPER, BLACKWELL = ("hopper_sxm", "h200_sxm"), ("blackwell_sxm",)
# The H200 has the H100's arithmetic and another memory.
MEMORY_FAMILIES = (("hopper_sxm",), ("h200_sxm",), BLACKWELL)
MEMORY_RANGES = (("gemm_memory_ratio", 0.6, 0.97), ("attention_memory_ratio", 0.3, 0.97))
RANGES = (
    ("gemm_compute_ratio", 0.35, 0.9),
    ("fp8_compute_ratio", 0.2, 0.9),
    ("attention_compute_ratio", 0.15, 0.8),
    ("kernel_us", 0.5, 8.0),
    ("attention_kernel_us", 2.0, 40.0),
    ("allreduce_us", 1.0, 25.0),
    ("link_ratio", 0.2, 0.9),
    ("expert_compute_ratio", 0.05, 1.0),
    ("expert_memory_ratio", 0.2, 1.0),
)
HOST_RANGES = (
    ("step_us", 50.0, 12_000.0),
    ("request_us", 0.1, 100.0),
    ("prefill_layer_us", 5.0, 500.0),
    ("expert_layer_us", 2.0, 400.0),
    ("expert_prefill_layer_us", 5.0, 4000.0),
    ("frontend_ms", 0.5, 25.0),
)
COEFFICIENTS = (
    *(Coefficient("gpus", family, *r) for family in (HOPPER, BLACKWELL) for r in RANGES),
    *(Coefficient("gpus", family, *r) for family in MEMORY_FAMILIES for r in MEMORY_RANGES),
    # Ampere was measured with older engines; its kernels come from tables.
    Coefficient("gpus", ("ampere_sxm",), "expert_compute_ratio", 0.05, 1.0),
    *(
        Coefficient("backends", (backend,), *r)
        for backend in ("vllm", "sglang", "trtllm")
        for r in HOST_RANGES
    ),
)


def stored(file: str) -> dict[str, Any]:
    """The coefficients that the model uses in this process; changes take effect."""
    content = gpus._data() if file == "gpus" else host._data()
    section: dict[str, Any] = content["efficiencies" if file == "gpus" else "backends"]
    return section


def read() -> FloatArray:
    """Logarithms of the present values."""
    values = [stored(c.file)[c.groups[0]][c.name] for c in COEFFICIENTS]
    return np.log(np.clip(values, [c.low for c in COEFFICIENTS], [c.high for c in COEFFICIENTS]))


def use(logs: FloatArray) -> None:
    """Put values into the model of this process."""
    for coefficient, log in zip(COEFFICIENTS, logs, strict=True):
        for group in coefficient.groups:
            stored(coefficient.file)[group][coefficient.name] = float(f"{math.exp(log):.5g}")


def _error(task: tuple[Point, FloatArray]) -> list[float]:
    """log(simulated / measured) by figure; NaN where a point has none."""
    point, logs = task
    use(logs)
    try:
        simulated = replay(point)
    except InfeasibleError:
        simulated = {}
    found = []
    for name in WEIGHTS:
        have = name in simulated and point.figures[name].value > 0
        ratio = simulated[name] / point.figures[name].value if have else math.nan
        found.append(math.log(ratio) if ratio > 0 else math.nan)
    return found


class Fit:
    """Residuals and their derivatives over some points."""

    def __init__(self, points: Sequence[Point], pool: Pool) -> None:
        self._points = points
        self._pool = pool
        self._weights = np.array(
            [
                [
                    SOURCE_WEIGHTS.get(point.source, _OTHER_SOURCE_WEIGHT) * w
                    for w in WEIGHTS.values()
                ]
                for point in points
            ]
        )

    def errors(self, logs: FloatArray, which: Sequence[int] | None = None) -> FloatArray:
        """Shape (points, figures)."""
        chosen = range(len(self._points)) if which is None else which
        tasks = [(self._points[index], logs) for index in chosen]
        return np.array(self._pool.map(_error, tasks, chunksize=8))

    def costs(self, logs: FloatArray, which: Sequence[int] | None = None) -> FloatArray:
        """Soft-L1 cost of each point, shape (points,); what could not be simulated costs 0."""
        chosen = list(range(len(self._points))) if which is None else which
        scaled = np.nan_to_num(self.errors(logs, chosen) * self._weights[chosen]) / _OUTLIER
        return np.asarray((np.sqrt(1.0 + scaled**2) - 1.0).sum(axis=1))

    def run(self, start: FloatArray, rounds: int) -> FloatArray:
        """The best coefficients, as logarithms.

        One coefficient after the other is moved up and down, in ever smaller steps. Replays
        are not smooth: cohorts of requests form and dissolve, so derivatives mislead.
        """
        low = np.log([c.low for c in COEFFICIENTS])
        high = np.log([c.high for c in COEFFICIENTS])
        logs = np.clip(start, low, high)
        costs = self.costs(logs)
        for number in range(rounds):
            step = _FIRST_STEP * _SHRINK**number
            for at, coefficient in enumerate(COEFFICIENTS):
                which = [i for i, point in enumerate(self._points) if coefficient.applies_to(point)]
                if not which:
                    continue
                for sign in (1.0, -1.0):
                    moved = logs.copy()
                    moved[at] = np.clip(logs[at] + sign * step, low[at], high[at])
                    found = self.costs(moved, which)
                    if found.sum() < costs[which].sum():
                        logs = moved
                        costs[which] = found
                        break
            sys.stdout.write(f"round {number} step {step:.2f} cost {costs.sum():.3f}\n")
            sys.stdout.flush()
        return logs

    def summary(self, logs: FloatArray) -> str:
        """Median and 90th percentile of the absolute error, and bias, by kind and figure."""
        lines = []
        errors = self.errors(logs)
        for kind in ("dense", "moe"):
            rows = [i for i, point in enumerate(self._points) if point.kind == kind]
            for column, name in enumerate(WEIGHTS):
                values = errors[rows, column]
                ratio = np.exp(values[~np.isnan(values)]) - 1.0
                if len(ratio):
                    middle, wide = np.percentile(np.abs(ratio), [50, 90])
                    lines.append(
                        f"{kind:5} {name:12} n {len(ratio):4} median {middle:6.1%} "
                        f"p90 {wide:6.1%} bias {np.median(ratio):+6.1%}"
                    )
        return "\n".join(lines)


def cross_validate(points: Sequence[Point], start: FloatArray, rounds: int, pool: Pool) -> None:
    """Fit without one GPU or model and look at the errors on what was left out."""
    for kind in ("gpu_sku", "model"):
        for name in sorted({_name(point, kind) for point in points}):
            inside = [point for point in points if _name(point, kind) != name]
            outside = [point for point in points if _name(point, kind) == name]
            if len(outside) < _LEFT_OUT_MIN:
                continue
            logs = Fit(inside, pool).run(start, rounds)
            sys.stdout.write(f"without {kind} {name}, on it:\n{Fit(outside, pool).summary(logs)}\n")
            sys.stdout.flush()


def _name(point: Point, kind: str) -> str:
    return point.gpu_sku if kind == "gpu_sku" else point.model.model_id


def write(logs: FloatArray, points: int) -> None:
    """Store the coefficients with their provenance."""
    use(logs)
    source = f"fitted by tools/fit_step_times.py to {points} measured configurations"
    for file in ("gpus", "backends"):
        path = DATA / f"{file}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        section = content["efficiencies" if file == "gpus" else "backends"]
        for c in COEFFICIENTS:
            for group in c.groups if c.file == file else ():
                section[group][c.name] = float(f"{stored(file)[group][c.name]:.4g}")
                if file == "gpus" and group != "ampere_sxm":
                    section[group]["source"] = source
        if file == "backends":
            content["note"] = f"Host cost of one engine step by backend, {source}."
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the measured points")
    parser.add_argument("--rounds", type=int, default=5, help="sweeps over all coefficients")
    parser.add_argument("--every", type=int, default=1, help="fit to every n-th point only")
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--write", action="store_true", help="store the coefficients")
    options = parser.parse_args()
    try:
        points, _ = read_points(options.data)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    points = [point for point in points if (point.concurrency or 0) <= _CONCURRENCY_MAX]
    with Pool(os.cpu_count()) as pool:
        everything = Fit(points, pool)
        start = read()
        sys.stdout.write(f"before\n{everything.summary(start)}\n")
        sys.stdout.flush()
        logs = Fit(points[:: options.every], pool).run(start, options.rounds)
        sys.stdout.write(f"after\n{everything.summary(logs)}\n")
        for c, log in zip(COEFFICIENTS, logs, strict=True):
            sys.stdout.write(f"  {c.groups[0]}.{c.name} = {math.exp(log):.4g}\n")
        sys.stdout.flush()
        if options.write:
            write(logs, len(points))
        if options.cross_validate:
            cross_validate(points[:: options.every], start, options.rounds, pool)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
