"""Turns results into a three-valued verdict. No data is never a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from contracts.errors import RehearsalError
from contracts.plan import DeploymentPlan
from contracts.records import FaultRecord
from contracts.sla import SlaTarget
from harness.run.exact import EXACT, exact_check
from harness.run.figures import ever_held
from harness.run.limits import Measured, in_window, measured
from harness.scenario import Expectations, ExpectedError, Tolerance
from harness.store import (
    Bound,
    Check,
    Outcome,
    RungRun,
    RungSummary,
    Verdict,
    compare,
    gpu_seconds,
    summarise_runs,
)


def judge(
    runs: Sequence[RungRun],
    *,
    expect: Expectations,
    tolerance: Tolerance,
    sla: SlaTarget,
    plan: DeploymentPlan | None = None,
) -> Verdict:
    """Compare every run with the expectations and each rung with the one above it.

    The verdict fails when any check fails, else it is inconclusive when any check is or
    when there is no check at all. The plan is needed for expectations on GPU time.
    """
    checks = [check for run in runs for check in _run_checks(run, expect, sla, plan)]
    checks += _coverage(runs, expect)
    checks += _rung_checks(runs, tolerance, sla)
    return verdict_of(checks)


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Fail when any check fails, else inconclusive when any is or when there is none."""
    return Verdict(outcome=_overall(checks), checks=tuple(checks), reasons=tuple(_reasons(checks)))


def _overall(checks: Sequence[Check]) -> Outcome:
    outcomes = {check.outcome for check in checks}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    if Outcome.INCONCLUSIVE in outcomes or not outcomes:
        return Outcome.INCONCLUSIVE
    return Outcome.PASS


def _reasons(checks: Sequence[Check]) -> Iterator[str]:
    if not checks:
        yield "nothing was expected, so nothing was judged"
    for wanted in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        for check in checks:
            if check.outcome is wanted:
                yield _sentence(check)


