"""Rung ``sim``: virtual time, function calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.decision import RoleTarget
from contracts.observation import ClusterSnapshot
from contracts.workload import Workload
from harness.run.prepare import Prepared
from harness.scenario import Rung
from harness.store import RungRun
from planner.adapters.sim import sim_control
from simcore.simulation import PeriodicControl, simulate


class SimBackend:
    """Runs the simulator in this process."""

    def run(
        self,
        prepared: Prepared,
        workload: Workload,
        seed: int,
        progress: Callable[[str, int, int], None],
    ) -> RungRun:
        """Simulate the workload; see :class:`harness.run.backends.Backend`."""
        planner = prepared.make_planner()
        control = _reporting(sim_control(planner), len(workload), progress) if planner else None
        record = simulate(
            prepared.plan,
            workload,
            faults=prepared.scenario.faults,
            lost_policy=prepared.scenario.on_worker_lost,
            control=control,
            timer_for=prepared.timer_for,
        )
        progress("requests", len(workload), len(workload))
        decisions = tuple(planner.decisions) if planner else ()
        return RungRun(rung=Rung.SIM.value, seed=seed, record=record, decisions=decisions)


def _reporting(
    control: PeriodicControl, total: int, progress: Callable[[str, int, int], None]
) -> PeriodicControl:
    def act(snapshot: ClusterSnapshot) -> Sequence[RoleTarget]:
        counters = snapshot.counters
        progress("requests", counters.requests_completed + counters.requests_failed, total)
        return control.act(snapshot)

    return PeriodicControl(interval_s=control.interval_s, act=act)
