"""Names, labels and annotations that the operator gives to objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dgdr.reconcile.actions import Json

NAME_LABEL = "dgdr.nvidia.com/name"
NAMESPACE_LABEL = "dgdr.nvidia.com/namespace"
POD_LABEL = "nvidia.com/dgdr-name"
MANAGED_LABELS = {"nvidia.com/managed-by": "dynamo-operator"}
GENERATED_ANNOTATION = "nvidia.com/generated-dgd-spec"
SIDE_ANNOTATION = "dgdr.nvidia.com/additional-resources"
GENERATION_ANNOTATION = "dgdr.nvidia.com/generation"
SPEC_ANNOTATION = "dgdr.nvidia.com/profiled-spec"
UID_ANNOTATION = "dgdr.nvidia.com/uid"
JOB_ACCOUNT = "dgdr-profiling-job"
DISPATCH_ANNOTATIONS = "nvidia.com/dgdr-"


def job_name(request: str) -> str:
    """Name of the profiling Job of a request."""
    return f"profile-{request}"


def output_name(request: str) -> str:
    """Name of the ConfigMap that brings results out of the Job."""
    return f"dgdr-output-{request}"


def request_labels(request: Mapping[str, Any]) -> dict[str, str]:
    """Labels by which the request of an object is found."""
    metadata = request["metadata"]
    return {NAME_LABEL: metadata["name"], NAMESPACE_LABEL: metadata["namespace"]}


def job_labels(name: str) -> dict[str, str]:
    """Labels of the profiling Job."""
    return {"app": "dynamo-profiler", "dgdr": name, **MANAGED_LABELS}


def owner(data: Mapping[str, Any]) -> Json:
    """The controller reference to an object."""
    metadata = data["metadata"]
    return {
        "apiVersion": data["apiVersion"],
        "kind": data["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned_by(data: Mapping[str, Any], uid: str) -> bool:
    """Whether an object belongs to the owner with this uid."""
    references = data["metadata"].get("ownerReferences") or []
    return any(entry.get("uid") == uid for entry in references)
