"""A cluster in virtual time: operator, Job runner and deployments, stepped one at a time."""

from __future__ import annotations

import json
from typing import Any

import yaml
from dgdr_fake_api import Crash, FakeApi, VirtualClock

from dgdr.operator.apply import Applier
from dgdr.operator.cache import Cache
from dgdr.operator.events import EventRecorder
from dgdr.operator.hardware import HardwareReader
from dgdr.operator.informer import Informer
from dgdr.operator.queue import WorkQueue
from dgdr.operator.requests import REQUEST_SOURCES, RequestController, request_keys
from dgdr.operator.resources import CONFIG_MAPS, GRAPHS, JOBS, REQUESTS, Resource
from dgdr.operator.worker import Worker
from dgdr.reconcile.actions import Ref
from dgdr.reconcile.names import owner, request_labels
from dgdr.reconcile.settings import OperatorSettings
from dgdr.reconcile.times import to_text

NAMESPACE = "team-a"
HARDWARE = {
    "gpuSku": "h200_sxm",
    "vramMb": 143771,
    "numGpusPerNode": 8,
    "totalGpus": 8,
    "interconnect": "nvlink",
    "rdma": False,
}
GRAPH = {
    "apiVersion": "nvidia.com/v1beta1",
    "kind": "DynamoGraphDeployment",
    "metadata": {"name": "vllm-agg-12345678"},
    "spec": {"components": [{"name": "Frontend", "type": "frontend", "replicas": 1}]},
}
SIDE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "planner-config-abcd"},
    "data": {"planner_config.json": "{}"},
}
PARETO = {
    "picked": "agg tp1",
    "points": [
        {
            "label": "agg tp1",
            "pareto": True,
            "feasible": True,
            "ttft_ms": 100.0,
            "itl_ms": 9.0,
            "tokens_per_s_per_gpu": 500.0,
            "gpus": 1,
        },
        {
            "label": "agg tp2",
            "pareto": True,
            "feasible": True,
            "ttft_ms": 60.0,
            "itl_ms": 7.0,
            "tokens_per_s_per_gpu": 400.0,
            "gpus": 2,
        },
        {"label": "agg tp4", "pareto": False, "feasible": False, "ttft_ms": None},
    ],
}
PHASES = ("Initializing", "SweepingPrefill", "SelectingConfig", "GeneratingDGD", "Done")


class Operator:
    """All that a process holds in memory; a new one starts empty."""

    def __init__(self, api: FakeApi, clock: VirtualClock, settings: OperatorSettings) -> None:
        self.queue = WorkQueue(clock)
        self.cache = cache = Cache(api)
        self.informers = [
            Informer(api, resource, self._notify, selector=selector)
            for resource, selector in REQUEST_SOURCES
        ]
        for informer in self.informers:
            cache.add(informer.mirror)
        hardware = HardwareReader(api, clock, scrape=lambda url: None)
        applier = Applier(cache, EventRecorder(api, clock, "op-1"))
        controller = RequestController(api, cache, applier, hardware, clock, settings)
        self.worker = Worker("requests", self.queue, controller)

    def _notify(self, data: dict[str, Any]) -> None:
        for key in request_keys(data):
            self.queue.add(key)


