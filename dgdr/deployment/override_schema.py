"""What ``spec.overrides.dgd`` may be, checked before any work is spent on profiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.errors import InputError
from dgdr.deployment.merge import key_problems
from dgdr.deployment.pod_types import LegacyPod, PodMeta, PodTemplate
from dgdr.graph import GRAPH_KIND, GraphSpec, LegacyGraphSpec
from dgdr.problems import dotted, field_problems, render
from dgdr.section import ObjectName

OVERRIDE_PATH = "spec.overrides.dgd"
LEGACY_VERSION, CURRENT_VERSION = "nvidia.com/v1alpha1", "nvidia.com/v1beta1"

_Raw = Mapping[str, Any]
_NAME: TypeAdapter[str] = TypeAdapter(ObjectName)
_PARTS = {LEGACY_VERSION: "services", CURRENT_VERSION: "components"}


def override_version(override: _Raw) -> str:
    """The version in which an override is written; silence means v1alpha1."""
    return str(override.get("apiVersion", LEGACY_VERSION))


def override_problems(override: _Raw) -> list[InputError]:
    """Everything that is wrong with an override, paths from the root of the request."""
    problems = [*_identity(override), *_nulls(override, OVERRIDE_PATH)]
    if problems:
        return problems  # the rest would be reported against the wrong schema
    problems += _metadata(override.get("metadata"))
    spec = override.get("spec", {})
    if not isinstance(spec, Mapping):
        return [*problems, _wrong_section(f"{OVERRIDE_PATH}.spec", spec)]
    path = f"{OVERRIDE_PATH}.spec"
    legacy = override_version(override) == LEGACY_VERSION
    problems += _legacy_spec(spec, path) if legacy else _current_spec(spec, path)
    first = {problem.path: problem for problem in reversed(problems)}
    found = [problem for problem in problems if first[problem.path] is problem]
    return found or list(key_problems(spec, path))


def _identity(override: _Raw) -> Iterator[InputError]:
    given = [key for key in ("apiVersion", "kind") if key in override]
    if len(given) == 1:
        yield InputError(
            f"gives {given[0]} alone",
            path=OVERRIDE_PATH,
            value=render(override[given[0]]),
            allowed="apiVersion and kind together",
        )
    for key, allowed in (("apiVersion", tuple(_PARTS)), ("kind", (GRAPH_KIND,))):
        if key in override and override[key] not in allowed:
            yield InputError(
                "unknown value",
                path=f"{OVERRIDE_PATH}.{key}",
                value=render(override[key]),
                allowed=", ".join(allowed),
            )
    if "status" in override:
        yield InputError(
            "cannot be overridden",
            path=f"{OVERRIDE_PATH}.status",
            value=render(override["status"]),
            allowed="no status",
        )


def _nulls(value: object, path: str) -> Iterator[InputError]:
    """One error for each null in plain data."""
    if value is None:
        yield InputError(
            "field deletion is not supported", path=path, value="null", allowed="a value"
        )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _nulls(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nulls(item, f"{path}[{index}]")


def _metadata(metadata: object) -> Iterator[InputError]:
    path = f"{OVERRIDE_PATH}.metadata"
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        yield _wrong_section(path, metadata)
        return
    yield from _typed(metadata, PodMeta, path)
    try:
        _NAME.validate_python(metadata.get("name", "unnamed"), strict=True)
    except ValidationError:
        yield InputError(
            "is not a Kubernetes object name",
            path=f"{path}.name",
            value=render(metadata["name"]),
            allowed="lower-case letters, digits, '-' and '.', starting and ending with a letter "
            "or digit",
        )


def _current_spec(spec: _Raw, path: str) -> Iterator[InputError]:
    yield from _foreign(spec, path, CURRENT_VERSION)
    yield from _typed({"components": [], **spec}, GraphSpec, path)
    components = spec.get("components")
    for index, part in enumerate(components if isinstance(components, list) else []):
        if isinstance(part, Mapping) and isinstance(part.get("podTemplate"), Mapping):
            here = f"{path}.components[{index}].podTemplate"
            yield from _typed(part["podTemplate"], PodTemplate, here)
    yield from _one_epp([p for p in components or [] if isinstance(p, Mapping)], path)


def _legacy_spec(spec: _Raw, path: str) -> Iterator[InputError]:
    yield from _foreign(spec, path, LEGACY_VERSION)
    yield from _typed(spec, LegacyGraphSpec, path)
    services = spec.get("services")
    for name, part in services.items() if isinstance(services, Mapping) else ():
        if isinstance(part, Mapping):
            pod = {
                key: value
                for key, value in part.items()
                if isinstance(value, Mapping | list)  # other types are reported already
            }
            yield from _typed(pod, LegacyPod, f"{path}.services.{name}")


def _foreign(spec: _Raw, path: str, version: str) -> Iterator[InputError]:
    """Parts of the other version, which would have no effect."""
    for other, key in _PARTS.items():
        if other != version and key in spec:
            yield InputError(
                f"belongs to {other}, but the override is {version}",
                path=f"{path}.{key}",
                value=render(spec[key]),
                allowed=f"{_PARTS[version]}, or apiVersion {other} and kind {GRAPH_KIND}",
            )


def _one_epp(components: list[_Raw], path: str) -> Iterator[InputError]:
    named = [str(part.get("name")) for part in components if part.get("type") == "epp"]
    if len(named) > 1:
        yield InputError(
            "at most one component of type epp",
            path=f"{path}.components",
            value=", ".join(named),
            allowed="one",
        )


def _typed(data: _Raw, model: type[BaseModel], path: str) -> Iterator[InputError]:
    try:
        model.model_validate(dict(data))
    except ValidationError as error:
        found = field_problems(error, model, "")
        for detail, problem in zip(error.errors(), found, strict=True):
            loc = [part for part in detail["loc"] if part != "[key]"]
            yield InputError(
                problem.message,
                path=dotted([path, *loc]),
                value=problem.value,
                allowed=problem.allowed,
            )


def _wrong_section(path: str, value: object) -> InputError:
    return InputError(
        "has the wrong type",
        path=path,
        value=render(value),
        allowed="a section of keys and values",
    )
