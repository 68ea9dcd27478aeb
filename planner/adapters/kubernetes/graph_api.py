"""The calls that the planner makes for one DynamoGraphDeployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dgdr.operator.api import ApiError, Listing
from dgdr.operator.resources import ADAPTERS, GRAPHS, PODS, Resource
from dgdr.reconcile.actions import Json, Ref
from dgdr.reconcile.workloads import component_labels
from planner.adapters.kubernetes.components import ScaledComponent

_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"


class Calls(Protocol):
    """The part of ``dgdr.operator.client.KubeClient`` that is used; methods raise ApiError."""

    def get(self, ref: Ref) -> Json | None:
        """An object, None when it is not there."""
        ...

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Json | Sequence[Json] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Any other call."""
        ...

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        """All objects of a kind with these labels."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphName:
    """One deployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class GraphApi:
    """Reads a deployment and sets the replicas of its components; methods raise ApiError.

    Args:
        calls: the Kubernetes API.
        graph: the deployment.
    """

    def __init__(self, calls: Calls, graph: GraphName) -> None:
        self.name = graph
        self._calls = calls

    def graph(self) -> Json:
        """The deployment."""
        ref = Ref(
            api_version=GRAPHS.api_version,
            kind=GRAPHS.kind,
            namespace=self.name.namespace,
            name=self.name.name,
        )
        found = self._calls.get(ref)
        if found is None:
            raise ApiError(404, "NotFound", f"DynamoGraphDeployment {self.name} is not there")
        return found

    def pods(self) -> tuple[Mapping[str, Any], ...]:
        """All pods of the deployment."""
        selector = component_labels(self.name.name)
        return self._calls.list(PODS, self.name.namespace, selector).items

    def replicas(self, component: ScaledComponent) -> int:
        """How many replicas there shall be: the adapter's word, else the deployment's."""
        try:
            scale = self._calls.request("GET", self._scale_path(component))
        except ApiError as error:
            if not error.missing:
                raise
            return component.replicas
        return int((scale.get("spec") or {}).get("replicas") or 0)

    def set_replicas(self, component: ScaledComponent, replicas: int) -> None:
        """Patch the adapter's scale; without an adapter patch the deployment itself."""
        change: Json = {"spec": {"replicas": replicas}}
        try:
            self._calls.request(
                "PATCH", self._scale_path(component), body=change, content_type=_MERGE
            )
        except ApiError as error:
            if not error.missing:
                raise
        else:
            return
        place = f"/spec/components/{component.index}"
        # The test refuses the change when components have moved; add also replaces.
        steps: list[Json] = [
            {"op": "test", "path": f"{place}/name", "value": component.name},
            {"op": "add", "path": f"{place}/replicas", "value": replicas},
        ]
        path = GRAPHS.path(self.name.namespace, self.name.name)
        self._calls.request("PATCH", path, body=steps, content_type=_JSON_PATCH)

    def _scale_path(self, component: ScaledComponent) -> str:
        name = f"{self.name.name}-{component.name.lower()}"
        return ADAPTERS.path(self.name.namespace, name, "scale")
