"""Scenario files: what to deploy, what traffic to send, what to break, what to expect."""

from harness.scenario.load import load_scenario
from harness.scenario.model import (
    Arrivals,
    BurstArrivals,
    ConstantArrivals,
    DeploySettings,
    Expectations,
    GammaArrivals,
    Lengths,
    MockSettings,
    PlannerSettings,
    PoissonArrivals,
    Rung,
    Scenario,
    SyntheticWorkload,
    Tolerance,
    TraceFormat,
    TraceWorkload,
)

__all__ = [
    "Arrivals",
    "BurstArrivals",
    "ConstantArrivals",
    "DeploySettings",
    "Expectations",
    "GammaArrivals",
    "Lengths",
    "MockSettings",
    "PlannerSettings",
    "PoissonArrivals",
    "Rung",
    "Scenario",
    "SyntheticWorkload",
    "Tolerance",
    "TraceFormat",
    "TraceWorkload",
    "load_scenario",
]
