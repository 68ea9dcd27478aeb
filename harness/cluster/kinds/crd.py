"""CustomResourceDefinition to resource types; checks and conditions of definitions."""

from __future__ import annotations

from typing import Any

from harness.cluster.kinds.resource import Column, ResourceType, ScalePaths
from harness.cluster.kinds.typedata import type_schema
from harness.cluster.objects.errors import FieldProblem, invalid_value, required
from harness.cluster.objects.meta import Obj, name_of, set_condition
from harness.cluster.schema import check_rules

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_AGE = Column(
    name="Age",
    kind="date",
    path=".metadata.creationTimestamp",
    description="Custom resource definition column (in JSONPath format): "
    ".metadata.creationTimestamp",
)


def served_types(definition: Obj) -> list[ResourceType]:
    """One resource type for each served version."""
    spec = definition["spec"]
    names = spec["names"]
    stored = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    return [
        ResourceType(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(),
            namespaced=spec.get("scope") != "Cluster",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=frozenset(version.get("subresources") or {}),
            storage=name_of(definition),
            stored_as=f"{spec['group']}/{stored}",
            list_kind=names.get("listKind") or f"{names['kind']}List",
            schema=_schema(version),
            generation=True,
            scale=_scale(version),
            columns=_columns(version),
            selectable=tuple(
                f["jsonPath"].strip(".") for f in version.get("selectableFields") or ()
            ),
            custom=True,
            deprecated=_deprecation(version, spec, names),
            verbs=_VERBS,
        )
        for version in spec["versions"]
        if version.get("served")
    ]


def _schema(version: Obj) -> dict[str, Any]:
    found = (version.get("schema") or {}).get("openAPIV3Schema") or {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    properties = {
        **(found.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": type_schema("V1ObjectMeta"),
    }
    return {**found, "type": "object", "properties": properties}


def _scale(version: Obj) -> ScalePaths | None:
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return None
    return ScalePaths(
        spec=scale["specReplicasPath"].strip("."),
        status=scale["statusReplicasPath"].strip("."),
        selector=(scale.get("labelSelectorPath") or "").strip(".") or None,
    )


def _columns(version: Obj) -> tuple[Column, ...]:
    given = version.get("additionalPrinterColumns")
    if not given:
        return (_AGE,)
    return tuple(
        Column(
            name=column["name"],
            kind=column["type"],
            path=column["jsonPath"],
            format=column.get("format", ""),
            description=column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            priority=column.get("priority", 0),
        )
        for column in given
    )


def _deprecation(version: Obj, spec: Obj, names: Obj) -> str | None:
    if not version.get("deprecated"):
        return None
    return version.get("deprecationWarning") or (
        f"{spec['group']}/{version['name']} {names['kind']} is deprecated"
    )


def definition_problems(definition: Obj) -> list[FieldProblem]:
    """What is wrong with a definition."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    problems: list[FieldProblem] = []
    problems += [
        required(f"spec.names.{field}") for field in ("plural", "kind") if not names.get(field)
    ]
    if not spec.get("group"):
        problems.append(required("spec.group"))
    wanted = f"{names.get('plural')}.{spec.get('group')}"
    if name_of(definition) != wanted:
        detail = f'must be spec.names.plural+"."+spec.group; expected "{wanted}"'
        shown = f'"{name_of(definition)}"'
        problems.append(invalid_value("metadata.name", shown, detail))
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        problems.append(required("spec.scope"))
    return problems + _version_problems(spec.get("versions") or [])


def _version_problems(versions: list[Obj]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        problems.append(invalid_value("spec.versions", "null", detail))
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            problems.append(required(path, "schemas are required"))
            continue
        if schema.get("type") != "object":
            detail = "must be object at the root"
            problems.append(invalid_value(f"{path}.type", f'"{schema.get("type")}"', detail))
        problems += check_rules(schema, path)
    return problems


def fill_definition(definition: Obj) -> None:
    """Fill in defaults in place."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    spec.setdefault("conversion", {"strategy": "None"})


def accept_definition(definition: Obj, now: str) -> None:
    """Set the status that a definition has once it is served, in place."""
    spec = definition["spec"]
    status = definition.setdefault("status", {})
    conditions = status.get("conditions") or []
    for kind, reason, message in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        found = {"type": kind, "status": "True", "reason": reason, "message": message}
        conditions = set_condition(conditions, found, now)
    status["conditions"] = conditions
    status["acceptedNames"] = {key: value for key, value in spec["names"].items() if value}
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    known = status.get("storedVersions") or []
    status["storedVersions"] = known + [name for name in stored if name not in known]
