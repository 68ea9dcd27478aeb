"""AdmissionReview: what an API server asks before it stores a request.

Schema and CEL rules of the CRD have been checked by then; this finds what they cannot say,
names every finding with its field, and keeps a stored request from getting worse. A value
that was stored already blocks no change elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.errors import InputError
from dgdr.convert.plain import Json, section
from dgdr.crds.rules import LOCKED_PHASES, MUTABLE_WHEN_READY
from dgdr.enums import Phase
from dgdr.reconcile.findings import request_problems, request_warnings
from dgdr.reconcile.settings import OperatorSettings
from dgdr.request import API_GROUP, API_VERSION, KIND

_PLACE = f"{API_GROUP.replace('.', '-')}-{API_VERSION.partition('/')[2]}-{KIND.lower()}"
MUTATE_PATH = f"/mutate-{_PLACE}"
VALIDATE_PATH = f"/validate-{_PLACE}"
_DEFAULTS = {"backend": "auto", "searchStrategy": "rapid", "autoApply": True}
_INVALID = 422


def review_admission(review: Mapping[str, Any], path: str, settings: OperatorSettings) -> Json:
    """Answer an AdmissionReview ``admission.k8s.io/v1``.

    Args:
        review: the AdmissionReview.
        path: :data:`MUTATE_PATH` fills in defaults, :data:`VALIDATE_PATH` checks.
        settings: of the operator.

    Raises:
        InputError: this is not an AdmissionReview of a request.
    """
    request = section(review, "request")
    if review.get("kind") != "AdmissionReview" or "uid" not in request:
        raise InputError("is not an AdmissionReview", path="kind", value=str(review.get("kind")))
    data = request.get("object")
    response: Json = {"uid": request["uid"], "allowed": True}
    if isinstance(data, dict):
        if data.get("apiVersion") != API_VERSION or data.get("kind") != KIND:
            raise InputError(
                "is no request of this version",
                path="request.object",
                value=f"{data.get('kind')} {data.get('apiVersion')}",
                allowed=f"{KIND} {API_VERSION}",
            )
        old = request.get("oldObject")
        if path == MUTATE_PATH:
            response |= _defaulted(data, settings) if old is None else {}
        else:
            response |= _checked(data, old, settings)
    return {"apiVersion": review.get("apiVersion"), "kind": review["kind"], "response": response}


def _defaulted(data: Json, settings: OperatorSettings) -> Json:
    """Defaults of section 2.3 as a JSON patch."""
    spec = section(data, "spec")
    wanted = {**_DEFAULTS, "image": settings.default_image}
    patch = [
        {"op": "add", "path": f"/spec/{key}", "value": value}
        for key, value in wanted.items()
        if value is not None and spec.get(key) is None
    ]
    if not patch or not isinstance(data.get("spec"), dict):
        return {}
    text = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"patchType": "JSONPatch", "patch": text}


def _checked(data: Json, old: Json | None, settings: OperatorSettings) -> Json:
    if old is not None and old.get("spec") == data.get("spec"):
        return {}
    causes = [] if old is None else _locked(data, old)
    known = {_identity(error) for error in request_problems(old, settings)} if old else set()
    causes += [
        _cause(error) for error in request_problems(data, settings) if _identity(error) not in known
    ]
    found: Json = {}
    warnings = request_warnings(data)
    if warnings:
        found["warnings"] = warnings
    if causes:
        found |= {"allowed": False, "status": _status(data, causes)}
    return found


def _locked(data: Json, old: Json) -> list[Json]:
    """The phases in which a spec stays as it is; clients of v1alpha1 pass no rule of the CRD."""
    phase = section(old, "status").get("phase")
    new_spec, old_spec = section(data, "spec"), section(old, "spec")
    free = MUTABLE_WHEN_READY if phase == Phase.READY else ()
    if phase not in (*LOCKED_PHASES, Phase.READY.value):
        return []
    keys = sorted({*new_spec, *old_spec} - set(free))
    changed = [key for key in keys if new_spec.get(key) != old_spec.get(key)]
    if not changed:
        return []
    why = f"cannot be changed in phase {phase} ({', '.join(changed)}); delete and recreate it"
    cause = {"reason": "FieldValueForbidden", "field": "spec", "message": f"Forbidden: {why}"}
    return [cause]


def _identity(error: InputError) -> tuple[str | None, str | None, str]:
    return error.path, error.value, error.message


def _status(data: Json, causes: Sequence[Json]) -> Json:
    """The refusal as kubectl shows it: one cause for each finding."""
    name = section(data, "metadata").get("name", "")
    told = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    return {
        "status": "Failure",
        "code": _INVALID,
        "reason": "Invalid",
        "message": f'{KIND}.{API_GROUP} "{name}" is invalid: {text}',
        "details": {"name": name, "group": API_GROUP, "kind": KIND, "causes": causes},
    }


def _cause(error: InputError) -> Json:
    if error.message.startswith("is required"):
        reason, text = "FieldValueRequired", f"Required value: {error.message}"
    else:
        reason, text = "FieldValueInvalid", f"Invalid value: {error.value}: {error.message}"
    if error.allowed is not None:
        text += f"; allowed: {error.allowed}"
    return {"reason": reason, "field": error.path or "<nil>", "message": text}
