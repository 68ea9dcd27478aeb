"""What is checked of a pod that an override gives; all parts may be missing.

Kubernetes knows many more fields, which are kept as they are and checked by the API server.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dgdr.graph import OpenSection
from dgdr.section import RULE_ERROR, RawObject


def _amount(value: object) -> object:
    """A number, or a text such as ``500m`` or ``80Gi``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        rule = {"message": "is not an amount", "allowed": "a number or a text such as 80Gi"}
        raise PydanticCustomError(RULE_ERROR, "{message}", rule)
    return value


def _legacy_amount(value: object) -> object:
    """An amount, or the section ``custom`` with amounts of other resources."""
    for amount in value.values() if isinstance(value, dict) else (value,):
        _amount(amount)
    return value


_Name = Annotated[str, Field(min_length=1)]
_Amounts = dict[str, Annotated[Any, AfterValidator(_amount)]]
_LegacyAmounts = dict[str, Annotated[Any, AfterValidator(_legacy_amount)]]


class Variable(OpenSection):
    """An environment variable."""

    name: _Name
    value: str | None = None
    value_from: RawObject | None = None


class Resources(OpenSection):
    """What a container asks for and may use."""

    limits: _Amounts | None = None
    requests: _Amounts | None = None


class LegacyResources(OpenSection):
    """What a service asks for and may use, v1alpha1: ``cpu``, ``memory``, ``gpu``, ``custom``."""

    limits: _LegacyAmounts | None = None
    requests: _LegacyAmounts | None = None


class VolumeMount(OpenSection):
    """Where a container sees a volume."""

    name: _Name | None = None
    mount_path: str | None = None
    mount_point: str | None = None
    read_only: bool | None = None


class Port(OpenSection):
    """A port that a container listens on."""

    container_port: int
    name: str | None = None
    protocol: str | None = None


class Container(OpenSection):
    """A container; the one that does the work is called ``main``."""

    name: _Name | None = None
    image: str | None = None
    working_dir: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[Variable] | None = None
    env_from: list[RawObject] | None = None
    resources: Resources | None = None
    volume_mounts: list[VolumeMount] | None = None
    ports: list[Port] | None = None


class Volume(OpenSection):
    """A volume of a pod."""

    name: _Name


class PodSpec(OpenSection):
    """The pod of a component; ``mainContainer`` is that of v1alpha1."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    main_container: Container | None = None
    volumes: list[Volume] | None = None
    tolerations: list[RawObject] | None = None
    node_selector: dict[str, str] | None = None
    affinity: RawObject | None = None
    image_pull_secrets: list[RawObject] | None = None
    service_account_name: str | None = None
    priority_class_name: str | None = None
    runtime_class_name: str | None = None
    scheduler_name: str | None = None
    termination_grace_period_seconds: int | None = None
    host_network: bool | None = None
    security_context: RawObject | None = None


class PodMeta(OpenSection):
    """Labels and annotations."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class PodTemplate(OpenSection):
    """``podTemplate`` of a component, v1beta1."""

    metadata: PodMeta | None = None
    spec: PodSpec | None = None


class LegacyPod(OpenSection):
    """The parts of a service that become its pod, v1alpha1."""

    extra_pod_spec: PodSpec | None = None
    extra_pod_metadata: PodMeta | None = None
    resources: LegacyResources | None = None
    envs: list[Variable] | None = None
    volume_mounts: list[VolumeMount] | None = None
