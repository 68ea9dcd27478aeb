"""Pods of a deployment as workers that come, get ready and go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from planner.adapters.kubernetes.pods import belongs, is_ready

Pod = Mapping[str, Any]
_GONE = (WorkerState.FAILED, WorkerState.STOPPED)


@dataclass(slots=True, kw_only=True)
class PodTracker:
    """Turns lists of pods into changes of workers.

    Args:
        components: name of the component of each pool.

    Attributes:
        events: every change so far, in order of time.
        nodes: where each pod runs.
        addresses: of each pod.
    """

    components: Mapping[Role, str]
    events: list[WorkerView] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    _now: dict[str, WorkerView] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    def see(self, pods: Iterable[Pod], now_s: float) -> None:
        """Compare all pods of the deployment with what was seen before.

        Args:
            pods: as the API lists them.
            now_s: simulated seconds since the load began.
        """
        there = set()
        for pod in pods:
            role = next((r for r, name in self.components.items() if belongs(pod, name)), None)
            name = str(pod["metadata"]["name"])
            if role is None or name in self._lost:
                continue
            there.add(name)
            self.nodes[name] = str((pod.get("spec") or {}).get("nodeName") or "")
            self.addresses[name] = str((pod.get("status") or {}).get("podIP") or "")
            self._change(name, role, self._state(name, pod), now_s)
        for name, view in list(self._now.items()):
            if name not in there and view.state not in _GONE:
                self._change(name, view.role, WorkerState.STOPPED, now_s)

    def lose(self, names: Iterable[str], now_s: float) -> None:
        """These pods have failed; whatever the API still shows of them does not count."""
        for name in names:
            self._lost.add(name)
            self._change(name, self._now[name].role, WorkerState.FAILED, now_s)

    def restart(self) -> None:
        """The load begins: what is there now is there since second 0."""
        self._now = {
            name: WorkerView(worker_id=name, role=view.role, state=view.state, since_s=0.0)
            for name, view in self._now.items()
            if view.state not in _GONE
        }
        self.events = list(self._now.values())

    def ready(self, role: Role) -> list[str]:
        """Ready pods of a pool, longest in this state first."""
        found = [view for view in self._now.values() if view.role is role]
        found = [view for view in found if view.state is WorkerState.READY]
        return [view.worker_id for view in sorted(found, key=lambda v: (v.since_s, v.worker_id))]

    def counts(self) -> dict[Role, int]:
        """Ready pods of every pool."""
        return {role: len(self.ready(role)) for role in self.components}

    def figures(self) -> dict[str, float]:
        """The figures of conditions that pods tell."""
        views = self._now.values()
        return {
            f"pool.{role.value}.{state.value}": float(
                sum(1 for view in views if view.role is role and view.state is state)
            )
            for role in self.components
            for state in (WorkerState.READY, WorkerState.STARTING, WorkerState.DRAINING)
        }

    def ordered_within(self, from_s: float, to_s: float) -> list[str]:
        """Workers that were first seen within a window."""
        first: dict[str, float] = {}
        for event in self.events:
            first.setdefault(event.worker_id, event.since_s)
        return [name for name, at_s in first.items() if from_s <= at_s < to_s and at_s > 0]

    def _state(self, name: str, pod: Pod) -> WorkerState:
        before = self._now.get(name)
        if pod["metadata"].get("deletionTimestamp"):
            return WorkerState.DRAINING
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return WorkerState.FAILED
        if is_ready(pod):
            return WorkerState.READY
        was_ready = before is not None and before.state in (WorkerState.READY, WorkerState.FAILED)
        return WorkerState.FAILED if was_ready else WorkerState.STARTING

    def _change(self, name: str, role: Role, state: WorkerState, now_s: float) -> None:
        before = self._now.get(name)
        if before is not None and before.state is state:
            return
        view = WorkerView(worker_id=name, role=role, state=state, since_s=now_s)
        self._now[name] = view
        self.events.append(view)
