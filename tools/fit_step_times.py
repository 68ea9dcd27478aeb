"""Fit the few coefficients of the step-time model to measured points, and cross-validate.

``python -m tools.fit_step_times ../shared/data`` replays the points of ``harness accuracy``
again and again, moves the coefficients below by least squares on the logarithm of simulated
over measured (soft-L1, so that outliers count little), and prints errors before and after.
``--cross-validate`` leaves out one GPU and one model at a time; ``--write`` stores the
coefficients in ``simcore/perf/data``. ``make fast`` first makes it several times faster.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from contracts.errors import InfeasibleError, InputError
from harness.accuracy import Point, read_points, replay
from simcore.perf import gpus, host

FloatArray = npt.NDArray[np.float64]
DATA = Path(__file__).resolve().parent.parent / "simcore" / "perf" / "data"
# Relative weight of the figures; TTFT hangs on the benchmark's protocol as much as on steps.
WEIGHTS = {"itl_ms": 1.0, "ttft_ms": 0.3, "e2e_ms": 0.5}


class Coefficient(NamedTuple):
    """One number that is fitted, where it is stored, and its bounds."""

    file: str
    groups: tuple[str, ...]
    name: str
    low: float
    high: float


HOPPER = ("hopper_sxm", "h200_sxm")
COEFFICIENTS = (
    Coefficient("gpus", HOPPER, "gemm_compute_ratio", 0.4, 0.9),
    Coefficient("gpus", HOPPER, "fp8_compute_ratio", 0.25, 0.9),
    Coefficient("gpus", HOPPER, "gemm_memory_ratio", 0.6, 0.95),
    Coefficient("gpus", HOPPER, "attention_memory_ratio", 0.4, 0.95),
    Coefficient("gpus", HOPPER, "kernel_us", 0.5, 8.0),
    Coefficient("gpus", HOPPER, "allreduce_us", 1.0, 20.0),
    Coefficient("gpus", HOPPER, "link_ratio", 0.2, 0.9),
    *(
        Coefficient("backends", (backend,), name, 1e-3, high)
        for backend in ("vllm", "sglang", "trtllm")
        for name, high in (
            ("step_us", 5000.0),
            ("request_us", 60.0),
            ("prefill_layer_us", 500.0),
        )
    ),
)


def stored(file: str) -> dict[str, Any]:
    """The coefficients that the model uses in this process; changes take effect."""
    content = gpus._data() if file == "gpus" else host._data()
    section: dict[str, Any] = content["efficiencies" if file == "gpus" else "backends"]
    return section


def read(coefficients: Sequence[Coefficient]) -> FloatArray:
    """Logarithms of the present values."""
    values = [stored(c.file)[c.groups[0]][c.name] for c in coefficients]
    return np.log(np.clip(values, [c.low for c in coefficients], [c.high for c in coefficients]))


def use(coefficients: Sequence[Coefficient], logs: FloatArray) -> None:
    """Put values into the model."""
    for coefficient, log in zip(coefficients, logs, strict=True):
        for group in coefficient.groups:
            stored(coefficient.file)[group][coefficient.name] = float(f"{math.exp(log):.4g}")


def errors(points: Sequence[Point]) -> dict[str, FloatArray]:
    """log(simulated / measured) by figure; NaN where a point has none."""
    found: dict[str, list[float]] = {name: [] for name in WEIGHTS}
    for point in points:
        try:
            simulated = replay(point)
        except InfeasibleError:
            simulated = {}
        for name, values in found.items():
            have = name in simulated and point.figures[name].value_ms > 0
            ratio = simulated[name] / point.figures[name].value_ms if have else math.nan
            values.append(math.log(ratio) if ratio > 0 else math.nan)
    return {name: np.array(values) for name, values in found.items()}


def fit(points: Sequence[Point], rounds: int) -> None:
    """Move the coefficients; the best ones are in the model afterwards."""

    def residuals(logs: FloatArray) -> FloatArray:
        use(COEFFICIENTS, logs)
        found = errors(points)
        parts = [WEIGHTS[name] * np.nan_to_num(values) for name, values in found.items()]
        return np.concatenate(parts)

    start = read(COEFFICIENTS)
    low = np.log([c.low for c in COEFFICIENTS]) - 1e-9
    high = np.log([c.high for c in COEFFICIENTS]) + 1e-9
    solution = least_squares(
        residuals,
        np.clip(start, low + 1e-6, high - 1e-6),
        bounds=(low, high),
        loss="soft_l1",
        f_scale=0.1,
        diff_step=0.03,
        max_nfev=rounds,
    )
    use(COEFFICIENTS, solution.x)


def summary(points: Sequence[Point]) -> str:
    """Median and 90th percentile of the absolute error, and bias, by figure."""
    lines = []
    for name, logs in errors(points).items():
        ratio = np.exp(logs[~np.isnan(logs)]) - 1.0
        if len(ratio):
            middle, wide = np.percentile(np.abs(ratio), [50, 90])
            bias = np.median(ratio)
            lines.append(
                f"{name:8} n {len(ratio):4} median {middle:6.1%} p90 {wide:6.1%} bias {bias:+6.1%}"
            )
    return "\n".join(lines)


def cross_validate(points: Sequence[Point], rounds: int) -> None:
    """Fit without one GPU or model and look at the errors on what was left out."""
    start = read(COEFFICIENTS)
    for kind in ("gpu_sku", "model"):
        names = {_name(point, kind) for point in points}
        for name in sorted(names):
            inside = [point for point in points if _name(point, kind) != name]
            outside = [point for point in points if _name(point, kind) == name]
            use(COEFFICIENTS, start)
            fit(inside, rounds)
            sys.stdout.write(f"without {kind} {name}, on it:\n{summary(outside)}\n")
            sys.stdout.flush()
    use(COEFFICIENTS, start)


def _name(point: Point, kind: str) -> str:
    return point.gpu_sku if kind == "gpu_sku" else point.model.model_id


def write(points: int) -> None:
    """Store the coefficients with their provenance."""
    source = f"fitted by tools/fit_step_times.py to {points} measured configurations"
    for file in ("gpus", "backends"):
        path = DATA / f"{file}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        section = content["efficiencies" if file == "gpus" else "backends"]
        for c in COEFFICIENTS:
            for group in c.groups if c.file == file else ():
                section[group][c.name] = stored(file)[group][c.name]
                if file == "gpus":
                    first = section[group]["source"].split("; GEMM, launch")[0]
                    section[group]["source"] = f"{first}; GEMM, launch and link {source}"
        if file == "backends":
            content["note"] = f"Host cost of one engine step by backend, {source}."
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the measured points")
    parser.add_argument("--rounds", type=int, default=8, help="steps of the optimiser")
    parser.add_argument("--every", type=int, default=1, help="fit to every n-th point only")
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--write", action="store_true", help="store the coefficients")
    options = parser.parse_args()
    try:
        points, _ = read_points(options.data)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"before\n{summary(points)}\n")
    sys.stdout.flush()
    fit(points[:: options.every], options.rounds)
    sys.stdout.write(f"after\n{summary(points)}\n")
    for c in COEFFICIENTS:
        sys.stdout.write(f"  {c.groups[0]}.{c.name} = {stored(c.file)[c.groups[0]][c.name]}\n")
    sys.stdout.flush()
    if options.write:
        write(len(points))
    if options.cross_validate:
        cross_validate(points[:: options.every], options.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