class World:
    def __init__(self, settings: OperatorSettings | None = None) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.settings = settings or OperatorSettings(default_image="reg/dynamo-planner:1.2.1")
        self.operator = Operator(self.api, self.clock, self.settings)
        self.outcomes: dict[str, str] = {}
        self.restarts = 0

    # objects

    def submit(self, name: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.api.create(
            {
                "apiVersion": "nvidia.com/v1beta1",
                "kind": "DynamoGraphDeploymentRequest",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"model": "acme/tiny", "backend": "vllm", "hardware": HARDWARE}
                | (spec or {}),
            }
        )

    def find(self, resource: Resource, name: str) -> dict[str, Any] | None:
        return self.api.get(
            Ref(
                api_version=resource.api_version,
                kind=resource.kind,
                namespace=NAMESPACE,
                name=name,
            )
        )

    def status(self, name: str) -> dict[str, Any]:
        return (self.find(REQUESTS, name) or {}).get("status") or {}

    def phase(self, name: str) -> str:
        return self.status(name).get("phase", "")

    def condition(self, name: str, kind: str) -> tuple[str, str, str]:
        (found,) = [c for c in self.status(name)["conditions"] if c["type"] == kind]
        return found["status"], found["reason"], found["message"]

    def events(self) -> list[str]:
        return [v["reason"] for (kind, *_), v in self.api.objects.items() if kind == "Event"]

    def edit(self, name: str, change: dict[str, Any]) -> None:
        found = self.find(REQUESTS, name)
        assert found is not None
        self.api.patch(Ref.of(found), {"spec": change})

    # the rest of the cluster

    def report(self, name: str, data: dict[str, str]) -> None:
        """What the copier of a profiling Job writes."""
        request = self.find(REQUESTS, name)
        assert request is not None
        found = self.find(CONFIG_MAPS, f"dgdr-output-{name}")
        if found is not None:
            self.api.patch(Ref.of(found), {"data": data})
            return
        metadata = {
            "name": f"dgdr-output-{name}",
            "namespace": NAMESPACE,
            "labels": request_labels(request),
            "ownerReferences": [owner(request)],
        }
        self.api.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )

    def succeed(self, name: str, *, documents: list[dict[str, Any]] | None = None) -> None:
        texts = yaml.safe_dump_all(documents or [SIDE, GRAPH])
        data = {
            "phase": "Done",
            "message": "Profiler completed successfully",
            "profiler_status": "success",
            "final_config.yaml": texts,
            "pareto.json": json.dumps(PARETO),
        }
        self.report(name, data)
        self.end_job(name, "Complete")

    def end_job(self, name: str, kind: str, **more: str) -> None:
        job = self.find(JOBS, f"profile-{name}")
        assert job is not None
        now = to_text(self.clock.unix_s())
        status = {"conditions": [{"type": kind, "status": "True", **more}]}
        if kind == "Complete":
            status["completionTime"] = now
        self.api.patch(Ref.of(job), {"status": status}, status=True)

    def run_jobs(self) -> bool:
        """Every running Job takes one step; names ending in -bad fail."""
        moved = False
        for job in self.api.list(JOBS).items:
            if (job.get("status") or {}).get("conditions"):
                continue
            moved = True
            name = job["metadata"]["name"].removeprefix("profile-")
            found = self.find(CONFIG_MAPS, f"dgdr-output-{name}")
            at = PHASES.index(found["data"]["phase"]) + 1 if found else 0
            if at == 2 and name.endswith("-bad"):
                failed = {"profiler_status": "failed", "profiler_error": "out of memory"}
                self.report(name, failed)
                self.end_job(name, "Failed", reason="BackoffLimitExceeded")
            elif at == len(PHASES) - 1:
                self.succeed(name)
            else:
                self.report(name, {"phase": PHASES[at], "message": f"step {at}"})
        return moved

    def run_deployments(self, state: str = "successful") -> bool:
        moved = False
        for graph in self.api.list(GRAPHS).items:
            if (graph.get("status") or {}).get("state") != state:
                part = {"replicas": 1, "availableReplicas": 1, "componentKind": "Deployment"}
                status = {"state": state, "components": {"Frontend": part}}
                self.api.patch(Ref.of(graph), {"status": status}, status=True)
                moved = True
        return moved

    # stepping

    def restart(self) -> None:
        self.restarts += 1
        self.operator = Operator(self.api, self.clock, self.settings)

    def pump(self) -> None:
        for informer in self.operator.informers:
            informer.run_once()

    def work(self) -> bool:
        """One pass of the operator; a crash leaves a new, empty operator."""
        try:
            return self.operator.worker.step()
        except Crash:
            self.restart()
            return True

    def settle(self, *, steps: int = 2000, horizon_s: float = 5.0) -> None:
        """Let the operator work until nothing is due within the horizon."""
        for _ in range(steps):
            self.pump()
            if self.work():
                continue
            due_s = self.operator.queue.next_due_s()
            if due_s is None or due_s - self.clock.now_s > horizon_s:
                return
            self.clock.now_s = max(self.clock.now_s, due_s)
        raise AssertionError("the operator does not come to rest")

    def play(self, *, rounds: int = 50) -> None:
        """Operator, Jobs and deployments until nothing moves."""
        for _ in range(rounds):
            self.settle()
            if not (self.run_jobs() | self.run_deployments()):
                self.settle()
                return
        raise AssertionError("the cluster does not come to rest")
