"""Scenario files: what to deploy, what traffic to send, what to break, what to expect."""

from harness.scenario.load import load_scenario
from harness.scenario.model import (
    DeploySettings,
    Expectations,
    MockSettings,
    PlannerSettings,
    Rung,
    Scenario,
    SyntheticWorkload,
    Tolerance,
    TraceFormat,
    TraceWorkload,
)

__all__ = [
    "DeploySettings",
    "Expectations",
    "MockSettings",
    "PlannerSettings",
    "Rung",
    "Scenario",
    "SyntheticWorkload",
    "Tolerance",
    "TraceFormat",
    "TraceWorkload",
    "load_scenario",
]