def _sentence(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    asked = f"{check.bound.value.replace('_', ' ')} {check.asked:g}{unit}"
    measured = "no data" if check.measured is None else f"{check.measured:.4g}{unit}"
    where = check.rung if check.seed is None else f"{check.rung}, seed {check.seed}"
    note = f" ({check.note})" if check.note else ""
    return f"{check.name} on {where}: asked {asked}, measured {measured}{note}"


def _run_checks(
    run: RungRun, expect: Expectations, sla: SlaTarget, plan: DeploymentPlan | None
) -> Iterator[Check]:
    note = ""
    if run.load is not None and run.load.saturated:
        note = "the load generator fell behind its schedule, so the latencies are not trusted"
    for found in measured(run.record.table, expect, sla):
        yield _check(found, run, note)
    for window in expect.windows:
        for found in in_window(run.record, window, sla):
            yield _check(replace(found, name=f"{found.name} ({window.label})"), run, note)
    if expect.recovery_s_max is not None:
        yield _recovery(run, expect.recovery_s_max)
    if expect.gpu_hours_max is not None:
        spent = None if plan is None else gpu_seconds(run.record, plan)
        found = Measured(
            name="gpu_hours_max",
            bound=Bound.AT_MOST,
            asked=expect.gpu_hours_max,
            value=None if spent is None else spent / 3600,
            unit="h",
        )
        yield _check(found, run, "")


def _check(found: Measured, run: RungRun, note: str) -> Check:
    if found.lost:
        outcome = Outcome.FAIL
    elif found.value is None or note:
        outcome = Outcome.INCONCLUSIVE
    else:
        lower = found.bound is Bound.AT_LEAST
        holds = found.value >= found.asked if lower else found.value <= found.asked
        outcome = Outcome.PASS if holds else Outcome.FAIL
    missing = found.missing or "nothing was measured"
    return Check(
        name=found.name,
        rung=run.rung,
        seed=run.seed,
        bound=found.bound,
        asked=found.asked,
        measured=found.value,
        unit=found.unit,
        outcome=outcome,
        note=note or (missing if found.value is None else ""),
    )


def _coverage(runs: Sequence[RungRun], expect: Expectations) -> Iterator[Check]:
    """Conditions over all seeds of a rung: some must hold somewhere, others nowhere."""
    for rung in dict.fromkeys(run.rung for run in runs):
        seeds = [run for run in runs if run.rung == rung]
        wanted = [("sometimes", each, True) for each in expect.sometimes]
        wanted += [("never", each, False) for each in expect.never]
        for name, condition, must in wanted:
            held = sum(ever_held(condition, run) for run in seeds)
            yield Check(
                name=f"{name} ({condition.text})",
                rung=rung,
                seed=None,
                bound=Bound.AT_LEAST if must else Bound.AT_MOST,
                asked=1.0 if must else 0.0,
                measured=float(held),
                unit="runs",
                outcome=Outcome.PASS if (held > 0) is must else Outcome.FAIL,
            )


def judge_error(expected: ExpectedError, error: RehearsalError | None) -> Verdict:
    """The verdict of a run that had to be refused; ``None`` when it was not.

    Passes when the error is of the expected kind and its text holds the expected words.
    """
    kind = None if error is None else _kind(error)
    matches = kind == expected.kind.value and expected.contains in str(error)
    check = Check(
        name=f"error ({expected.kind.value})",
        rung="profile",
        seed=None,
        bound=Bound.EQUAL,
        asked=1.0,
        measured=float(matches),
        unit="refusal",
        outcome=Outcome.PASS if matches else Outcome.FAIL,
        note="the run was not refused" if error is None else f"{kind}: {error}",
    )
    reasons = () if matches else (check.note,)
    return Verdict(outcome=check.outcome, checks=(check,), reasons=reasons)


def _kind(error: RehearsalError) -> str:
    return type(error).__name__.removeprefix("Combined").removesuffix("Error").lower()


def _recovery(run: RungRun, asked_s: float) -> Check:
    """The slowest recovery; a fault that never recovered fails, no fault is inconclusive."""
    faults = run.record.faults
    lost = [fault for fault in faults if fault.recovered_at_s is None]
    slowest_s = max((_recovery_s(fault) for fault in faults if fault not in lost), default=None)
    if not faults:
        outcome, note = Outcome.INCONCLUSIVE, "no fault hit a target"
    elif lost:
        targets = ", ".join(fault.target for fault in lost)
        outcome, note = Outcome.FAIL, f"never recovered: {targets}"
    else:
        within = slowest_s is not None and slowest_s <= asked_s
        outcome, note = (Outcome.PASS if within else Outcome.FAIL), ""
    return Check(
        name="recovery_s_max",
        rung=run.rung,
        seed=run.seed,
        bound=Bound.AT_MOST,
        asked=asked_s,
        measured=slowest_s,
        unit="s",
        outcome=outcome,
        note=note,
    )


def _recovery_s(fault: FaultRecord) -> float:
    return (fault.recovered_at_s or fault.at_s) - fault.at_s


def _rung_checks(runs: Sequence[RungRun], tolerance: Tolerance, sla: SlaTarget) -> Iterator[Check]:
    """Medians of each rung against the rung before it, over all seeds."""
    rungs = list(dict.fromkeys(run.rung for run in runs))
    for reference, other in pairwise(rungs):
        if (reference, other) in EXACT:
            yield from _exact(runs, reference, other)
            continue
        sides = [
            summarise_runs([run.record.table for run in runs if run.rung == rung], sla)
            for rung in (reference, other)
        ]
        if tolerance.attainment_abs is not None:
            yield _attainment(reference, other, sides, tolerance.attainment_abs)
        saturated = any(
            run.load is not None and run.load.saturated and run.rung in (reference, other)
            for run in runs
        )
        for difference in compare(
            sides[0],
            sides[1],
            ttft_ratio_tolerance=tolerance.ttft_ratio,
            itl_ratio_tolerance=tolerance.itl_ratio,
        ):
            if difference.tolerance_ratio is None:
                continue
            if difference.ok is None or saturated:
                outcome = Outcome.INCONCLUSIVE
            else:
                outcome = Outcome.PASS if difference.ok else Outcome.FAIL
            yield Check(
                name=f"{difference.metric}_{difference.quantile}_difference",
                rung=f"{reference} -> {other}",
                seed=None,
                bound=Bound.AT_MOST,
                asked=difference.tolerance_ratio,
                measured=None if difference.ratio is None else abs(difference.ratio),
                unit="",
                outcome=outcome,
                note="the load generator fell behind its schedule" if saturated else "",
            )


def _exact(runs: Sequence[RungRun], reference: str, other: str) -> Iterator[Check]:
    """Rungs that must not differ at all, seed by seed."""
    left = {run.seed: run for run in runs if run.rung == reference}
    right = {run.seed: run for run in runs if run.rung == other}
    for seed in left:
        if seed in right:
            yield exact_check(left[seed], right[seed])


def _attainment(reference: str, other: str, sides: Sequence[RungSummary], allowed: float) -> Check:
    ratios = [side.attainment_ratio for side in sides]
    known = [ratio for ratio in ratios if ratio is not None]
    apart = abs(known[0] - known[1]) if len(known) == 2 else None
    outcome = Outcome.INCONCLUSIVE
    if apart is not None:
        outcome = Outcome.PASS if apart <= allowed else Outcome.FAIL
    return Check(
        name="attainment_difference",
        rung=f"{reference} -> {other}",
        seed=None,
        bound=Bound.AT_MOST,
        asked=allowed,
        measured=apart,
        unit="",
        outcome=outcome,
    )
