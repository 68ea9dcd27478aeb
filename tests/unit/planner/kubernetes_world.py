"""A deployment in memory: its API, its pods, the metrics of its pods; time is set by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from contracts.plan import Role
from dgdr.operator.api import ApiError, Listing
from dgdr.operator.resources import Resource
from dgdr.reconcile.actions import Json, Ref
from dgdr.reconcile.times import to_text
from planner.adapters.kubernetes import GraphApi, GraphName, KubernetesConnector
from planner.adapters.traffic import ScrapeSource, TrafficSource
from planner.core import PlannerConfig

NAME = GraphName(namespace="ns", name="demo")
PREFIX = "dynamo_frontend_"


@dataclass(slots=True, kw_only=True)
class PodState:
    """One pod; ``state`` is ready, starting, broken, terminating or failed."""

    name: str
    component: str
    address: str
    since_s: float
    state: str = "ready"
    running: int = 0
    waiting: int = 0
    silent: bool = False
    restarts: int = 0
    labels: dict[str, str] = field(default_factory=dict)

    def to_wire(self) -> Json:
        text = to_text(self.since_s)
        ready = "True" if self.state in ("ready", "terminating") else "False"
        metadata: Json = {
            "name": self.name,
            "uid": f"uid-{self.name}",
            "creationTimestamp": text,
            "labels": {
                "nvidia.com/dynamo-component": self.component,
                "nvidia.com/dynamo-component-type": self.component.lower(),
                **self.labels,
            },
        }
        if self.state == "terminating":
            metadata["deletionTimestamp"] = to_text(self.since_s + 30)
            metadata["deletionGracePeriodSeconds"] = 30
        container: Json = {"name": "main", "restartCount": self.restarts}
        container["state"] = {"running": {"startedAt": text}}
        if self.state == "broken":
            container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        status: Json = {
            "phase": "Failed" if self.state == "failed" else "Running",
            "podIP": self.address,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": text}],
            "containerStatuses": [container],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


@dataclass(slots=True)
class World:
    """Attributes: ``refusals`` are raised by the next calls; ``calls`` are writes."""

    now_s: float = 1000.0
    desired: dict[str, int] = field(default_factory=lambda: {"prefill": 1, "decode": 1})
    adapters: bool = True
    pods: list[PodState] = field(default_factory=list)
    status: Json = field(default_factory=lambda: {"observedGeneration": 1})
    started: int = 0
    completed: int = 0
    refusals: list[ApiError] = field(default_factory=list)
    write_refusals: list[ApiError | None] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    components: list[Json] | None = None
    deleting: bool = False

    def __post_init__(self) -> None:
        if not self.pods:
            self.pods = [pod("Frontend", 0, self.now_s)]
            for name, count in self.desired.items():
                self.pods += [pod(name, index, self.now_s) for index in range(count)]

    def unix_s(self) -> float:
        return self.now_s

    def of(self, component: str) -> list[PodState]:
        return [each for each in self.pods if each.component == component]

    # The Kubernetes API

    def graph(self) -> Json:
        components = self.components or [
            {"name": "Frontend", "type": "frontend"},
            *({"name": name, "type": name, "replicas": n} for name, n in self.desired.items()),
            {"name": "Planner", "type": "planner"},
        ]
        metadata: Json = {"name": NAME.name, "namespace": NAME.namespace, "uid": "u"}
        metadata["generation"] = 1
        if self.deleting:
            metadata["deletionTimestamp"] = to_text(self.now_s)
        return {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeployment",
            "metadata": metadata,
            "spec": {"components": components},
            "status": copy.deepcopy(self.status),
        }

    def get(self, ref: Ref) -> Json | None:
        self._refuse()
        return self.graph() if ref.name == NAME.name else None

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        self._refuse()
        assert (resource.kind, namespace) == ("Pod", NAME.namespace)
        assert selector.endswith(f"={NAME.name}")
        return Listing(items=tuple(each.to_wire() for each in self.pods), resource_version="1")

    def request(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json"
    ) -> Json:
        self._refuse()
        component = path.split("/")[-2].removeprefix(f"{NAME.name}-")
        scaled = path.endswith("/scale")
        if scaled and not self.adapters:
            raise ApiError(404, "NotFound", path)
        if method == "GET":
            return {"spec": {"replicas": self.desired[component]}}
        refusal = self.write_refusals.pop(0) if self.write_refusals else None
        if refusal is not None:
            raise refusal
        self.calls.append((method, path, body))
        if scaled:
            self.desired[component] = body["spec"]["replicas"]
        else:
            self.desired[body[0]["value"]] = body[1]["value"]
        return {}

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    # The metrics of the pods

    def metrics(self, request: httpx.Request) -> httpx.Response:
        found = next(each for each in self.pods if each.address == request.url.host)
        if found.silent:
            raise httpx.ConnectError("connection refused", request=request)
        text = self.frontend_page() if found.component == "Frontend" else engine_page(found)
        return httpx.Response(200, text=text, headers={"content-type": "text/plain; version=0.0.4"})

    def frontend_page(self) -> str:
        return frontend_page(self.started, self.completed)

    def advance(self, seconds: float, requests: int) -> None:
        """Time passes, requests come and are done."""
        self.now_s += seconds
        self.started += requests
        self.completed += requests

    # What a cluster does by itself

    def settle(self) -> None:
        """Deployments make their pods fit the desired replicas; all of them become ready."""
        for name, wanted in self.desired.items():
            own = self.of(name)
            for each in own[wanted:]:
                self.pods.remove(each)
            taken = {each.name for each in own}
            index = 0
            while len(self.of(name)) < wanted:
                made = pod(name, index, self.now_s)
                if made.name not in taken:
                    self.pods.append(made)
                index += 1

    # The planner's side

    def connector(
        self, config: PlannerConfig, source: TrafficSource | None = None
    ) -> KubernetesConnector:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.metrics))
        return KubernetesConnector(
            GraphApi(self, NAME), source or ScrapeSource(client), config, unix_s=self.unix_s
        )


def pod(component: str, index: int, now_s: float, **changes: Any) -> PodState:
    host = sum(map(ord, component)) % 200
    values: dict[str, Any] = {
        "name": f"demo-{component.lower()}-{index}",
        "component": component,
        "address": f"10.0.{host}.{index}",
        "since_s": now_s,
    }
    return PodState(**(values | changes))


def frontend_page(started: int, completed: int, *, model: str = "m") -> str:
    """900 prompt and 200 output tokens each, TTFT 0.25 s, ITL 0.02 s."""
    label = f'{{model="{model}"}}'
    rows: Mapping[str, float] = {
        f"{PREFIX}requests_started_total{label}": started,
        f'{PREFIX}requests_total{{model="{model}",status="success"}}': completed,
        f"{PREFIX}input_sequence_tokens_sum{label}": 900 * started,
        f"{PREFIX}input_sequence_tokens_count{label}": started,
        f"{PREFIX}output_sequence_tokens_sum{label}": 200 * completed,
        f"{PREFIX}output_sequence_tokens_count{label}": completed,
        f"{PREFIX}time_to_first_token_seconds_sum{label}": 0.25 * started,
        f"{PREFIX}time_to_first_token_seconds_count{label}": started,
        f'{PREFIX}time_to_first_token_seconds_bucket{{model="{model}",le="+Inf"}}': started,
        f"{PREFIX}inter_token_latency_seconds_sum{label}": 4.0 * completed,
        f"{PREFIX}inter_token_latency_seconds_count{label}": 200 * completed,
    }
    return "# TYPE x counter\n" + "".join(f"{name} {value}\n" for name, value in rows.items())


def engine_page(found: PodState) -> str:
    label = '{engine="0"}'
    return (
        f"vllm:num_requests_running{label} {found.running}\n"
        f"vllm:num_requests_waiting{label} {found.waiting}\n"
        f"vllm:kv_cache_usage_perc{label} 0.25\n"
    )


def roles(workers: Sequence[Any], role: Role) -> list[str]:
    return [worker.state.value for worker in workers if worker.role is role]
