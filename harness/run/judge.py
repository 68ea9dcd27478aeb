"""Turns results into a three-valued verdict. No data is never a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from contracts.records import FaultRecord
from contracts.sla import SlaTarget
from harness.scenario import Expectations, Tolerance
from harness.store import (
    Bound,
    Check,
    Outcome,
    RungRun,
    RungSummary,
    Verdict,
    compare,
    summarise,
    summarise_runs,
)


def judge(
    runs: Sequence[RungRun], *, expect: Expectations, tolerance: Tolerance, sla: SlaTarget
) -> Verdict:
    """Compare every run with the expectations and each rung with the one above it.

    The verdict fails when any check fails, else it is inconclusive when any check is or
    when there is no check at all.
    """
    checks = [check for run in runs for check in _run_checks(run, expect, sla)]
    checks += _rung_checks(runs, tolerance, sla)
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


def _run_checks(run: RungRun, expect: Expectations, sla: SlaTarget) -> Iterator[Check]:
    summary = summarise(run.record.table, sla)
    note = ""
    if run.load is not None and run.load.saturated:
        note = "the load generator fell behind its schedule, so the latencies are not trusted"
    wanted: list[tuple[str, float | None, float | None, Bound, str]] = [
        ("attainment_min", expect.attainment_min, summary.attainment_ratio, Bound.AT_LEAST, ""),
        (
            "completed_ratio_min",
            expect.completed_ratio_min,
            summary.completed_ratio,
            Bound.AT_LEAST,
            "",
        ),
        ("ttft_ms_p95_max", expect.ttft_ms_p95_max, _p95(summary, "ttft_ms"), Bound.AT_MOST, "ms"),
        ("itl_ms_p95_max", expect.itl_ms_p95_max, _p95(summary, "itl_ms"), Bound.AT_MOST, "ms"),
    ]
    for name, asked, measured, bound, unit in wanted:
        if asked is not None:
            yield _check(name, run, (bound, asked, measured, unit), note)
    if expect.recovery_s_max is not None:
        yield _recovery(run, expect.recovery_s_max)


def _p95(summary: RungSummary, metric: str) -> float | None:
    values = summary.ttft_ms if metric == "ttft_ms" else summary.itl_ms
    return None if values is None else values.p95


def _check(
    name: str, run: RungRun, figures: tuple[Bound, float, float | None, str], note: str
) -> Check:
    bound, asked, measured, unit = figures
    if measured is None or note:
        outcome = Outcome.INCONCLUSIVE
    else:
        holds = measured >= asked if bound is Bound.AT_LEAST else measured <= asked
        outcome = Outcome.PASS if holds else Outcome.FAIL
    return Check(
        name=name,
        rung=run.rung,
        seed=run.seed,
        bound=bound,
        asked=asked,
        measured=measured,
        unit=unit,
        outcome=outcome,
        note=note or ("nothing was measured" if measured is None else ""),
    )


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
        sides = [
            summarise_runs([run.record.table for run in runs if run.rung == rung], sla)
            for rung in (reference, other)
        ]
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
