"""The draft dialect of the API, converted to v1beta1 with a warning for each key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from contracts.errors import InputError
from dgdr.convert.plain import section
from dgdr.problems import render


def draft_warnings(data: Mapping[str, Any]) -> Iterator[str]:
    """One line for each draft spelling that a request uses."""
    spec = section(data, "spec")
    found = (
        (spec.get("backend") == "any", "spec.backend: any", "spec.backend: auto"),
        (
            "pvcPath" in section(spec, "modelCache"),
            "spec.modelCache.pvcPath",
            "spec.modelCache.pvcModelPath",
        ),
        ("enableAutoScaling" in spec, "spec.enableAutoScaling", "spec.features.planner"),
    )
    for used, draft, current in found:
        if used:
            yield f"{draft} is a draft spelling, read as {current}"


def convert_draft(
    data: Mapping[str, Any], *, source: str
) -> tuple[dict[str, Any], list[InputError]]:
    """Return the request with draft keys replaced, and what cannot be replaced.

    ``spec.backend: any`` becomes ``auto``, ``spec.modelCache.pvcPath`` becomes
    ``pvcModelPath`` and ``spec.enableAutoScaling`` becomes ``spec.features.planner``.
    """
    converted = dict(data)
    spec = converted.get("spec")
    if not isinstance(spec, dict):
        return converted, []
    spec = dict(spec)
    converted["spec"] = spec
    if spec.get("backend") == "any":
        spec["backend"] = "auto"
    problems = [*_convert_cache(spec, source), *_convert_scaling(spec, source)]
    return converted, problems


def _convert_cache(spec: dict[str, Any], source: str) -> list[InputError]:
    cache = spec.get("modelCache")
    if not isinstance(cache, dict) or "pvcPath" not in cache:
        return []
    if "pvcModelPath" in cache:
        path = "spec.modelCache.pvcPath"
        spec["modelCache"] = {key: value for key, value in cache.items() if key != "pvcPath"}
        return [_both(path, "spec.modelCache.pvcModelPath", cache["pvcPath"], source)]
    spec["modelCache"] = {("pvcModelPath" if k == "pvcPath" else k): v for k, v in cache.items()}
    return []


def _convert_scaling(spec: dict[str, Any], source: str) -> list[InputError]:
    if "enableAutoScaling" not in spec:
        return []
    wanted = spec.pop("enableAutoScaling")
    path = "spec.enableAutoScaling"
    features = spec.get("features")
    features = {} if features is None else features
    if not isinstance(wanted, bool):
        return [
            InputError(
                "has the wrong type",
                source=source,
                path=path,
                value=render(wanted),
                allowed="true or false",
            )
        ]
    if not isinstance(features, dict):
        return []
    if "planner" in features:
        return [_both(path, "spec.features.planner", wanted, source)]
    spec["features"] = {**features, "planner": {"enabled": wanted}}
    return []


def _both(draft: str, current: str, value: object, source: str) -> InputError:
    return InputError(
        f"is the draft name of {current}, which is given too",
        source=source,
        path=draft,
        value=render(value),
        allowed=f"{current} alone",
    )
