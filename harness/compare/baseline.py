"""Baselines: small reviewed files with the figures of a run, and the gate that uses them.

Seeds are pairs: the run and the baseline saw the same requests. The relative changes of the
pairs have a mean and a 95 % confidence interval (Student's t); the gate fails when the whole
interval is worse than the tolerance, passes when none of it is, and is inconclusive otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter
from scipy import special

from contracts.errors import InputError
from contracts.plan import DeploymentPlan
from contracts.sla import SlaTarget
from harness.store import (
    Bound,
    Check,
    LoadedRun,
    Outcome,
    RungRun,
    gpu_seconds,
    summarise,
)
from harness.store.files import read_json, write_json

_STRICT = {"extra": "forbid"}
DEFAULT_TOLERANCE_RATIO = 0.05
# Figures of which more is better; of all others less is.
_MORE_IS_BETTER = ("attainment_ratio", "completed_ratio", "goodput_rps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run with one seed measured, by name; latencies in ms."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    rung: str
    seed: int
    values: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Figures to hold a later run against.

    Attributes:
        tolerance_ratio: a figure may get worse by this share.
        commit: of the project when it was written, empty when unknown.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    scenario: str
    figures: tuple[Figures, ...]
    tolerance_ratio: float = DEFAULT_TOLERANCE_RATIO
    commit: str = ""
    schema_version: int = 1


_BASELINE = TypeAdapter(Baseline)


def baseline_of(run: LoadedRun, *, tolerance_ratio: float = DEFAULT_TOLERANCE_RATIO) -> Baseline:
    """The figures of a complete run.

    Raises:
        InputError: the run has no results.
    """
    if run.setup is None or not run.runs:
        raise InputError("has no results to make a baseline of", source=str(run.path))
    plan = run.setup.plan
    return Baseline(
        scenario=run.manifest.scenario,
        figures=tuple(_figures(each, plan.sla, plan) for each in run.runs),
        tolerance_ratio=tolerance_ratio,
        commit=run.manifest.versions.get("commit", ""),
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Replace a baseline file."""
    write_json(path, baseline, _BASELINE)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        InputError: it is missing or has another shape.
    """
    found = read_json(path, _BASELINE)
    if found is None:
        raise InputError("no such baseline", source=str(path))
    return found


def baseline_gate(path: Path) -> Callable[[LoadedRun], tuple[Check, ...]]:
    """The checks against a baseline file, for :func:`harness.run.execute`; reads it at once.

    Raises:
        InputError: it is missing or has another shape.
    """
    known = read_baseline(path)

    def gate(run: LoadedRun) -> tuple[Check, ...]:
        return judge_baseline(run, known)

    return gate


def judge_baseline(run: LoadedRun, baseline: Baseline) -> tuple[Check, ...]:
    """One check for each rung and figure of the baseline.

    Raises:
        InputError: the baseline is of another scenario, or the run has no results.
    """
    if run.manifest.scenario != baseline.scenario:
        raise InputError(
            "the baseline is of another scenario",
            value=run.manifest.scenario,
            allowed=baseline.scenario,
        )
    now = {(each.rung, each.seed): each.values for each in baseline_of(run).figures}
    rungs = dict.fromkeys(each.rung for each in baseline.figures)
    return tuple(check for rung in rungs for check in _rung(rung, baseline, now))


def _rung(
    rung: str, baseline: Baseline, now: dict[tuple[str, int], dict[str, float]]
) -> Iterator[Check]:
    pairs = [
        (each.values, now[rung, each.seed])
        for each in baseline.figures
        if each.rung == rung and (rung, each.seed) in now
    ]
    names = dict.fromkeys(n for each in baseline.figures if each.rung == rung for n in each.values)
    for name in names:
        worse = [_worse(name, old[name], new.get(name)) for old, new in pairs if name in old]
        yield _check(rung, name, worse, baseline.tolerance_ratio)


def _worse(name: str, old: float, new: float | None) -> float:
    """Relative change for the worse; what is gone is infinitely worse."""
    if new is None:
        return math.inf
    change = 0.0 if old == new else (new - old) / old if old else math.inf
    return -change if name in _MORE_IS_BETTER else change


def _check(rung: str, name: str, worse: Sequence[float], tolerance: float) -> Check:
    outcome, note, mean = Outcome.INCONCLUSIVE, "no seed in common with the baseline", None
    if worse:
        mean, half = paired(worse)
        note = f"{len(worse)} pairs, 95 % interval {mean - half:+.2%} to {mean + half:+.2%}"
        if len(worse) == 1:
            note = "one pair, no interval"
        if mean - half > tolerance:
            outcome = Outcome.FAIL
        elif mean + half <= tolerance:
            outcome = Outcome.PASS
    return Check(
        name=f"baseline {name}",
        rung=rung,
        seed=None,
        bound=Bound.AT_MOST,
        asked=tolerance,
        measured=mean if mean is not None and math.isfinite(mean) else None,
        unit="",
        outcome=outcome,
        note=note,
    )


def paired(differences: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of the 95 % interval of paired differences; 0 with one pair.

    Student's t with n - 1 degrees of freedom.
    """
    count = len(differences)
    mean = sum(differences) / count
    if count == 1 or not math.isfinite(mean):
        return mean, 0.0
    variance = sum((each - mean) ** 2 for each in differences) / (count - 1)
    return mean, float(special.stdtrit(count - 1, 0.975)) * math.sqrt(variance / count)


def _figures(run: RungRun, sla: SlaTarget, plan: DeploymentPlan) -> Figures:
    summary = summarise(run.record.table, sla)
    values = {name: getattr(summary, name) for name in _MORE_IS_BETTER}
    for metric in ("ttft_ms", "itl_ms", "e2e_ms"):
        quantiles = getattr(summary, metric)
        for quantile in ("p50", "p95"):
            value = None if quantiles is None else getattr(quantiles, quantile)
            values[f"{metric}_{quantile}"] = value
    values["gpu_seconds"] = gpu_seconds(run.record, plan)
    known = {name: round(float(value), 6) for name, value in values.items() if value is not None}
    return Figures(rung=run.rung, seed=run.seed, values=known)
