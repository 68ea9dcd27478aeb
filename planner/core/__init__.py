"""The decision itself: pure functions from state and observation to state and decision."""

from planner.core.capacity import Capacity, CapacityModel
from planner.core.config import (
    AggFleet,
    DisaggFleet,
    Fleet,
    LoadPredictor,
    PlannerConfig,
    PoolConfig,
)
from planner.core.state import PlannerState
from planner.core.tick import tick

__all__ = [
    "AggFleet",
    "Capacity",
    "CapacityModel",
    "DisaggFleet",
    "Fleet",
    "LoadPredictor",
    "PlannerConfig",
    "PlannerState",
    "PoolConfig",
    "tick",
]
