"""DynamoGraphDeploymentRequest: v1alpha1 to v1beta1 and back.

What one version cannot say is parked in annotations ``nvidia.com/dgdr-<suffix>`` and comes
back unchanged. The suffixes spec and status hold what only v1beta1 knows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from contracts.errors import InputError
from dgdr.convert.plain import Json, dump, prune, put, section

_PREFIX = "nvidia.com/dgdr-"
_STATES = {
    "": "Pending",
    "Initializing": "Pending",
    "Pending": "Pending",
    "Profiling": "Profiling",
    "Deploying": "Deploying",
    "DeploymentDeleted": "Ready",
    "Failed": "Failed",
}
# Where the blob keeps what v1beta1 has fields for.
_BLOB_FIELDS = (
    (("sla", "ttft"), ("sla", "ttft")),
    (("sla", "itl"), ("sla", "itl")),
    (("sla", "isl"), ("workload", "isl")),
    (("sla", "osl"), ("workload", "osl")),
    (("deployment", "modelCache", "pvcName"), ("modelCache", "pvcName")),
    (("deployment", "modelCache", "modelPathInPvc"), ("modelCache", "pvcModelPath")),
    (("deployment", "modelCache", "pvcMountPath"), ("modelCache", "pvcMountPath")),
)
_PARKED_SPEC = {
    "config-map-ref": ("profilingConfig", "configMapRef"),
    "output-pvc": ("profilingConfig", "outputPVC"),
    "enable-gpu-discovery": ("enableGpuDiscovery",),
    "deployment-overrides": ("deploymentOverrides",),
    "profiling-config": ("profilingConfig", "config"),
}
_PARKED_STATUS = {
    "status-backend": ("backend",),
    "profiling-results": ("profilingResults",),
    "deployment-status": ("deployment",),
}
_SHARED_STATUS = ("observedGeneration", "conditions")


def request_to_v1beta1(old: Mapping[str, Any]) -> Json:
    """A v1alpha1 request as v1beta1.

    Raises:
        InputError: the blob asks for fewer GPUs per engine at most than at least.
    """
    spec, status = section(old, "spec"), section(old, "status")
    config = section(spec, "profilingConfig")
    blob = section(config, "config")
    _check_engine_gpus(blob)
    notes = _annotations(old)
    new: Json = _unpark(notes, "spec", {})
    for key in ("model", "backend"):
        put(new, spec.get(key), key)
    new["autoApply"] = spec.get("autoApply", False)
    workers_image = section(spec, "deploymentOverrides").get("workersImage")
    put(new, config.get("profilerImage") or workers_image, "image")
    for source, target in _BLOB_FIELDS:
        put(new, _find(blob, source), *target)
    for key in ("sla", "workload", "modelCache"):
        prune(new, key)
    if spec.get("useMocker") or section(new, "features", "mocker"):
        put(new, spec.get("useMocker", False), "features", "mocker", "enabled")
    _job_override(new, config)
    _park(notes, spec, _PARKED_SPEC)
    if not status:
        return _renamed(old, "v1beta1", new, notes)
    new_status = _status_up(status, notes)
    return {**_renamed(old, "v1beta1", new, notes), "status": new_status}


def request_to_v1alpha1(new: Mapping[str, Any]) -> Json:
    """A v1beta1 request as v1alpha1."""
    spec, status = section(new, "spec"), section(new, "status")
    notes = _annotations(new)
    old: Json = {}
    for suffix, path in _PARKED_SPEC.items():
        put(old, _unpark(notes, suffix, None), *path)
    for key in ("model", "backend"):
        put(old, spec.get(key), key)
    old["autoApply"] = spec.get("autoApply", True)
    old["useMocker"] = section(spec, "features", "mocker").get("enabled", False)
    put(old, spec.get("image"), "profilingConfig", "profilerImage")
    for target, source in _BLOB_FIELDS:
        put(old, _find(spec, source), "profilingConfig", "config", *target)
    pod = section(spec, "overrides", "profilingJob", "template", "spec")
    containers = pod.get("containers") or [{}]
    put(old, containers[0].get("resources"), "profilingConfig", "resources")
    put(old, pod.get("tolerations"), "profilingConfig", "tolerations")
    _write(notes, "spec", spec)
    if not status:
        return _renamed(new, "v1alpha1", old, notes)
    old_status = _status_down(status, notes)
    return {**_renamed(new, "v1alpha1", old, notes), "status": old_status}


def _job_override(new: Json, config: Mapping[str, Any]) -> None:
    path = ("overrides", "profilingJob", "template", "spec")
    resources, tolerations = config.get("resources"), config.get("tolerations")
    pod = section(new, *path)
    if not pod and not resources and not tolerations:
        return
    containers = [dict(entry) for entry in pod.get("containers") or []]
    if resources and not containers:
        containers = [{}]
    if containers:
        put(containers[0], resources, "resources")
    put(pod, tolerations, "tolerations")
    put(new, {**pod, "containers": containers}, *path)


def _status_up(status: Mapping[str, Any], notes: dict[str, str]) -> Json:
    new: Json = _unpark(notes, "status", {})
    deployment = section(status, "deployment")
    state = str(status.get("state", ""))
    deployed = deployment.get("created") is True
    put(new, _STATES.get(state, "Deployed" if deployed else "Ready"), "phase")
    for key in _SHARED_STATUS:
        put(new, status.get(key), key)
    put(new, status.get("generatedDeployment"), "profilingResults", "selectedConfig")
    put(new, deployment.get("name"), "dgdName")
    put(new, notes.pop(f"{_PREFIX}profiling-job-name", None), "profilingJobName")
    _park(notes, status, _PARKED_STATUS)
    return new


def _status_down(status: Mapping[str, Any], notes: dict[str, str]) -> Json:
    old: Json = {}
    for suffix, path in _PARKED_STATUS.items():
        put(old, _unpark(notes, suffix, None), *path)
    phase = str(status.get("phase", ""))
    old["state"] = "Ready" if phase == "Deployed" else phase
    for key in _SHARED_STATUS:
        put(old, status.get(key), key)
    put(old, section(status, "profilingResults").get("selectedConfig"), "generatedDeployment")
    if status.get("dgdName"):
        put(old, status["dgdName"], "deployment", "name")
        old["deployment"]["created"] = phase == "Deployed"
    if status.get("profilingJobName"):
        notes[f"{_PREFIX}profiling-job-name"] = str(status["profilingJobName"])
    rest = {k: v for k, v in status.items() if k not in {*_SHARED_STATUS, "phase", "dgdName"}}
    rest.pop("profilingJobName", None)
    rest["profilingResults"] = section(status, "profilingResults")
    rest["profilingResults"].pop("selectedConfig", None)
    prune(rest, "profilingResults")
    _write(notes, "status", rest)
    return old


def _renamed(source: Mapping[str, Any], version: str, spec: Json, notes: Mapping[str, str]) -> Json:
    metadata = section(source, "metadata")
    put(metadata, dict(notes), "annotations")
    kept = {
        k: v for k, v in source.items() if k not in {"apiVersion", "metadata", "spec", "status"}
    }
    return {"apiVersion": f"nvidia.com/{version}", **kept, "metadata": metadata, "spec": spec}


def _annotations(data: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in section(data, "metadata", "annotations").items()}


def _park(
    notes: dict[str, str], data: Mapping[str, Any], paths: Mapping[str, tuple[str, ...]]
) -> None:
    for suffix, path in paths.items():
        _write(notes, suffix, _find(data, path))


def _write(notes: dict[str, str], suffix: str, value: object) -> None:
    notes.pop(f"{_PREFIX}{suffix}", None)
    if value not in (None, {}, ""):
        notes[f"{_PREFIX}{suffix}"] = dump(value)


def _unpark(notes: dict[str, str], suffix: str, default: object) -> Any:  # noqa: ANN401  # JSON
    """What an annotation holds; text that is no JSON is treated as absent."""
    text = notes.pop(f"{_PREFIX}{suffix}", None)
    try:
        return copy.deepcopy(default) if text is None else json.loads(text)
    except json.JSONDecodeError:
        return copy.deepcopy(default)


def _find(data: Mapping[str, Any], path: tuple[str, ...]) -> object:
    return section(data, *path[:-1]).get(path[-1])


def _check_engine_gpus(blob: Mapping[str, Any]) -> None:
    for group in ("hardware", "engine"):
        found = section(blob, group)
        for least, most in (
            ("minNumGpusPerEngine", "maxNumGpusPerEngine"),
            ("min_num_gpus_per_engine", "max_num_gpus_per_engine"),
        ):
            low, high = found.get(least), found.get(most)
            if isinstance(low, int) and isinstance(high, int) and low > high:
                raise InputError(
                    f"is larger than {most}",
                    path=f"spec.profilingConfig.config.{group}.{least}",
                    value=str(low),
                    allowed=f"at most {high}",
                )


def blob_warnings(notes: Mapping[str, str], spec: Mapping[str, Any]) -> list[str]:
    """Where the parked blob of an older request disagrees with the spec, which wins."""
    blob = _unpark(dict(notes), "profiling-config", {})
    found = []
    for group, key, own in (("engine", "backend", "backend"), ("deployment", "model", "model")):
        value = section(blob, group).get(key)
        if value is not None and value != spec.get(own):
            path = f"spec.profilingConfig.config.{group}.{key}"
            found.append(f"{path}: {value!r} differs from spec.{own} {spec.get(own)!r}, which wins")
    return found
