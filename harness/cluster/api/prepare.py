"""What happens to an object on its way into the store: decode, prune, default, check."""

from __future__ import annotations

import json

from harness.cluster.api.call import Call
from harness.cluster.kinds.builtin_checks import builtin_problems
from harness.cluster.kinds.builtin_defaults import fill_defaults
from harness.cluster.kinds.crd import fill_definition
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import (
    NOT_CHECKED,
    ApiError,
    FieldProblem,
    bad_request,
    forbidden_value,
    invalid,
    invalid_value,
    required,
)
from harness.cluster.objects.meta import (
    LABEL_RULE,
    LABEL_VALUE_RULE,
    SUBDOMAIN_RULE,
    Obj,
    deleting,
    is_label,
    is_label_value,
    is_subdomain,
    meta,
    name_of,
)
from harness.cluster.objects.paths import dotted
from harness.cluster.schema import apply_defaults, prune, rule_problems, validate
from harness.cluster.schema.cel import MISSING, has_rules

# A value that is wrong in one of these ways is not shown to rules.
_BLOCKING = frozenset(
    f"FieldValue{word}"
    for word in ("NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid")
)
_REPLICAS_MAX = 2**31 - 1
_ANNOTATION_BYTES = 262_144
_LABEL_NAMES = frozenset({"namespaces", "services"})
_FREE_NAMES = frozenset({"roles", "clusterroles", "rolebindings", "clusterrolebindings"})


def decode(resource: ResourceType, obj: Obj, call: Call) -> None:
    """Check the kind, drop unknown fields and fill in defaults, in place.

    Raises:
        ApiError: another kind, an unknown field in strict mode, or a wrong type.
    """
    _check_kind(resource, obj)
    schema = resource.schema or {}
    kept_status = obj.get("status") if resource.plural == "customresourcedefinitions" else None
    if not resource.custom:
        _drop_nulls(obj)
    unknown = prune(obj, schema)
    if unknown and call.options.field_validation != "Ignore":
        listed = [f'unknown field "{path}"' for path in unknown]
        if call.options.field_validation == "Strict":
            text = f"strict decoding error: {', '.join(listed)}"
            name = f'{resource.kind} in version "{resource.version}"'
            raise bad_request(f"{name} cannot be handled as a {resource.kind}: {text}")
        call.warnings.extend(listed)
    apply_defaults(obj, schema)
    if resource.plural == "customresourcedefinitions":
        fill_definition(obj)
        obj.update({} if kept_status is None else {"status": kept_status})
    if not resource.custom:
        _check_types(resource, obj)
        fill_defaults(obj, resource.kind)


def _check_kind(resource: ResourceType, obj: Obj) -> None:
    found = (obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind)
    if found == (resource.api_version, resource.kind):
        obj["apiVersion"], obj["kind"] = found
        return
    if not resource.custom:
        text = f"{resource.kind} in version {resource.version!r} cannot be handled: the body is "
        raise bad_request(f"{text}{found[1]} of {found[0]}")
    problems = []
    for field, had, wanted in (
        ("apiVersion", found[0], resource.api_version),
        ("kind", found[1], resource.kind),
    ):
        if had != wanted:
            problems.append(invalid_value(field, f'"{had}"', f"must be {wanted}"))
    raise invalid(resource.kind, resource.group, name_of(obj), problems)


def _drop_nulls(obj: Obj) -> None:
    for key in [key for key, value in obj.items() if value is None]:
        if key != "eventTime":
            del obj[key]
    for value in obj.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                _drop_nulls(item)


def _check_types(resource: ResourceType, obj: Obj) -> None:
    """Built-in types refuse values of a wrong type while they are decoded."""
    problems = validate(obj, resource.schema or {})
    wrong = [problem for problem in problems if problem.reason == "FieldValueTypeInvalid"]
    if wrong:
        text = wrong[0].message.removeprefix("Invalid value: ")
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a '
            f"{resource.kind}: {text}"
        )


