"""Asks admission webhooks: mutating ones first, validating ones last.

Writes of the cluster's own controllers are not shown to them, and ``matchConditions`` are
not served. Webhooks are asked about a version that their rules name (``matchPolicy`` is
always ``Equivalent``).
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.cluster.api.admission import Attempt
from harness.cluster.kinds.registry import Registry
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import Obj, copied, labels_of, made_uid, meta, name_of
from harness.cluster.objects.outside import Question, answer, in_request
from harness.cluster.objects.selectors import matches_selector
from harness.cluster.patching import json_patch
from harness.cluster.store import Store
from harness.cluster.webhooks.post import Caller, Place, post

GROUP = "admissionregistration.k8s.io"
_MUTATING = f"mutatingwebhookconfigurations.{GROUP}"
_VALIDATING = f"validatingwebhookconfigurations.{GROUP}"
_REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
_DEFAULT_LIMIT_S = 10
_DEFAULT_CODE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionWebhooks:
    """The webhooks of all configurations."""

    store: Store
    registry: Registry
    caller: Caller

    def mutate(self, attempt: Attempt) -> Obj:
        """See :class:`harness.cluster.api.admission.Admission`."""
        obj = attempt.obj or {}
        for webhook, seen in self._matching(_MUTATING, attempt):
            review = _request(attempt, seen, self._in(seen, obj), self._in(seen, attempt.old))
            response = self._response(webhook, review, attempt)
            patch = (response or {}).get("patch")
            if patch:
                changed = json_patch(copied(review["object"]), json.loads(base64.b64decode(patch)))
                obj = self._back(attempt.resource, changed)
        return obj

    def validate(self, attempt: Attempt) -> None:
        """See :class:`harness.cluster.api.admission.Admission`."""
        for webhook, seen in self._matching(_VALIDATING, attempt):
            found = self._in(seen, attempt.obj), self._in(seen, attempt.old)
            self._response(webhook, _request(attempt, seen, *found), attempt)

    def _matching(self, storage: str, attempt: Attempt) -> Iterator[tuple[Obj, ResourceType]]:
        """Webhooks that want to be asked, and the resource as they know it."""
        if not in_request():
            return
        for configuration in self.store.list(storage):
            for webhook in configuration.get("webhooks") or ():
                seen = self._seen(webhook, attempt)
                if seen is not None and self._selected(webhook, attempt):
                    yield webhook, seen

    def _seen(self, webhook: Obj, attempt: Attempt) -> ResourceType | None:
        mine = attempt.resource
        others = (found for found in self.registry if found.storage == mine.storage)
        for resource in (mine, *others):
            if any(_fits(rule, resource, attempt) for rule in webhook.get("rules") or ()):
                return resource
        return None

    def _selected(self, webhook: Obj, attempt: Attempt) -> bool:
        wanted = webhook.get("namespaceSelector") or {}
        if wanted and attempt.resource.namespaced:
            about = attempt.obj or attempt.old or {}
            home = self.store.get("namespaces", "", str(meta(about).get("namespace")))
            if not matches_selector(wanted, labels_of(home or {})):
                return False
        wanted = webhook.get("objectSelector") or {}
        objects = [obj for obj in (attempt.obj, attempt.old) if obj is not None]
        return not wanted or any(matches_selector(wanted, labels_of(obj)) for obj in objects)

    def _in(self, resource: ResourceType, obj: Obj | None) -> Obj | None:
        """An object in another version."""
        if obj is None or obj.get("apiVersion") == resource.api_version:
            return obj
        if resource.converter is not None:
            return resource.converter(obj, resource.api_version)
        return {**obj, "apiVersion": resource.api_version}

    def _back(self, resource: ResourceType, obj: Obj) -> Obj:
        found = self._in(resource, obj)
        return obj if found is None else found

    def _response(self, webhook: Obj, request: Obj, attempt: Attempt) -> Obj | None:
        """What a webhook says; None if it did not answer and that does not matter.

        Raises:
            ApiError: it refuses, or it did not answer and that matters.
        """
        if webhook.get("matchConditions"):
            found: Obj | ApiError = _failed(webhook, "matchConditions are not served")
        else:
            found = self._asked(webhook, request)
        if isinstance(found, ApiError):
            if webhook.get("failurePolicy") == "Ignore":
                return None
            raise found
        for text in found.get("warnings") or ():
            if text not in attempt.call.warnings:
                attempt.call.warnings.append(str(text))
        if not found.get("allowed"):
            raise _denied(str(webhook["name"]), found.get("status") or {})
        return found

    def _asked(self, webhook: Obj, request: Obj) -> Obj | ApiError:
        config = webhook.get("clientConfig") or {}
        try:
            place = self.caller.place(config)
        except (OSError, ValueError, KeyError) as error:
            return _failed(webhook, str(error))
        key = json.dumps([webhook["name"], config, request], sort_keys=True)
        full = {**_REVIEW, "request": {"uid": made_uid(key), **request}}
        question = Question(key=key, ask=lambda: _answered(webhook, place, full))
        found: Obj | ApiError = answer(question)["found"]
        return found


def _fits(rule: Obj, resource: ResourceType, attempt: Attempt) -> bool:
    sub = attempt.subresource
    name = f"{resource.plural}/{sub}" if sub else resource.plural
    patterns = {name, "*/*", f"*/{sub}" if sub else "*", f"{resource.plural}/*"}
    scope = {"Namespaced": resource.namespaced, "Cluster": not resource.namespaced}
    return (
        bool({"*", attempt.operation} & set(rule.get("operations") or ()))
        and bool({"*", resource.group} & set(rule.get("apiGroups") or ()))
        and bool({"*", resource.version} & set(rule.get("apiVersions") or ()))
        and bool(patterns & set(rule.get("resources") or ()))
        and scope.get(rule.get("scope") or "*", True)
    )


def _request(attempt: Attempt, seen: ResourceType, obj: Obj | None, old: Obj | None) -> Obj:
    """``request`` of an AdmissionReview, without the uid."""
    about = obj or old or {}
    mine = attempt.resource
    found: dict[str, Any] = {
        "kind": _kind(seen),
        "resource": _resource(seen),
        "requestKind": _kind(mine),
        "requestResource": _resource(mine),
        "name": name_of(about),
        "namespace": meta(about).get("namespace", ""),
        "operation": attempt.operation,
        "userInfo": {"username": attempt.call.user},
        "object": obj,
        "oldObject": old,
        "dryRun": attempt.call.options.dry_run,
        "options": None,
    }
    if attempt.subresource:
        found |= {
            "subResource": attempt.subresource,
            "requestSubResource": attempt.subresource,
        }
    return found


def _kind(resource: ResourceType) -> Obj:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _resource(resource: ResourceType) -> Obj:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def _answered(webhook: Obj, place: Place, review: Obj) -> Obj:
    """The response of a webhook, or the error that it did not give one."""
    limit_s = float(webhook.get("timeoutSeconds") or _DEFAULT_LIMIT_S)
    try:
        response = post(place, review, limit_s)["response"]
        same = response["uid"] == review["request"]["uid"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return {"found": _failed(webhook, str(error) or type(error).__name__)}
    return {"found": response if same else _failed(webhook, "it answered another request")}


def _failed(webhook: Obj, why: str) -> ApiError:
    name = webhook.get("name")
    text = f'Internal error occurred: failed calling webhook "{name}": failed to call webhook: '
    cause = {"message": text.removeprefix("Internal error occurred: ") + why}
    return ApiError(500, "InternalError", text + why, {"causes": [cause]})


def _denied(name: str, status: Obj) -> ApiError:
    said = status.get("message") or status.get("reason") or ""
    text = f'admission webhook "{name}" denied the request'
    text = f"{text}: {said}" if said else f"{text} without explanation"
    code = int(status.get("code") or _DEFAULT_CODE)
    return ApiError(code, str(status.get("reason") or ""), text, status.get("details"))
