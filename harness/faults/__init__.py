"""Faults of a scenario: injected through the admin API, or between planner and cluster."""

from harness.faults.control_plane import ControlPlane, FaultyTransport
from harness.faults.http import POLL_S, Pace, await_trigger, inject_faults, never_due

__all__ = [
    "POLL_S",
    "ControlPlane",
    "FaultyTransport",
    "Pace",
    "await_trigger",
    "inject_faults",
    "never_due",
]
