"""A DynamoGraphDeployment ``nvidia.com/v1beta1`` as typed parts, and their wire form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.errors import InputError
from dgdr.convert.graphs import MAIN
from dgdr.convert.plain import section

Json = dict[str, object]

DGD_API_VERSION = "nvidia.com/v1beta1"
DGD_KIND = "DynamoGraphDeployment"
TOKEN_SECRET = "hf-token-secret"
WORKSPACE = "/workspace"
GPU_RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A pod volume and where the main container sees it.

    Attributes:
        source: the volume's source, such as ``{"configMap": {"name": ...}}``.
    """

    name: str
    source: Mapping[str, object]
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The main container of a component.

    Attributes:
        gpus: GPU limit of one pod; None asks for none.
        ephemeral_storage: requested scratch space such as ``2Gi``; None asks for none.
    """

    image: str
    module: str
    working_dir: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    gpus: int | None = None
    ephemeral_storage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component of a deployment.

    Attributes:
        planner_scaled: a scaling adapter owns the number of replicas.
        nodes: machines that one replica spans.
    """

    name: str
    type: str
    replicas: int
    container: Container
    mounts: tuple[Mount, ...] = ()
    planner_scaled: bool = False
    nodes: int = 1
    runtime_version: str | None = None

    def to_wire(self) -> Json:
        """The component as it stands under ``spec.components``."""
        wire: Json = {"name": self.name, "type": self.type, "replicas": self.replicas}
        if self.runtime_version is not None:
            wire["runtimeVersionOverride"] = self.runtime_version
        if self.planner_scaled:
            wire["scalingAdapter"] = {}
        if self.nodes > 1:
            wire["multinode"] = {"nodeCount": self.nodes}
        wire["podTemplate"] = {"spec": self._pod()}
        return wire

    def _pod(self) -> Json:
        pod: Json = {}
        if self.mounts:
            pod["volumes"] = [{"name": mount.name, **mount.source} for mount in self.mounts]
        pod["containers"] = [_container_to_wire(self.container, self.mounts)]
        return pod


def _container_to_wire(container: Container, mounts: Sequence[Mount]) -> Json:
    wire: Json = {
        "name": MAIN,
        "image": container.image,
        "workingDir": container.working_dir,
        "command": ["python3", "-m", container.module],
    }
    if container.args:
        wire["args"] = list(container.args)
    if container.env:
        wire["env"] = [{"name": name, "value": value} for name, value in container.env.items()]
    wire["envFrom"] = [{"secretRef": {"name": TOKEN_SECRET}}]
    resources = _resources(container)
    if resources:
        wire["resources"] = resources
    if mounts:
        wire["volumeMounts"] = [_mount_to_wire(mount) for mount in mounts]
    return wire


def _resources(container: Container) -> Json:
    resources: Json = {}
    if container.ephemeral_storage is not None:
        resources["requests"] = {"ephemeral-storage": container.ephemeral_storage}
    if container.gpus is not None:
        resources["limits"] = {GPU_RESOURCE: str(container.gpus)}
    return resources


def _mount_to_wire(mount: Mount) -> Json:
    wire: Json = {"name": mount.name, "mountPath": mount.path}
    if mount.read_only:
        wire["readOnly"] = True
    return wire


def json_text(file: str, content: Mapping[str, object]) -> str:
    """The text of a JSON file in a ConfigMap; equal content gives equal text.

    Raises:
        InputError: a value has no JSON form; ``file`` names the place.
    """
    try:
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(
            f"has no JSON form: {error}",
            path=file,
            allowed="text, finite numbers, true, false, null, lists and sections",
        ) from error


def config_map(name: str, data: Mapping[str, str], namespace: str | None) -> Json:
    """A Kubernetes ConfigMap with text files."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(name, namespace),
        "data": dict(data),
    }


def deployment(name: str, components: Sequence[Component], namespace: str | None) -> Json:
    """A DynamoGraphDeployment with these components."""
    return {
        "apiVersion": DGD_API_VERSION,
        "kind": DGD_KIND,
        "metadata": _metadata(name, namespace),
        "spec": {"components": [component.to_wire() for component in components]},
    }


def components_of(graph: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The components of a deployment of ``nvidia.com/v1beta1``."""
    found: list[dict[str, Any]] = graph["spec"]["components"]
    return found


def main_container(component: Mapping[str, Any]) -> dict[str, Any]:
    """The container that does the work; empty when the component has none of that name."""
    pod = section(component, "podTemplate", "spec")
    named = (each for each in pod.get("containers") or [] if each.get("name") == MAIN)
    found: dict[str, Any] = next(named, {})
    return found


def _metadata(name: str, namespace: str | None) -> Json:
    return {"name": name} if namespace is None else {"name": name, "namespace": namespace}
