"""Rules across the fields of a DGDR.

They look at the raw data, so that they are reported together with wrong fields. A
value of the wrong type is left to the field types and breaks no rule here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from contracts.errors import InputError
from dgdr.deployment.names import (
    REQUEST_NAME_LENGTH_MAX,
    name_length_problems,
    possible_components,
)
from dgdr.deployment.override_schema import override_problems
from dgdr.enums import Backend, SearchStrategy, ServingBackend
from dgdr.planner_settings import planner_problems
from dgdr.problems import render
from dgdr.request import DEFAULT_MOUNT_PATH

_Raw = Mapping[str, Any]
_CONCRETE = ", ".join(ServingBackend)


def cross_field_problems(data: _Raw, *, source: str) -> list[InputError]:
    """Every broken rule across fields, in the order of the spec."""
    spec = _section(data, "spec")
    found = [
        *_search(spec),
        *_sla(_section(spec, "sla")),
        *_load(_section(spec, "workload")),
        *_cache(_section(spec, "modelCache")),
        *_features(_section(spec, "features")),
        *_overrides(_section(spec, "overrides")),
    ]
    located = [
        InputError(e.message, source=source, path=e.path, value=e.value, allowed=e.allowed)
        for e in found
    ]
    return located + _name_lengths(data, spec, source)


def _search(spec: _Raw) -> Iterator[InputError]:
    backend = spec.get("backend")
    automatic = backend is None or backend == Backend.AUTO
    if spec.get("searchStrategy") == SearchStrategy.THOROUGH and automatic:
        yield InputError(
            "THOROUGH search strategy does not support 'auto' backend",
            path="spec.searchStrategy",
            value="thorough with backend auto",
            allowed=f"rapid, or thorough with one of the backends {_CONCRETE}",
        )


def _sla(sla: _Raw) -> Iterator[InputError]:
    latencies = [key for key in ("ttft", "itl") if sla.get(key) is not None]
    if sla.get("e2eLatency") is not None:
        if latencies:
            given = ", ".join(f"{key} {render(sla[key])}" for key in ("e2eLatency", *latencies))
            yield InputError(
                "SLA must specify either (ttft and itl) or e2eLatency, not both",
                path="spec.sla.e2eLatency",
                value=given,
                allowed="e2eLatency alone, or ttft and itl",
            )
        return
    nulls = [key for key in ("ttft", "itl") if key in sla and sla[key] is None]
    if len(nulls) == 1:
        yield InputError(
            "ttft and itl must both be provided together",
            path=f"spec.sla.{nulls[0]}",
            value=render(None),
            allowed="a number above 0, or leave the key out to keep its default",
        )


def _load(workload: _Raw) -> Iterator[InputError]:
    rate, concurrency = workload.get("requestRate"), workload.get("concurrency")
    if rate is not None and concurrency is not None:
        yield InputError(
            "Only one of 'concurrency' or 'requestRate' can be provided, not both",
            path="spec.workload.concurrency",
            value=f"concurrency {render(concurrency)}, requestRate {render(rate)}",
            allowed="concurrency or requestRate",
        )


def _cache(cache: _Raw) -> Iterator[InputError]:
    # An API server fills in the default mount path, which asks for nothing by itself.
    defaults = {"pvcMountPath": DEFAULT_MOUNT_PATH}
    path_keys = [
        k for k in ("pvcModelPath", "pvcMountPath") if cache.get(k) not in (None, defaults.get(k))
    ]
    if path_keys and cache.get("pvcName") is None:
        yield InputError(
            f"is required with {' and '.join(path_keys)}",
            path="spec.modelCache.pvcName",
            value=render(None),
            allowed="the name of an existing claim",
        )
    model_path = cache.get("pvcModelPath")
    mount_path = cache.get("pvcMountPath") or DEFAULT_MOUNT_PATH
    if not isinstance(model_path, str) or not isinstance(mount_path, str):
        return
    mount = mount_path.rstrip("/")
    if model_path.startswith("/") and not f"{model_path}/".startswith(f"{mount}/"):
        yield InputError(
            "is absolute but not under the mount",
            path="spec.modelCache.pvcModelPath",
            value=render(model_path),
            allowed=f"a path inside the claim, or one that starts with {mount}/",
        )


def _features(features: _Raw) -> Iterator[InputError]:
    planner = _section(features, "planner")
    enabled = planner.get("enabled", True)
    if isinstance(features.get("planner"), Mapping):
        yield from planner_problems(planner)
    key = "pre_deployment_sweeping_mode"
    mocker = _section(features, "mocker").get("enabled") is True
    if mocker and enabled is True and planner.get(key, "rapid") in (None, "none"):
        yield InputError(
            "the mocker with a planner needs the data of a sweep",
            path=f"spec.features.planner.{key}",
            value=render(planner[key]),
            allowed="rapid, thorough",
        )


def _overrides(overrides: _Raw) -> Iterator[InputError]:
    job = overrides.get("profilingJob")
    if isinstance(job, Mapping):
        pod = _section(_section(job, "template"), "spec")
        if not isinstance(pod.get("containers"), list):
            yield InputError(
                "is required",
                path="spec.overrides.profilingJob.template.spec.containers",
                value=render(pod.get("containers")),
                allowed="a list of containers, may be []",
            )
    dgd = overrides.get("dgd")
    if isinstance(dgd, Mapping):
        yield from override_problems(dgd)


def _name_lengths(data: _Raw, spec: _Raw, source: str) -> list[InputError]:
    override = _section(_section(_section(spec, "overrides"), "dgd"), "metadata").get("name")
    own = _section(data, "metadata").get("name")
    backend = spec.get("backend") or Backend.AUTO
    if not isinstance(own, str) or not isinstance(backend, str) or backend not in list(Backend):
        return []
    features = _section(spec, "features")
    planner = features.get("planner")
    components = possible_components(
        Backend(backend),
        mocker=_section(features, "mocker").get("enabled") is True,
        planner=isinstance(planner, Mapping) and planner.get("enabled") is not False,
    )
    dgd_name, path = f"{own}-dgd", "metadata.name"
    problems = []
    if isinstance(override, str) and override:
        dgd_name, path = override, "spec.overrides.dgd.metadata.name"
        if len(own) > REQUEST_NAME_LENGTH_MAX:
            problems.append(
                InputError(
                    "is too long for the name of its profiling Job",
                    source=source,
                    path="metadata.name",
                    value=f"{len(own)} characters",
                    allowed=f"at most {REQUEST_NAME_LENGTH_MAX}",
                )
            )
    return problems + name_length_problems(dgd_name, components, source=source, path=path)


def _section(data: _Raw, key: str) -> _Raw:
    """The section under a key; empty when there is none or it is something else."""
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}
