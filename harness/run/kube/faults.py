"""Faults of a scenario, injected into a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from pydantic import TypeAdapter

from contracts.errors import InputError
from contracts.faults import Fault, ImagePullFailure, LateStart, NodeLoss, WorkerCrash
from contracts.observation import ClusterSnapshot
from contracts.plan import Role
from contracts.records import FaultRecord
from dgdr.reconcile.workloads import SYSTEM_PORT
from harness.faults import POLL_S, Pace, never_due
from harness.run.kube.deployment import Deployment
from harness.run.kube.planner_log import Row
from harness.run.kube.pods import PodTracker
from harness.scenario import ApiErrors, Trigger

_SNAPSHOT = TypeAdapter(ClusterSnapshot)
_LOOK_LIMIT_S = 1.0
# Of requests that a pod held when it was lost and that could not be counted.
UNSEEN = -1
_REFUSED = ("unknown", "rejected")


@dataclass(slots=True, kw_only=True)
class _Loss:
    """Workers that were lost at an instant, and the ready ones of each pool before."""

    kind: str
    target: str
    at_s: float
    requests: int
    before: Mapping[Role, int]
    recovered_at_s: float | None = None


@dataclass(slots=True, kw_only=True)
class KubeFaults:
    """Injects faults and remembers what they hit.

    Args:
        deployment: the victim.
        tracker: its pods.
        pace: the time of the load.
        startup_s: simulated seconds that a new worker needs.
        retries: requests of a lost worker go on at another one.
    """

    deployment: Deployment
    tracker: PodTracker
    pace: Pace
    startup_s: float
    retries: bool = False
    _losses: list[_Loss] = field(default_factory=list)
    _windows: list[ImagePullFailure | LateStart] = field(default_factory=list)
    _api_errors: list[ApiErrors] = field(default_factory=list)
    _startup: str = ""

    async def set_startup(self, extra_s: float = 0.0) -> None:
        """From now on new pods take the start-up time of the plan, and ``extra_s`` more.

        Only on the embedded cluster; elsewhere pods take the time that they take.
        """
        site = self.deployment.site
        if not site.embedded:
            return
        if self._startup:
            await site.end_fault(self._startup)
        wait_ms = (self.startup_s + extra_s) / self.pace.speed * 1000
        self._startup = ""
        if wait_ms > 0:
            self._startup = await site.add_fault({"kind": "slow-start", "ms": wait_ms})

    async def at_their_time(self, faults: Sequence[Fault | ApiErrors]) -> None:
        """Inject every fault at its second."""
        for fault in sorted(faults, key=lambda each: each.at_s):
            await self.pace.sleep_until(fault.at_s)
            await self.inject(fault)

    async def once(
        self, trigger: Trigger, figures: Callable[[], Mapping[str, float]], until_s: float
    ) -> None:
        """Inject a fault as soon as its condition holds.

        Raises:
            InputError: it never did until ``until_s``.
        """
        at_s = trigger.fault.at_s
        while at_s <= until_s:
            await self.pace.sleep_until(at_s)
            if trigger.after.holds(dict(figures())):
                await self.inject(trigger.fault)
                return
            at_s += POLL_S * self.pace.speed
        raise never_due(trigger, until_s)

    async def inject(self, fault: Fault | ApiErrors) -> None:
        """Let a fault strike now.

        Raises:
            InputError: it hits no target.
        """
        if isinstance(fault, WorkerCrash):
            await self._crash(fault)
        elif isinstance(fault, NodeLoss):
            await self._lose_node(fault)
        elif isinstance(fault, ImagePullFailure):
            self._windows.append(fault)
            rule = {"kind": "image-pull", "seconds": fault.duration_s / self.pace.speed}
            await self.deployment.site.add_fault(rule)
        elif isinstance(fault, LateStart):
            self._windows.append(fault)
            extra_s = self.startup_s * (fault.factor - 1.0) + fault.extra_s
            await self.set_startup(extra_s)
            await self.pace.sleep_until(fault.at_s + fault.duration_s)
            await self.set_startup()
        elif isinstance(fault, ApiErrors):
            self._api_errors.append(fault)
            user = f"system:serviceaccount:{self.deployment.graph.namespace}:dgdr-planner"
            rule = {"kind": "server-error", "user": user, "verbs": ["update", "patch"]}
            await self.deployment.site.add_fault(
                rule | {"seconds": fault.duration_s / self.pace.speed}
            )
        else:
            raise InputError("cannot be injected on rung kube", path=f"faults: {fault.kind}")

    async def _crash(self, fault: WorkerCrash) -> None:
        ready = self.tracker.ready(fault.role)
        if fault.worker_index >= len(ready):
            raise _no_target(fault.kind, f"worker {fault.worker_index} of {len(ready)} ready ones")
        name = ready[fault.worker_index]
        before, requests = self.tracker.counts(), await self._held([name])
        await self.deployment.delete_pod(name)
        self._lost(fault.kind, [name], name, before, requests)

    async def _lose_node(self, fault: NodeLoss) -> None:
        tracker = self.tracker
        nodes = list(dict.fromkeys(tracker.nodes[view.worker_id] for view in tracker.events))
        if fault.node_index >= len(nodes):
            raise _no_target(fault.kind, f"node {fault.node_index} of {len(nodes)} in use")
        node = nodes[fault.node_index]
        ready = [name for role in tracker.components for name in tracker.ready(role)]
        names = [name for name in ready if tracker.nodes[name] == node]
        if not names:
            raise _no_target(fault.kind, f"{node}, which has no ready worker")
        before, requests = tracker.counts(), await self._held(names)
        await self.deployment.site.add_fault({"kind": "node-loss", "name": node})
        self._lost(fault.kind, names, node, before, requests)

    def _lost(
        self, kind: str, names: list[str], target: str, before: Mapping[Role, int], requests: int
    ) -> None:
        at_s = self.pace.now_s
        self.tracker.lose(names, at_s)
        self._losses.append(
            _Loss(kind=kind, target=target, at_s=at_s, requests=requests, before=before)
        )

    async def _held(self, names: Sequence[str]) -> int:
        """Requests that pods have now; ``UNSEEN`` when one cannot be asked from here."""
        total = 0
        async with httpx.AsyncClient(timeout=_LOOK_LIMIT_S, trust_env=False) as client:
            for name in names:
                host = self.tracker.addresses[name]
                host = f"[{host}]" if ":" in host else host
                url = f"http://{host}:{SYSTEM_PORT}/admin/snapshot"
                try:
                    answer = (await client.get(url)).raise_for_status()
                except httpx.HTTPError:
                    return UNSEEN
                loads = _SNAPSHOT.validate_json(answer.content).loads
                total += sum(load.running_requests + load.waiting_requests for load in loads)
        return total

    def look(self, now_s: float) -> None:
        """The pods were looked at: note which losses are made good."""
        counts = self.tracker.counts()
        for loss in self._losses:
            back = all(counts[role] >= count for role, count in loss.before.items())
            if loss.recovered_at_s is None and back:
                loss.recovered_at_s = now_s

    @property
    def open(self) -> bool:
        """Whether a loss has not been made good yet."""
        return any(loss.recovered_at_s is None for loss in self._losses)

    async def settled(self, patience_s: float) -> None:
        """Wait until every loss is made good, for so many simulated seconds at most."""
        end_s = self.pace.now_s + patience_s
        while self.open and self.pace.now_s < end_s:
            await asyncio.sleep(POLL_S)

    def records(self, rows: Sequence[Row]) -> tuple[FaultRecord, ...]:
        """What each fault hit, in order of time.

        Args:
            rows: what the planner's pod has said.

        Raises:
            InputError: a fault hit nothing.
        """
        found = [_loss_record(loss, retries=self.retries) for loss in self._losses]
        found += [self._window_record(fault) for fault in self._windows]
        found += [_api_record(fault, rows) for fault in self._api_errors]
        return tuple(sorted(found, key=lambda each: each.at_s))

    def _window_record(self, fault: ImagePullFailure | LateStart) -> FaultRecord:
        end_s = fault.at_s + fault.duration_s
        names = self.tracker.ordered_within(fault.at_s, end_s)
        if not names:
            raise _no_target(fault.kind, f"no worker starts from {fault.at_s:g} s to {end_s:g} s")
        return _record(fault.kind, ",".join(names), fault.at_s, recovered_at_s=end_s)


def _api_record(fault: ApiErrors, rows: Sequence[Row]) -> FaultRecord:
    end_s = fault.at_s + fault.duration_s
    hit = [row for row in rows if fault.at_s <= row.now_s < end_s and row.applied in _REFUSED]
    if not hit:
        raise _no_target(fault.kind, f"no order of the planner from {fault.at_s:g} to {end_s:g} s")
    target = f"planner, {len(hit)} order{'' if len(hit) == 1 else 's'}"
    return _record(fault.kind, target, fault.at_s, recovered_at_s=end_s)


def _loss_record(loss: _Loss, *, retries: bool) -> FaultRecord:
    return _record(
        loss.kind, loss.target, loss.at_s,
        recovered_at_s=loss.recovered_at_s, hit=loss.requests, retries=retries,
    )  # fmt: skip


def _record(
    kind: str,
    target: str,
    at_s: float,
    *,
    recovered_at_s: float | None,
    hit: int = 0,
    retries: bool = False,
) -> FaultRecord:
    return FaultRecord(
        kind=kind,
        target=target,
        at_s=at_s,
        requests_hit=hit,
        requests_retried=hit if retries else 0,
        requests_failed=0 if retries else hit,
        recovered_at_s=recovered_at_s,
    )


def _no_target(kind: str, value: str) -> InputError:
    return InputError("the fault hits nothing", path=f"faults: {kind}", value=value)
