"""OpenAPI v3 documents, one for each group and version."""

from __future__ import annotations

import json
from typing import Any

from harness.cluster.kinds.registry import Registry
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.kinds.typedata import type_schema
from harness.cluster.objects.meta import Obj, digest

_GVK = "x-kubernetes-group-version-kind"
_OPTIONS = ("dryRun", "fieldManager", "fieldValidation")
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


class OpenApi:
    """Builds documents on demand and keeps them until the types change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[tuple[str, str], tuple[int, bytes]] = {}

    def index(self) -> Obj:
        """``/openapi/v3``."""
        paths = {}
        for group, versions in self._registry.groups().items():
            for version in versions:
                place = f"apis/{group}/{version}" if group else f"api/{version}"
                facts = repr([_facts(r) for r in self._registry.in_version(group, version)])
                url = f"/openapi/v3/{place}?hash={digest(facts, 32).upper()}"
                paths[place] = {"serverRelativeURL": url}
        return {"paths": paths}

    def document(self, group: str, version: str) -> bytes | None:
        """One document as JSON, None if there is no such version."""
        kept = self._documents.get((group, version))
        if kept is not None and kept[0] == self._registry.revision:
            return kept[1]
        found = self._registry.in_version(group, version)
        if not found:
            return None
        schemas: dict[str, Any] = {}
        paths: Obj = {}
        for resource in found:
            name = _publish_resource(resource, schemas)
            paths |= _paths(resource, name)
        content = {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.33.0"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
        body = json.dumps(content, separators=(",", ":")).encode()
        self._documents[(group, version)] = (self._registry.revision, body)
        return body


def _facts(resource: ResourceType) -> str:
    schema = json.dumps(resource.schema, sort_keys=True) if resource.custom else resource.builtin
    return f"{resource!r}{schema}"


def _publish_resource(resource: ResourceType, schemas: dict[str, Any]) -> str:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    if resource.builtin:
        _reference(resource.builtin, schemas)
        name = _component(resource.builtin)
        schemas[name] = {**schemas[name], _GVK: [kind]}
        return name
    reverse = ".".join(reversed(resource.group.split(".")))
    name = f"{reverse}.{resource.version}.{resource.kind}"
    schemas[name] = {**_published(resource.schema or {}, schemas), _GVK: [kind]}
    return name


def _reference(type_name: str, schemas: dict[str, Any]) -> Obj:
    name = _component(type_name)
    if name not in schemas:
        schemas[name] = {}
        schemas[name] = _published(type_schema(type_name), schemas, root=True)
    return {"$ref": f"#/components/schemas/{name}"}


def _component(type_name: str) -> str:
    """A dotted name whose last part kubectl shows: ``V1Pod`` becomes ``io.k8s.api.v1.Pod``."""
    group, _, kind = type_name.partition("V1")
    return f"io.k8s.{group.lower() or 'api'}.v1.{kind}"


def _published(schema: Obj, schemas: dict[str, Any], *, root: bool = False) -> Obj:
    if "x-type" in schema and not root:
        return _reference(schema["x-type"], schemas)
    found: Obj = {key: value for key, value in schema.items() if key != "x-type"}
    if "properties" in schema:
        found["properties"] = {
            key: _published(inner, schemas) for key, inner in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = _published(schema[key], schemas)
    if schema.get("x-kubernetes-int-or-string"):
        found.setdefault("format", "int-or-string")
    if "type" not in found and schema.get("x-kubernetes-preserve-unknown-fields"):
        found["type"] = "object"
    return found


def _paths(resource: ResourceType, schema: str) -> Obj:
    root = f"/apis/{resource.group}" if resource.group else "/api"
    base = f"{root}/{resource.version}"
    names = [{"name": "namespace", "in": "path", "required": True, "schema": {"type": "string"}}]
    if resource.namespaced:
        collection = f"{base}/namespaces/{{namespace}}/{resource.plural}"
    else:
        collection, names = f"{base}/{resource.plural}", []
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    many: Obj = {"parameters": names}
    if "list" in resource.verbs:
        many["get"] = _operation(resource, "list", schema)
    if "create" in resource.verbs:
        many["post"] = _operation(resource, "post", schema)
    if "get" not in resource.verbs:
        return {collection: many}
    one: Obj = {"parameters": [*names, name]}
    for method in ("get", "put", "patch", "delete"):
        one[method] = _operation(resource, method, schema)
    return {collection: many, f"{collection}/{{name}}": one}


def _operation(resource: ResourceType, action: str, schema: str) -> Obj:
    reference = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    answer = {"description": "OK", "content": {"application/json": reference}}
    operation: Obj = {
        "operationId": f"{action}{resource.group}{resource.version}{resource.kind}",
        "responses": {"200": answer},
        "x-kubernetes-action": action,
        _GVK: {"group": resource.group, "version": resource.version, "kind": resource.kind},
    }
    if action in {"post", "put", "patch"}:
        operation["parameters"] = [
            {"name": option, "in": "query", "schema": {"type": "string"}} for option in _OPTIONS
        ]
        media: tuple[str, ...] = ("application/json",)
        if action == "patch":
            media = _PATCHES[:-1] if resource.custom else _PATCHES
        body = {"schema": {"type": "object"}} if action == "patch" else reference
        operation["requestBody"] = {"content": dict.fromkeys(media, body), "required": True}
    return operation
