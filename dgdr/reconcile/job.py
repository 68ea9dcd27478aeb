"""The profiling Job of a request, and what a request may change about it."""

from __future__ import annotations

import copy
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from contracts.errors import InputError
from contracts.plan import RouterPolicy
from dgdr.convert.plain import put, section
from dgdr.deployment.component import TOKEN_SECRET
from dgdr.enums import SearchStrategy
from dgdr.reconcile.actions import Json
from dgdr.reconcile.names import (
    DISPATCH_ANNOTATIONS,
    GENERATION_ANNOTATION,
    JOB_ACCOUNT,
    NAME_LABEL,
    NAMESPACE_LABEL,
    POD_LABEL,
    job_labels,
    job_name,
    owner,
)
from dgdr.reconcile.settings import OperatorSettings
from dgdr.request import DEFAULT_MOUNT_PATH, MODEL_CACHE_VARIABLE

PROFILER, COPIER = "profiler", "output-copier"
OUTPUT_DIR = "/data"
CONFIG_DIR = "/config"
PULL_SECRET = "nvcr-imagepullsecret"
_OUTPUT_VOLUME = "profiling-output"
_CONFIG_VOLUME = "profiling-config"
_USER_ID = 1000
_REPLACED = (
    "backoffLimit",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "completions",
    "parallelism",
    "suspend",
)
_POD_REPLACED = (
    "tolerations",
    "nodeSelector",
    "affinity",
    "priorityClassName",
    "serviceAccountName",
    "runtimeClassName",
    "dnsPolicy",
    "dnsConfig",
    "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
    "automountServiceAccountToken",
)
_PROTECTED = {"app", "dgdr", NAME_LABEL, NAMESPACE_LABEL, POD_LABEL, "nvidia.com/managed-by"}
_TOKEN_VOLUME = "copier-token"
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# Annotations of a request, and the options of the profiler that their values stand for.
_POLICIES: dict[str, dict[str, list[str]]] = {
    "rehearsal.dgdr/when-infeasible": {
        "closest": ["--when-infeasible", "closest"],
        "fail": ["--when-infeasible", "fail"],
    },
    "rehearsal.dgdr/allow-quantization": {
        "true": ["--allow-quantization"],
        "false": ["--no-quantization"],
    },
    "rehearsal.dgdr/router": {policy.value: ["--router", policy.value] for policy in RouterPolicy},
}
_NUMBERS = {"rehearsal.dgdr/seed": "--seed", "rehearsal.dgdr/startup-s": "--startup-s"}
_RESTRICTED: Json = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def profiling_job(request: Mapping[str, Any], settings: OperatorSettings) -> Json:
    """The Job that profiles a checked request; equal requests give equal Jobs.

    Raises:
        InputError: no image is known.
    """
    metadata, spec = request["metadata"], request["spec"]
    image = spec.get("image") or settings.default_image
    if image is None:
        raise InputError("spec.image is required but not set")
    name = metadata["name"]
    labels = job_labels(name)
    thorough = spec.get("searchStrategy") == SearchStrategy.THOROUGH
    job: Json = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(name),
            "namespace": metadata["namespace"],
            "labels": {**labels, NAME_LABEL: name, NAMESPACE_LABEL: metadata["namespace"]},
            "annotations": {GENERATION_ANNOTATION: str(metadata.get("generation", 0))},
            "ownerReferences": [owner(request)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": (
                settings.thorough_deadline_s if thorough else settings.rapid_deadline_s
            ),
            # Losing the node says nothing about the request, so it costs no attempt.
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [_disruption()]}]
            },
            "template": {
                "metadata": {"labels": {**labels, POD_LABEL: name, "job-name": job_name(name)}},
                "spec": _pod(request, settings, image),
            },
        },
    }
    _apply_override(job, section(spec, "overrides", "profilingJob"))
    return job


def _disruption() -> Json:
    return {"type": "DisruptionTarget", "status": "True"}


