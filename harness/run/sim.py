"""Rung ``sim``: virtual time, function calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from contracts.decision import RoleTarget
from contracts.observation import ClusterSnapshot
from contracts.records import RunRecord
from contracts.workload import SessionPlan, Workload
from harness.faults import ControlPlane, never_due
from harness.run.figures import live_figures
from harness.run.prepare import Prepared
from harness.run.workload import ClosedLoop, Offered
from harness.scenario import Rung, Trigger
from harness.store import RungRun
from planner.adapters.sim import sim_control
from planner.loop import Planner
from simcore.closed_loop import ClosedLoopWindow, simulate_closed_loop, simulate_sessions
from simcore.simulation import FaultTrigger, PeriodicControl, RunSettings, simulate_with

Progress = Callable[[str, int, int], None]


class SimBackend:
    """Runs the simulator in this process."""

    def run(self, prepared: Prepared, offered: Offered, seed: int, progress: Progress) -> RungRun:
        """Simulate the traffic; see :class:`harness.run.backends.Backend`."""
        return _simulated(prepared, offered, seed, progress).run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Simulated:
    """A run, and the requests that were sent in it with their times."""

    run: RungRun
    sent: Workload


def frozen(prepared: Prepared, offered: Offered, seed: int) -> Offered:
    """Traffic that waits for answers as the plain requests that it sends in a simulation.

    Rungs that cannot react to answers send these, so that every rung sends the same.
    """
    if isinstance(offered.traffic, Workload):
        return offered
    return replace(offered, traffic=_simulated(prepared, offered, seed, _ignore).sent)


def _simulated(prepared: Prepared, offered: Offered, seed: int, progress: Progress) -> _Simulated:
    scenario = prepared.scenario
    planner = prepared.make_planner()
    plane = ControlPlane(scenario.control_faults)
    total = offered.requests or 0
    waiting = [_Waiting(trigger, offered.until_s) for trigger in scenario.triggers]
    settings = RunSettings(
        faults=scenario.faults,
        triggers=[each.as_trigger() for each in waiting],
        lost_policy=scenario.on_worker_lost,
        control=None if planner is None else _control(planner, plane, total, progress),
        timer_for=prepared.timer_for,
    )
    record, sent = _run(prepared, offered, settings)
    for each in waiting:
        each.check()
    progress("requests", len(sent), len(sent))
    faults = (*record.faults, *plane.records(), *offered.faults)
    return _Simulated(
        run=RungRun(
            rung=Rung.SIM.value,
            seed=seed,
            record=replace(record, faults=tuple(sorted(faults, key=lambda each: each.at_s))),
            decisions=tuple(planner.decisions) if planner else (),
        ),
        sent=sent,
    )


def _run(prepared: Prepared, offered: Offered, settings: RunSettings) -> tuple[RunRecord, Workload]:
    traffic, plan = offered.traffic, prepared.plan
    if isinstance(traffic, SessionPlan):
        sessions = simulate_sessions(plan, traffic, settings)
        return sessions.record, sessions.workload
    if isinstance(traffic, ClosedLoop):
        record = simulate_closed_loop(
            plan,
            isl=traffic.isl,
            osl=traffic.osl,
            concurrency=traffic.concurrency,
            window=ClosedLoopWindow(duration_s=traffic.duration_s),
            settings=settings,
        )
        table = record.table
        sent = Workload(
            arrival_ns=table.arrival_ns, isl=table.isl, osl=table.osl, source="closed loop"
        )
        return record, sent
    return simulate_with(plan, traffic, settings), traffic


class _Waiting:
    """A trigger that remembers whether it has fired."""

    def __init__(self, trigger: Trigger, until_s: float) -> None:
        self._trigger = trigger
        self._until_s = until_s
        self._fired = False

    def as_trigger(self) -> FaultTrigger:
        return FaultTrigger(fault=self._trigger.fault, due=self._due, until_s=self._until_s)

    def check(self) -> None:
        if not self._fired:
            raise never_due(self._trigger, self._until_s)

    def _due(self, snapshot: ClusterSnapshot) -> bool:
        self._fired = self._trigger.after.holds(live_figures(snapshot))
        return self._fired


def _control(
    planner: Planner, plane: ControlPlane, total: int, progress: Progress
) -> PeriodicControl:
    """The planner behind the faults of its surroundings."""
    control = sim_control(planner)

    def act(snapshot: ClusterSnapshot) -> Sequence[RoleTarget]:
        counters = snapshot.counters
        ended = counters.requests_completed + counters.requests_failed
        progress("requests", ended, max(total, ended))
        seen = plane.view(snapshot)
        if seen is None:
            planner.on_telemetry_lost(snapshot.now_s, "injected fault: metrics_gap")
            return ()
        targets = control.act(seen)
        return () if targets and plane.refuses_order(snapshot.now_s) else targets

    return PeriodicControl(interval_s=control.interval_s, act=act)


def _ignore(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""
