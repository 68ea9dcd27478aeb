"""Runs a scenario: profile, deploy on each rung, drive traffic, judge."""

from harness.run.execute import REPLAY_FILE, Execution, execute
from harness.run.judge import verdict_of
from harness.run.plan import RunPlan, plan_lines, plan_run
from harness.run.prepare import Prepared, prepare
from harness.run.profiles import Profiles
from harness.run.rehearse import new_manifest, rehearse, rungs_named, with_seeds

__all__ = [
    "REPLAY_FILE",
    "Execution",
    "Prepared",
    "Profiles",
    "RunPlan",
    "execute",
    "new_manifest",
    "plan_lines",
    "plan_run",
    "prepare",
    "rehearse",
    "rungs_named",
    "verdict_of",
    "with_seeds",
]
