"""Runs a scenario: profile, deploy on each rung, drive traffic, judge."""

from harness.run.execute import REPLAY_FILE, Execution, execute
from harness.run.judge import verdict_of
from harness.run.plan import RunPlan, plan_lines, plan_run
from harness.run.prepare import Prepared, prepare

__all__ = [
    "REPLAY_FILE",
    "Execution",
    "Prepared",
    "RunPlan",
    "execute",
    "plan_lines",
    "plan_run",
    "prepare",
    "verdict_of",
]