def _pod(request: Mapping[str, Any], settings: OperatorSettings, image: str) -> Json:
    profiler_image = settings.profiler_image or image
    return {
        "restartPolicy": "Never",
        "serviceAccountName": JOB_ACCOUNT,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "fsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "imagePullSecrets": [{"name": PULL_SECRET}],
        "containers": [
            _profiler(request, settings, profiler_image),
            _copier(request, settings.copier_image or profiler_image),
        ],
        "volumes": _volumes(request),
    }


def _profiler(request: Mapping[str, Any], settings: OperatorSettings, image: str) -> Json:
    mounts: list[Json] = [{"name": _OUTPUT_VOLUME, "mountPath": OUTPUT_DIR}]
    surroundings = _identity(request)
    cache = section(request, "spec", "modelCache")
    if cache.get("pvcName"):
        path = cache.get("pvcMountPath", DEFAULT_MOUNT_PATH)
        mounts.append({"name": "model-cache", "mountPath": path, "readOnly": True})
        model = posixpath.normpath(posixpath.join(path, cache.get("pvcModelPath", "")))
        surroundings.append({"name": MODEL_CACHE_VARIABLE, "value": model})
    if _parked(request, "config-map-ref"):
        mounts.append({"name": _CONFIG_VOLUME, "mountPath": CONFIG_DIR, "readOnly": True})
    token = {"name": TOKEN_SECRET, "key": "HF_TOKEN", "optional": True}
    return {
        "name": PROFILER,
        "image": image,
        "command": ["python", "-m", settings.profiler_module],
        "args": [
            "--config",
            profiler_config(request),
            "--output-dir",
            OUTPUT_DIR,
            *_policies(request),
        ],
        "workingDir": "/workspace",
        "env": [
            {"name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": {"secretKeyRef": token}},
            *surroundings,
        ],
        "securityContext": copy.deepcopy(_RESTRICTED),
        "volumeMounts": mounts,
    }


def _policies(request: Mapping[str, Any]) -> list[str]:
    """Options that annotations ask for; the profiler is given the spec only.

    Raises:
        InputError: an annotation has an unknown value.
    """
    notes = section(request, "metadata", "annotations")
    words = []
    for key, options in _POLICIES.items():
        value = notes.get(key)
        if value is None:
            continue
        if value not in options:
            raise InputError(
                "is unknown",
                path=f"metadata.annotations[{key}]",
                value=str(value),
                allowed=", ".join(options),
            )
        words += options[value]
    for key, option in _NUMBERS.items():
        value = notes.get(key)
        if value is None:
            continue
        if not re.fullmatch(r"\d+(\.\d+)?", str(value)):
            raise InputError("is no number", path=f"metadata.annotations[{key}]", value=str(value))
        words += [option, str(value)]
    return words


def _copier(request: Mapping[str, Any], image: str) -> Json:
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    return {
        "name": COPIER,
        "image": image,
        "command": ["python", "-m", "dgdr.operator.output"],
        "args": ["--output-dir", OUTPUT_DIR],
        "env": [*_identity(request), {"name": "POD_NAME", "valueFrom": pod_name}],
        "securityContext": copy.deepcopy(_RESTRICTED),
        "volumeMounts": [{"name": _OUTPUT_VOLUME, "mountPath": OUTPUT_DIR, "readOnly": True}],
    }


def _identity(request: Mapping[str, Any]) -> list[Json]:
    metadata = request["metadata"]
    return [
        {"name": f"DGDR_{key.upper()}", "value": metadata[key]}
        for key in ("name", "namespace", "uid")
    ]


