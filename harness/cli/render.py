"""Verdicts for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.run import Execution
from harness.store import Check, Verdict


def verdict_lines(verdict: Verdict) -> list[str]:
    """The verdict and every check, one line each."""
    lines = [f"verdict: {verdict.outcome.value}"]
    lines += [f"  {_check_line(check)}" for check in verdict.checks]
    return lines + [f"  {reason}" for reason in verdict.reasons if not verdict.checks]


def _check_line(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    measured = "no data" if check.measured is None else f"{check.measured:.4g}{unit}"
    bound = {"at_least": ">=", "at_most": "<=", "equal": "="}[check.bound.value]
    note = f" ({check.note})" if check.note else ""
    return (
        f"{check.outcome.value:<13} {check.name:<26} {check.rung:<12} "
        f"{measured}, asked {bound} {check.asked:g}{unit}{note}"
    )


def execution_json(execution: Execution, report: Path) -> dict[str, Any]:
    """One finished run."""
    verdict = execution.verdict
    return {
        "verdict": verdict.outcome.value,
        "folder": str(execution.folder),
        "report": str(report),
        "reasons": list(verdict.reasons),
        "checks": [asdict(check) for check in verdict.checks],
    }
