"""The form of a deployment: components of v1beta1 or services of v1alpha1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.errors import InputError
from contracts.plan import Role
from dgdr.convert.graphs import graph_to_v1alpha1
from dgdr.deployment.component import DGD_API_VERSION, Json
from dgdr.deployment.names import legacy_worker_name, worker_name
from dgdr.enums import ServingBackend

LEGACY_API_VERSION = "nvidia.com/v1alpha1"


def in_version(
    graph: Mapping[str, Any], api_version: str, backend: ServingBackend, *, mocker: bool
) -> Json:
    """A deployment of ``nvidia.com/v1beta1`` in a version, workers named as that version does.

    Raises:
        InputError: there is no such version.
    """
    if api_version == DGD_API_VERSION:
        return dict(graph)
    if api_version != LEGACY_API_VERSION:
        raise InputError(
            "unknown version of a deployment",
            path="apiVersion",
            value=api_version,
            allowed=f"{DGD_API_VERSION}, {LEGACY_API_VERSION}",
        )
    components = [dict(part) for part in graph["spec"]["components"]]
    names = {part["name"] for part in components}
    for part in components:
        for role in Role:
            legacy = legacy_worker_name(backend, role, mocker=mocker)
            if part["name"] == worker_name(backend, role, mocker=mocker) and legacy not in names:
                part["name"] = legacy
                break
    old = graph_to_v1alpha1({**graph, "spec": {**graph["spec"], "components": components}})
    return dict(old)