def _volumes(request: Mapping[str, Any]) -> list[Json]:
    output: Json = {"name": _OUTPUT_VOLUME, "emptyDir": {}}
    claim = _parked(request, "output-pvc")
    if claim:
        output = {"name": _OUTPUT_VOLUME, "persistentVolumeClaim": {"claimName": claim}}
    volumes = [output]
    cache = section(request, "spec", "modelCache")
    if cache.get("pvcName"):
        source = {"claimName": cache["pvcName"], "readOnly": True}
        volumes.append({"name": "model-cache", "persistentVolumeClaim": source})
    reference = _parked(request, "config-map-ref")
    if isinstance(reference, dict) and reference.get("name"):
        volumes.append({"name": _CONFIG_VOLUME, "configMap": {"name": reference["name"]}})
    return volumes


def _parked(request: Mapping[str, Any], suffix: str) -> object:
    """What an annotation of an older form says, None without it."""
    notes = section(request, "metadata", "annotations")
    text = notes.get(f"{DISPATCH_ANNOTATIONS}{suffix}")
    try:
        return None if text is None else json.loads(text)
    except json.JSONDecodeError:
        return None


def profiler_config(request: Mapping[str, Any]) -> str:
    """The request as the profiler reads it: identity and spec, nothing volatile."""
    metadata = {key: request["metadata"][key] for key in ("name", "namespace")}
    content = {
        "apiVersion": request["apiVersion"],
        "kind": request["kind"],
        "metadata": metadata,
        "spec": request["spec"],
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _apply_override(job: Json, override: Mapping[str, Any]) -> None:
    """Merge ``spec.overrides.profilingJob``; what is not on the list stays as generated."""
    job["spec"] |= {key: override[key] for key in _REPLACED if key in override}
    template, changes = job["spec"]["template"], section(override, "template")
    for kind in ("labels", "annotations"):
        given = section(changes, "metadata", kind)
        own = section(template, "metadata", kind)
        allowed = {k: v for k, v in given.items() if k not in _PROTECTED}
        put(template, {**own, **allowed}, "metadata", kind)
    pod, wanted = template["spec"], section(changes, "spec")
    pod |= {key: copy.deepcopy(wanted[key]) for key in _POD_REPLACED if key in wanted}
    pod["imagePullSecrets"] = _union(pod["imagePullSecrets"], wanted.get("imagePullSecrets"))
    pod["securityContext"] |= section(wanted, "securityContext")
    for key in ("volumes", "initContainers"):
        put(pod, _by_name(pod.get(key), wanted.get(key)), key)
    for change in wanted.get("containers") or []:
        _apply_container(pod["containers"], change)
    if pod.get("automountServiceAccountToken") is False:
        _project_token(pod)


def _apply_container(containers: list[Json], change: Mapping[str, Any]) -> None:
    name = change.get("name") or PROFILER
    target = next((entry for entry in containers if entry["name"] == name), None)
    if target is None:
        return
    replaced = ["image", "resources"]
    if name == PROFILER:
        replaced.append("securityContext")
        for key in ("env", "volumeMounts"):
            put(target, _by_name(target.get(key), change.get(key)), key)
        put(target, [*(target.get("envFrom") or []), *(change.get("envFrom") or [])], "envFrom")
    target |= {key: copy.deepcopy(change[key]) for key in replaced if key in change}


def _project_token(pod: Json) -> None:
    """Only the copier talks to the API, so only it gets a token."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    pod["volumes"].append({"name": _TOKEN_VOLUME, "projected": {"sources": sources}})
    copier = next(entry for entry in pod["containers"] if entry["name"] == COPIER)
    mount = {"name": _TOKEN_VOLUME, "mountPath": _TOKEN_PATH, "readOnly": True}
    copier["volumeMounts"].append(mount)


def _by_name(base: list[Json] | None, change: list[Json] | None) -> list[Json]:
    """Entries of both lists; one of the change takes the place of its namesake."""
    merged = {entry["name"]: entry for entry in base or []}
    merged |= {entry["name"]: copy.deepcopy(entry) for entry in change or []}
    return list(merged.values())


def _union(base: list[Json], change: list[Json] | None) -> list[Json]:
    return [*base, *(entry for entry in change or [] if entry not in base)]
