"""Checks of built-in objects beyond their schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from harness.cluster.kinds.crd import definition_problems
from harness.cluster.objects.errors import (
    FieldProblem,
    forbidden_value,
    invalid_value,
    required,
    unsupported,
)
from harness.cluster.objects.meta import Json, Obj
from harness.cluster.objects.quantity import parse_quantity
from harness.cluster.objects.selectors import matches_selector

Problems = Iterator[FieldProblem]
_MUTABLE_POD = frozenset({"tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds"})


def builtin_problems(obj: Obj, old: Obj | None, kind: str) -> list[FieldProblem]:
    """What is wrong with a built-in object; ``old`` is the stored one on updates."""
    check = _CHECKS.get(kind)
    return list(check(obj, old)) if check is not None else []


def _pod_spec(spec: Obj, path: str, policies: tuple[str, ...]) -> Problems:
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    policy = spec.get("restartPolicy")
    if policy not in policies:
        if policy:
            allowed = [json.dumps(item) for item in policies]
            yield unsupported(f"{path}.restartPolicy", json.dumps(policy), allowed)
        else:
            listed = ", ".join(json.dumps(item) for item in policies)
            yield required(f"{path}.restartPolicy", f"valid values: {listed}")
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            place = f"{path}.{field}[{index}]"
            if container.get("name") in seen:
                text = f"Duplicate value: {json.dumps(container.get('name'))}"
                yield FieldProblem("FieldValueDuplicate", f"{place}.name", text)
            seen.add(container.get("name"))
            yield from _container(container, place)


def _container(container: Obj, path: str) -> Problems:
    if not container.get("name"):
        yield required(f"{path}.name")
    if not container.get("image"):
        yield required(f"{path}.image")
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    for field in ("limits", "requests"):
        for key, value in (resources.get(field) or {}).items():
            place = f"{path}.resources.{field}[{key}]"
            try:
                amount = parse_quantity(value)
            except ValueError:
                detail = (
                    "quantities must match the regular expression "
                    "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                )
                yield invalid_value(place, json.dumps(value), detail)
                continue
            if "/" in key and field == "requests" and limits.get(key) != value:
                detail = f"must be equal to {key} limit of {limits.get(key)}"
                yield invalid_value(place, json.dumps(value), detail)
            if "/" in key and amount != int(amount):
                yield invalid_value(place, json.dumps(value), "must be an integer")


def _pod(obj: Obj, old: Obj | None) -> Problems:
    spec = obj.get("spec") or {}
    yield from _pod_spec(spec, "spec", ("Always", "OnFailure", "Never"))
    if old is not None and _fixed_pod(spec) != _fixed_pod(old.get("spec") or {}):
        yield forbidden_value(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
            "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
            "(allow it to be set to 1 if it was previously negative)",
        )


def _fixed_pod(spec: Obj) -> Json:
    found = {key: value for key, value in spec.items() if key not in _MUTABLE_POD}
    for field in ("containers", "initContainers"):
        found[field] = [
            {key: value for key, value in item.items() if key != "image"}
            for item in spec.get(field) or ()
        ]
    return found


def _job(obj: Obj, old: Obj | None) -> Problems:
    spec = obj.get("spec") or {}
    template = (spec.get("template") or {}).get("spec") or {}
    yield from _pod_spec(template, "spec.template.spec", ("OnFailure", "Never"))
    if old is None:
        return
    before = old.get("spec") or {}
    for field in ("template", "selector", "completions", "completionMode"):
        suspended = field == "template" and before.get("suspend")
        if spec.get(field) != before.get(field) and not suspended:
            shown = json.dumps(spec.get(field), separators=(",", ":"))[:200]
            yield invalid_value(f"spec.{field}", shown, "field is immutable")


def _workload(obj: Obj, old: Obj | None) -> Problems:
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    selector = spec.get("selector")
    if not selector:
        yield required("spec.selector")
    elif not matches_selector(selector, labels):
        shown = json.dumps(labels, separators=(",", ":"))
        detail = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", shown, detail)
    if (spec.get("replicas") or 0) < 0:
        detail = "must be greater than or equal to 0"
        yield invalid_value("spec.replicas", str(spec["replicas"]), detail)
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec", ("Always",))
    if old is not None and old["spec"].get("selector") != selector:
        shown = json.dumps(selector, separators=(",", ":"))
        yield invalid_value("spec.selector", shown, "field is immutable")


def _immutable_data(obj: Obj, old: Obj | None) -> Problems:
    if old is None or not old.get("immutable"):
        return
    for field in ("data", "binaryData"):
        if (obj.get(field) or {}) != (old.get(field) or {}):
            yield forbidden_value(field, "field is immutable when `immutable` is set")
    if not obj.get("immutable"):
        yield forbidden_value("immutable", "field is immutable when `immutable` is set")


def _service(obj: Obj, old: Obj | None) -> Problems:
    spec = obj.get("spec") or {}
    headless = spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName"
    if not spec.get("ports") and not headless:
        yield required("spec.ports")
    address = old["spec"].get("clusterIP") if old is not None else None
    if address and spec.get("clusterIP") != address and spec.get("type") != "ExternalName":
        shown = json.dumps(spec.get("clusterIP"))
        yield invalid_value("spec.clusterIP", shown, "field is immutable")


def _binding(obj: Obj, old: Obj | None) -> Problems:
    reference = obj.get("roleRef") or {}
    if not reference.get("name"):
        yield required("roleRef.name")
    if old is not None and old.get("roleRef") != reference:
        shown = json.dumps(reference, separators=(",", ":"))
        yield invalid_value("roleRef", shown, "cannot change roleRef")


def _definition(obj: Obj, _old: Obj | None) -> Problems:
    yield from definition_problems(obj)


_CHECKS: dict[str, Callable[[Obj, Obj | None], Problems]] = {
    "Pod": _pod,
    "Job": _job,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "ConfigMap": _immutable_data,
    "Secret": _immutable_data,
    "Service": _service,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "CustomResourceDefinition": _definition,
}
