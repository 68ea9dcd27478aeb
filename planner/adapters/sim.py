"""The planner as a periodic control of the simulator."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.decision import RoleTarget
from contracts.observation import ClusterSnapshot, Counters
from planner.loop import Planner
from simcore.simulation import PeriodicControl


def sim_control(planner: Planner) -> PeriodicControl:
    """Tick the planner every ``interval_s`` of virtual time.

    A run starts at time zero with all counters at zero, which the planner is shown here,
    so its first window is the first interval; over HTTP the first tick does the same.
    """
    planner.on_snapshot(ClusterSnapshot(now_s=0.0, counters=Counters(), workers=(), loads=()))

    def act(snapshot: ClusterSnapshot) -> Sequence[RoleTarget]:
        return planner.on_snapshot(snapshot).targets

    return PeriodicControl(interval_s=planner.config.interval_s, act=act)
