"""Rung ``kube``: a Kubernetes API, the operator, pods, and the load through a Service."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from contracts.errors import InvariantError
from contracts.faults import LostRequestPolicy
from contracts.records import RunRecord
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import Workload
from dgdr.operator.api import ApiError
from dgdr.operator.clock import SystemClock
from harness.faults import Pace
from harness.load import LoadProgress, LoadResult, LoadTarget, WallClock, run_load
from harness.run.kube.deployment import Deployment, deploy, reached
from harness.run.kube.faults import KubeFaults
from harness.run.kube.planner_log import Row, planner_rows
from harness.run.kube.pods import PodTracker
from harness.run.kube.site import POLL_S, site_for
from harness.run.prepare import Prepared
from harness.run.workload import Offered
from harness.scenario import Rung
from harness.store import LoadCheck, RungRun

# A request is given up this long (undilated) after it was due.
REQUEST_TIMEOUT_S = 600.0
# Beyond the start-up time, for a lost worker to be replaced.
RECOVERY_PATIENCE_S = 60.0
_START_DELAY_S = 0.5
Progress = Callable[[str, int, int], None]


class KubeBackend:
    """Brings a cluster up for each run, deploys the request in it and drives it from outside."""

    def run(self, prepared: Prepared, offered: Offered, seed: int, progress: Progress) -> RungRun:
        """Run in a cluster; see :class:`harness.run.backends.Backend`."""
        if not isinstance(offered.traffic, Workload):
            raise InvariantError("rung kube was given traffic that waits for answers")
        with tempfile.TemporaryDirectory(prefix="kube-") as name:
            return asyncio.run(_Run(prepared, offered, seed, progress).run(Path(name)))


class _Run:
    """One run, from an empty cluster to its record."""

    def __init__(self, prepared: Prepared, offered: Offered, seed: int, progress: Progress) -> None:
        self._prepared = prepared
        self._scenario = prepared.scenario
        self._offered = offered
        self._seed = seed
        self._progress = progress
        self._clock = WallClock()
        self._load = LoadProgress(total=0, sent=0, ended=0, completed=0)

    async def run(self, folder: Path) -> RungRun:
        """Bring up, load, take down."""
        prepared = self._prepared
        self._say("cluster")
        async with site_for(self._scenario, prepared.dgdr, folder) as site:
            deployment = await deploy(site, prepared, self._say)
            names = {role: each.name for role, each in deployment.components.items()}
            tracker = PodTracker(components=names)
            async with reached(deployment, folder) as base_url:
                return await self._rehearse(deployment, tracker, base_url)

    async def _rehearse(
        self, deployment: Deployment, tracker: PodTracker, base_url: str
    ) -> RungRun:
        tracker.see(await deployment.pods(), 0.0)
        tracker.restart()
        pace = Pace(
            clock=self._clock,
            start_ns=self._clock.now_ns() + round(_START_DELAY_S * NS_PER_S),
            speed=self._scenario.kube.speed,
        )
        zero_unix_s = SystemClock().unix_s() + _START_DELAY_S
        faults = KubeFaults(
            deployment=deployment,
            tracker=tracker,
            pace=pace,
            startup_s=self._prepared.plan.startup_s,
            retries=self._scenario.on_worker_lost is LostRequestPolicy.RETRY,
        )
        await faults.set_startup()
        watching = asyncio.create_task(_watch(deployment, tracker, faults, pace))
        try:
            load = await self._loaded(base_url, faults, pace)
            await faults.settled(self._prepared.plan.startup_s + RECOVERY_PATIENCE_S)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        if not watching.cancelled():
            watching.result()
        rows = planner_rows(
            await deployment.planner_log(), zero_unix_s=zero_unix_s, roles=list(tracker.components)
        )
        return self._result(load, tracker, faults, rows, deployment.phases)

    async def _loaded(self, base_url: str, faults: KubeFaults, pace: Pace) -> LoadResult:
        scenario, workload = self._scenario, self._offered.traffic
        assert isinstance(workload, Workload)
        timed = (*scenario.faults, *scenario.control_faults)
        async with asyncio.TaskGroup() as group:
            for fault in timed:
                group.create_task(faults.at_their_time([fault]))  # type: ignore[list-item]
            for trigger in scenario.triggers:
                group.create_task(
                    faults.once(
                        trigger,
                        lambda: self._figures(faults.tracker, pace),
                        self._offered.until_s,
                    )
                )
            load = group.create_task(
                run_load(
                    LoadTarget(base_url=base_url, model=self._prepared.plan.model_id),
                    workload,
                    speed=pace.speed,
                    clock=self._clock,
                    timeout_s=REQUEST_TIMEOUT_S,
                    start_ns=pace.start_ns,
                    progress=self._on_progress,
                )
            )
        return load.result()

    def _figures(self, tracker: PodTracker, pace: Pace) -> dict[str, float]:
        load = self._load
        return {
            "time_s": pace.now_s,
            "requests.started": float(load.sent),
            "requests.completed": float(load.completed),
            "requests.failed": float(load.ended - load.completed),
            "requests.open": float(load.sent - load.ended),
            **tracker.figures(),
        }

    def _on_progress(self, progress: LoadProgress) -> None:
        self._load = progress
        self._progress("requests", progress.ended, progress.total)

    def _say(self, phase: str) -> None:
        self._progress(phase, 0, 1)
        self._progress(phase, 1, 1)

    def _result(
        self,
        load: LoadResult,
        tracker: PodTracker,
        faults: KubeFaults,
        rows: tuple[Row, ...],
        phases: Mapping[str, float],
    ) -> RungRun:
        struck = (*faults.records(rows), *self._offered.faults)
        last_s = max([float(load.table.finish_ns.max()) / NS_PER_S, 0.0])
        return RungRun(
            rung=Rung.KUBE.value,
            seed=self._seed,
            record=RunRecord(
                table=load.table,
                worker_events=tuple(tracker.events),
                faults=tuple(sorted(struck, key=lambda each: each.at_s)),
                digest=None,
                duration_s=last_s,
            ),
            decisions=tuple(row.decision for row in rows) if self._scenario.planner.enabled else (),
            load=LoadCheck(
                dispatch_delay_ms_p99=load.dispatch_delay_ms_p99,
                limit_ms=load.dispatch_limit_ns / NS_PER_MS,
                saturated=load.saturated,
                failures=load.failures,
            ),
            facts={
                "Request": ", ".join(f"{name} after {at_s:.1f} s" for name, at_s in phases.items())
            },
        )


async def _watch(
    deployment: Deployment, tracker: PodTracker, faults: KubeFaults, pace: Pace
) -> None:
    """Look at the pods until cancelled; what the API does not tell now, it tells next time."""
    while True:
        await asyncio.sleep(POLL_S)
        try:
            pods = await deployment.pods()
        except ApiError as error:
            if error.refused:
                raise
            continue
        now_s = max(0.0, pace.now_s)
        tracker.see(pods, now_s)
        faults.look(now_s)
