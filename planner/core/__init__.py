"""The decision itself: pure functions from state and observation to state and decision."""

from planner.core.capacity import Capacity, CapacityModel
from planner.core.config import (
    AggFleet,
    DisaggFleet,
    Fleet,
    LoadPredictor,
    PlannerConfig,
    PolicyName,
    PoolConfig,
    PredictorSettings,
    SchedulePoint,
    SingleFleet,
    Thresholds,
)
from planner.core.policies import POLICIES, Policy
from planner.core.state import PlannerState
from planner.core.tick import tick

__all__ = [
    "POLICIES",
    "AggFleet",
    "Capacity",
    "CapacityModel",
    "DisaggFleet",
    "Fleet",
    "LoadPredictor",
    "PlannerConfig",
    "PlannerState",
    "Policy",
    "PolicyName",
    "PoolConfig",
    "PredictorSettings",
    "SchedulePoint",
    "SingleFleet",
    "Thresholds",
    "tick",
]