def check(resource: ResourceType, obj: Obj, old: Obj | None) -> None:
    """Refuse an object that its schema, its rules or its kind does not allow.

    Raises:
        ApiError: 422 with every problem.
    """
    problems = _meta_problems(resource, obj, old)
    schema = resource.schema or {}
    if resource.custom:
        found = validate(obj, schema)
        if any(problem.reason in _BLOCKING for problem in found):
            if has_rules(schema):
                found.append(FieldProblem("FieldValueInvalid", "<nil>", NOT_CHECKED))
        else:
            found += rule_problems(obj, schema, old=MISSING if old is None else old)
        problems += found + _scale_problems(resource, obj)
    else:
        problems += [p for p in validate(obj, schema) if p.reason == "FieldValueRequired"]
        seen = {problem.field for problem in problems}
        problems += [p for p in builtin_problems(obj, old, resource.kind) if p.field not in seen]
    if problems:
        raise invalid(resource.kind, resource.group, name_of(obj), problems)


def _meta_problems(resource: ResourceType, obj: Obj, old: Obj | None) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    name = name_of(obj)
    if not name:
        problems.append(required("metadata.name", "name or generateName is required"))
    elif old is None and resource.plural not in _FREE_NAMES:
        only_label = resource.plural in _LABEL_NAMES
        if not (is_label(name) if only_label else is_subdomain(name)):
            rule = LABEL_RULE if only_label else SUBDOMAIN_RULE
            problems.append(invalid_value("metadata.name", f'"{name}"', rule))
    problems += _map_problems(obj)
    if old is not None and deleting(old):
        known = set((old.get("metadata") or {}).get("finalizers") or [])
        if not set(meta(obj).get("finalizers") or []) <= known:
            detail = "no new finalizers can be added if the object is being deleted"
            problems.append(forbidden_value("metadata.finalizers", detail))
    return problems


def _scale_problems(resource: ResourceType, obj: Obj) -> list[FieldProblem]:
    """Replicas where the scale subresource finds them are checked whatever the schema says."""
    if resource.scale is None:
        return []
    path, value = f".{resource.scale.spec}", dotted(obj, resource.scale.spec)
    if value is None:
        return []
    if not isinstance(value, int) or isinstance(value, bool):
        return [invalid_value(path, "0", f"{path} accessor error: {value} is no int64")]
    if value < 0:
        return [invalid_value(path, str(value), "should be a non-negative integer")]
    if value > _REPLICAS_MAX:
        detail = f"should be less than or equal to {_REPLICAS_MAX}"
        return [invalid_value(path, str(value), detail)]
    return []


def _map_problems(obj: Obj) -> list[FieldProblem]:
    """Labels whose values are no label values; annotations that are too large."""
    labels, annotations = meta(obj).get("labels") or {}, meta(obj).get("annotations") or {}
    if not isinstance(labels, dict) or not isinstance(annotations, dict):
        return []  # the schema refuses these
    problems = [
        invalid_value("metadata.labels", json.dumps(value), LABEL_VALUE_RULE)
        for value in labels.values()
        if not is_label_value(str(value))
    ]
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > _ANNOTATION_BYTES:
        text = f"Too long: may not be more than {_ANNOTATION_BYTES} bytes"
        problems.append(FieldProblem("FieldValueTooLong", "metadata.annotations", text))
    return problems


def tidy_meta(obj: Obj) -> None:
    """Drop what is empty, in place."""
    metadata = meta(obj)
    metadata.pop("selfLink", None)
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "managedFields"):
        if not metadata.get(key):
            metadata.pop(key, None)


def check_place(resource: ResourceType, obj: Obj, namespace: str, name: str | None) -> None:
    """Refuse a body whose name or namespace is not that of the URL; fill them in if absent.

    Raises:
        ApiError: 400.
    """
    if not isinstance(obj.get("metadata", {}), dict):
        raise bad_request("metadata must be an object")
    metadata = meta(obj)
    if resource.namespaced:
        if (metadata.get("namespace") or namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if name is not None:
        if (metadata.get("name") or name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL "
                f"({name})"
            )
        metadata["name"] = name


def version_missing(resource: ResourceType, name: str) -> ApiError:
    """422 for an update of a custom object without a version."""
    problem = invalid_value("metadata.resourceVersion", "0", "must be specified for an update")
    return invalid(resource.kind, resource.group, name, [problem])
