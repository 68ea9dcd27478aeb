"""Lays ``spec.overrides.dgd`` over a generated deployment, exactly once.

The deployment is converted to the version of the override, merged there by schema, and
converted back. What an override cannot change is left out with a warning.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dgdr.convert.graphs import graph_to_v1alpha1, graph_to_v1beta1, service_resources
from dgdr.convert.plain import put, section
from dgdr.deployment.arguments import appended, backend_of
from dgdr.deployment.merge import merged
from dgdr.deployment.names import FRONTEND, PLANNER, present_names
from dgdr.deployment.override_schema import (
    LEGACY_VERSION,
    OVERRIDE_PATH,
    override_problems,
    override_version,
)
from dgdr.problems import raise_problems

_RESERVED_PREFIX = "nvidia.com/dgd-"
_KEPT_METADATA = ("labels", "annotations")
_MAIN = ("extraPodSpec", "mainContainer")
_OWN_ARGS = (FRONTEND, PLANNER)

_Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overridden:
    """A deployment after its override.

    Attributes:
        graph: ``nvidia.com/v1beta1``; shares nothing with what went in.
        warnings: what had no effect or another one than it says, each with its path.
    """

    graph: _Object
    warnings: tuple[str, ...] = ()


def apply_override(graph: Mapping[str, Any], override: Mapping[str, Any] | None) -> Overridden:
    """A generated deployment with an override laid over it.

    Args:
        graph: complete, ``nvidia.com/v1beta1``.
        override: ``spec.overrides.dgd``; its name is not applied here, because it is the
            operator that names deployments.

    Raises:
        InputError: the override is wrong; all findings are listed.
    """
    if not override:
        return Overridden(graph=copy.deepcopy(dict(graph)))
    raise_problems(override_problems(override))
    warnings = [*override_warnings(override)]
    metadata = _allowed_metadata(override)
    spec = section(override, "spec")
    if override_version(override) == LEGACY_VERSION:
        result, more = _merge_services(graph, spec)
    else:
        result, more = _merge_components(graph, spec)
    result["metadata"] = merged(section(graph, "metadata"), metadata)
    return Overridden(graph=result, warnings=(*warnings, *more))


def override_warnings(override: Mapping[str, Any]) -> tuple[str, ...]:
    """What can be said about an override before there is a deployment, sorted by path."""
    found = []
    if "apiVersion" not in override and "kind" not in override:
        found.append(
            f"{OVERRIDE_PATH}: without apiVersion and kind it is read as {LEGACY_VERSION}, which "
            "is deprecated; give both"
        )
    metadata = section(override, "metadata")
    ignored = sorted(set(metadata) - {"name", *_KEPT_METADATA})
    if ignored:
        found.append(f"{OVERRIDE_PATH}.metadata: ignored: {', '.join(ignored)}")
    reserved = sorted(
        key for key in section(metadata, "annotations") if key.startswith(_RESERVED_PREFIX)
    )
    if reserved:
        found.append(
            f"{OVERRIDE_PATH}.metadata.annotations: ignored, kept for the operator: "
            f"{', '.join(reserved)}"
        )
    for path, name in _named(override):
        present = present_names(name)
        if present:
            found.append(f"{path}: {name} is a retired name of {' or '.join(present)}")
    return tuple(sorted(found))


def _named(override: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Paths and names of the components that an override speaks of."""
    spec = section(override, "spec")
    path = f"{OVERRIDE_PATH}.spec"
    services = [(f"{path}.services.{name}", name) for name in section(spec, "services")]
    components = spec.get("components")
    listed = components if isinstance(components, list) else []
    return services + [
        (f"{path}.components[{index}]", str(part.get("name")))
        for index, part in enumerate(listed)
        if isinstance(part, Mapping)
    ]


def _allowed_metadata(override: Mapping[str, Any]) -> _Object:
    metadata = section(override, "metadata")
    allowed = {key: metadata[key] for key in _KEPT_METADATA if key in metadata}
    notes = section(allowed, "annotations")
    kept = {key: value for key, value in notes.items() if not key.startswith(_RESERVED_PREFIX)}
    put(allowed, kept, "annotations")
    return allowed


def _merge_components(
    graph: Mapping[str, Any], spec: Mapping[str, Any]
) -> tuple[_Object, list[str]]:
    """An override with components: lists by key, arguments replaced."""
    base = section(graph, "spec")
    names = [part["name"] for part in base["components"]]
    warnings = []
    for index, part in enumerate(spec.get("components") or []):
        path = f"{OVERRIDE_PATH}.spec.components[{index}]"
        name = _resolved(part["name"], names)
        if name is None:
            warnings.append(_dropped(path, part["name"], names))
            continue
        entry = {"components": [{**part, "name": name}]}
        base = merged(base, entry)
    rest = {key: value for key, value in spec.items() if key != "components"}
    return {**copy.deepcopy(dict(graph)), "spec": merged(base, rest)}, warnings


def _merge_services(graph: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[_Object, list[str]]:
    """An override with services: arguments of workers are appended."""
    old = graph_to_v1alpha1(graph)
    base = old["spec"]
    names = [part["name"] for part in graph["spec"]["components"]]
    warnings = []
    for given, part in (spec.get("services") or {}).items():
        path = f"{OVERRIDE_PATH}.spec.services.{given}"
        name = _resolved(given, names)
        if name is None:
            warnings.append(_dropped(path, given, names))
            continue
        change = _in_one_place(part)
        if name not in _OWN_ARGS:
            change = _with_appended_args(base["services"][name], change)
        base["services"][name] = merged(base["services"][name], change)
    rest = {key: value for key, value in spec.items() if key != "services"}
    new = graph_to_v1beta1({**old, "spec": merged(base, rest)})
    # The map of services has no order; the list of components keeps the one it had.
    new["spec"]["components"].sort(key=lambda part: names.index(part["name"]))
    return new, warnings


def _in_one_place(part: Mapping[str, Any]) -> _Object:
    """A change of a service, variables and resources where a converted service has them.

    v1alpha1 knows two places for either; the same name in both would say two things.
    """
    change = copy.deepcopy(dict(part))
    variables = change.pop("envs", None)
    if variables:
        there = section(change, *_MAIN).get("env") or []
        put(change, merged(there, variables, "env"), *_MAIN, "env")
    resources = section(change, *_MAIN, "resources")
    if resources:
        put(change, None, *_MAIN, "resources")
        own = service_resources(resources)
        put(change, merged(own, section(change, "resources")), "resources")
    return change


def _with_appended_args(base: Mapping[str, Any], part: Mapping[str, Any]) -> _Object:
    """The change of a worker with the complete arguments instead of the additional ones."""
    extra = section(part, *_MAIN).get("args")
    if extra is None:
        return dict(part)
    main = section(base, *_MAIN)
    args = appended(backend_of(main), main.get("args") or [], extra)
    return dict(merged(part, {"extraPodSpec": {"mainContainer": {"args": args}}}))


def _resolved(name: str, present: Iterable[str]) -> str | None:
    """The component that a name means, also under a name that it had once."""
    names = list(present)
    if name in names:
        return name
    return next((each for each in present_names(name) if each in names), None)


def _dropped(path: str, name: str, present: Iterable[str]) -> str:
    return (
        f"{path}: ignored, the generated deployment has no component {name} "
        f"(it has {', '.join(present)})"
    )
