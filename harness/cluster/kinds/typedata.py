"""Structural schemas of the built-in types, from a table of field names and types.

The table (``data/types.json``) is written by ``tools/kubernetes_types.py``. List types and
merge keys below follow the API conventions; a list without an entry is replaced whole.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

_FILE = Path(__file__).with_name("data") / "types.json"
_QUANTITIES = frozenset(
    [
        "limits",
        "requests",
        "capacity",
        "allocatable",
        "hard",
        "used",
        "sizeLimit",
        "divisor",
        "overhead",
        "allocatedResources",
        "minAvailable",
        "maxUnavailable",
        "maxSurge",
    ]
)
_ANY_NUMBER_OR_TEXT = frozenset(
    ["port", "targetPort", "maxUnavailable", "maxSurge", "minAvailable"]
)
_RECURSIVE = frozenset({"V1JSONSchemaProps"})
# (type, field): (keys of the list-map, key of strategic merge patch)
_LIST_MAPS: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {
    ("V1PodSpec", "containers"): (("name",), "name"),
    ("V1PodSpec", "initContainers"): (("name",), "name"),
    ("V1PodSpec", "ephemeralContainers"): (("name",), "name"),
    ("V1PodSpec", "volumes"): (("name",), "name"),
    ("V1PodSpec", "imagePullSecrets"): (("name",), "name"),
    ("V1PodSpec", "hostAliases"): (("ip",), "ip"),
    ("V1PodSpec", "resourceClaims"): (("name",), "name"),
    ("V1PodSpec", "topologySpreadConstraints"): (
        ("topologyKey", "whenUnsatisfiable"),
        "topologyKey",
    ),
    ("V1Container", "env"): (("name",), "name"),
    ("V1Container", "ports"): (("containerPort", "protocol"), "containerPort"),
    ("V1Container", "volumeMounts"): (("mountPath",), "mountPath"),
    ("V1Container", "volumeDevices"): (("devicePath",), "devicePath"),
    ("V1ServiceSpec", "ports"): (("port", "protocol"), "port"),
    ("V1ServiceAccount", "secrets"): (("name",), "name"),
    ("V1ServiceAccount", "imagePullSecrets"): (("name",), "name"),
    ("V1NodeStatus", "addresses"): (("type",), "type"),
    ("V1NodeSpec", "taints"): (("key", "effect"), "key"),
    ("V1ObjectMeta", "ownerReferences"): (("uid",), "uid"),
}
_SETS = frozenset({("V1ObjectMeta", "finalizers"), ("V1NamespaceSpec", "finalizers")})
_PLAIN: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time", "nullable": True},
    "object": {"x-kubernetes-preserve-unknown-fields": True},
}


@lru_cache(maxsize=1)
def types() -> dict[str, dict[str, str]]:
    """Field types by type name; ``!`` before a field name stands for required."""
    found: dict[str, dict[str, str]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=1024)
def type_schema(name: str) -> Schema:
    """Structural schema of a type; shared, so it must not be changed."""
    if name in _RECURSIVE:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties, needed = {}, []
    for field, kind in types()[name].items():
        plain = field.lstrip("!")
        if plain != field:
            needed.append(plain)
        properties[plain] = _field(name, plain, kind)
    schema: Schema = {"type": "object", "properties": properties, "x-type": name}
    if needed:
        schema["required"] = needed
    return schema


def _field(owner: str, field: str, kind: str) -> Schema:
    if field in _ANY_NUMBER_OR_TEXT and kind == "object":
        return {"x-kubernetes-int-or-string": True}
    if found := re.fullmatch(r"List\[(.+)\]", kind):
        return _list(owner, field, _named(found[1]))
    if found := re.fullmatch(r"Dict\[str, (.+)\]", kind):
        inner = _named(found[1])
        if field in _QUANTITIES:
            inner = {"x-kubernetes-int-or-string": True}
        return {"type": "object", "additionalProperties": inner}
    if field in _QUANTITIES and kind == "str":
        return {"x-kubernetes-int-or-string": True}
    return _named(kind)


def _list(owner: str, field: str, items: Schema) -> Schema:
    schema: Schema = {"type": "array", "items": items, "nullable": True}
    owner = "V1Container" if owner == "V1EphemeralContainer" else owner
    listed = _LIST_MAPS.get((owner, field))
    if field == "conditions":
        listed = (("type",), "type")
    if listed is not None:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = list(listed[0])
        schema["x-kubernetes-patch-merge-key"] = listed[1]
        keeps = ",retainKeys" if field == "volumes" else ""
        schema["x-kubernetes-patch-strategy"] = f"merge{keeps}"
    elif (owner, field) in _SETS:
        schema["x-kubernetes-list-type"] = "set"
        schema["x-kubernetes-patch-strategy"] = "merge"
    return schema


def _named(kind: str) -> Schema:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if found := re.fullmatch(r"(?:List|Dict)\[.*?([\w]+)\]", kind):
        inner = _named(found[1])
        return {"type": "array", "items": inner} if kind.startswith("List") else inner
    return type_schema(kind)
