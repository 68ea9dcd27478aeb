"""Phases Deploying and Deployed: create the deployment once, then follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from contracts.errors import RehearsalError
from dgdr.convert import convert_object
from dgdr.convert.plain import section
from dgdr.enums import Phase
from dgdr.reconcile.actions import Action, Create, Emit, Json, Outcome, Patch, Ref
from dgdr.reconcile.names import (
    NAME_LABEL,
    NAMESPACE_LABEL,
    SIDE_ANNOTATION,
    UID_ANNOTATION,
    request_labels,
)
from dgdr.reconcile.snapshot import Pass
from dgdr.reconcile.status import DEPLOYMENT_READY, StatusDraft
from dgdr.request import API_VERSION

_SUCCESSFUL = "successful"
_CREATED = ("DeploymentCreated", "DeploymentInProgress", "DeploymentDegraded", "DeploymentReady")


def deploy(look: Pass) -> Outcome:
    """Create the deployment if it is not there, then wait until it is successful."""
    draft = look.draft
    if not look.spec.get("autoApply", True):
        draft.enter(Phase.READY, "autoApply is off")
        return look.finish()
    found = look.snapshot.deployment
    if found is None:
        if draft.reason(DEPLOYMENT_READY) in _CREATED:
            return _deleted(look)
        return _create(look)
    conflict = _conflict(look, found)
    if conflict is not None:
        return _reject(look, conflict)
    before = _adopt(look, found)
    _count(look, found)
    state = str(section(found, "status").get("state") or "initializing")
    if state == _SUCCESSFUL:
        message = f"DGD {found['metadata']['name']} is ready"
        draft.condition(DEPLOYMENT_READY, holds=True, reason="DeploymentReady", message=message)
        draft.enter(Phase.DEPLOYED, message)
        look.emit("DeploymentReady", message)
        return look.finish(*before)
    message = f"DGD {found['metadata']['name']} is in {state} state"
    draft.condition(DEPLOYMENT_READY, holds=False, reason="DeploymentInProgress", message=message)
    draft.progress(f"{message}{_waits_for(found)}")
    return look.finish(*before, requeue_after_s=look.settings.resync_s)


def _waits_for(found: Json) -> str:
    """What the deployment itself says about why it is not ready."""
    conditions = section(found, "status").get("conditions") or []
    told = [str(each.get("message") or "") for each in conditions if each.get("type") == "Ready"]
    return f": {told[0]}" if told and told[0] else ""


def watch_deployment(look: Pass) -> Outcome:
    """Keep figures up to date; go back to Deploying when the deployment degrades."""
    found = look.snapshot.deployment
    if found is None:
        return _deleted(look)
    _count(look, found)
    state = str(section(found, "status").get("state") or "initializing")
    if state != _SUCCESSFUL:
        message = f"DGD {found['metadata']['name']} is in {state} state"
        look.draft.condition(
            DEPLOYMENT_READY, holds=False, reason="DeploymentDegraded", message=message
        )
        look.draft.enter(Phase.DEPLOYING, message)
        look.emit("DeploymentDegraded", message, warning=True)
    return look.finish(*_adopt(look, found), requeue_after_s=look.settings.resync_s)


def _create(look: Pass) -> Outcome:
    wanted = section(look.draft.status, "profilingResults").get("selectedConfig")
    if not isinstance(wanted, dict):
        return _reject(look, "status.profilingResults.selectedConfig is missing")
    name = str(wanted["metadata"]["name"])
    if wanted.get("apiVersion") != API_VERSION:
        try:  # as v1beta1 it needs no webhook
            wanted = convert_object(wanted, API_VERSION)
        except RehearsalError as error:
            return _reject(look, str(error))

    def rejected(why: str) -> tuple[Action, ...]:
        fresh = _fresh(look)
        return _reject(fresh, why).actions

    def failed(why: str) -> tuple[Action, ...]:
        text = f"DGD {name} could not be created for now: {why}"
        return (_event(look, "DeploymentCreationFailed", text),)

    look.draft.condition(
        DEPLOYMENT_READY, holds=False, reason="DeploymentCreated", message=f"DGD {name} created"
    )
    look.emit("DeploymentCreated", f"DGD {name} created")
    create = Create(data=wanted, rejected=rejected, failed=failed)
    maps = tuple(_side_map(look, item) for item in side_documents(look.request))
    # The name may be taken: the next pass reads what is there before anything else.
    return look.finish(*maps, create, requeue_after_s=0.0)


def _side_map(look: Pass, item: Json) -> Create:
    name = item["metadata"]["name"]

    def rejected(why: str) -> tuple[Action, ...]:
        return (_event(look, "ConfigMapCreationFailed", f"ConfigMap {name}: {why}"),)

    return Create(data=item, rejected=rejected)


def _event(look: Pass, reason: str, message: str) -> Emit:
    return Emit(regarding=look.request, reason=reason, message=message, warning=True)


def side_documents(request: Mapping[str, Any]) -> list[Json]:
    """ConfigMaps that the deployment of a request needs, in this namespace."""
    text = section(request, "metadata", "annotations").get(SIDE_ANNOTATION)
    if text is None:
        return []
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []  # not as this operator wrote it
    namespace = request["metadata"]["namespace"]
    return [
        document
        for document in documents
        if isinstance(document, dict)
        and document.get("kind") == "ConfigMap"
        and section(document, "metadata").get("namespace") == namespace
    ]


def _conflict(look: Pass, found: Json) -> str | None:
    labels = section(found, "metadata", "labels")
    name = found["metadata"]["name"]
    wanted = request_labels(look.request)
    if any(labels.get(key) != wanted[key] for key in (NAME_LABEL, NAMESPACE_LABEL)):
        return f"DGD {name} exists already and was not created by this request"
    uid = section(found, "metadata", "annotations").get(UID_ANNOTATION)
    if uid not in (None, look.uid):
        return f"DGD {name} was left by an earlier request of this name; delete it first"
    return None


def _reject(look: Pass, why: str) -> Outcome:
    look.draft.fail(DEPLOYMENT_READY, "DeploymentRejected", why)
    look.emit("DeploymentCreationFailed", why, warning=True)
    return look.finish()


def _deleted(look: Pass) -> Outcome:
    message = f"DGD {look.draft.status.get('dgdName') or ''} was deleted"
    look.draft.put("dgdName", "")
    look.draft.put("deploymentInfo", None)
    look.draft.fail(DEPLOYMENT_READY, "DeploymentDeleted", message)
    look.emit("DeploymentDeleted", message, warning=True)
    return look.finish()


def _fresh(look: Pass) -> Pass:
    return Pass(
        snapshot=look.snapshot,
        settings=look.settings,
        now=look.now,
        draft=StatusDraft(look.request, look.now),
    )


def _adopt(look: Pass, found: Json) -> tuple[Patch, ...]:
    """Side ConfigMaps live as long as the deployment that reads them."""
    owner = {key: found[key] for key in ("apiVersion", "kind")}
    owner |= {key: found["metadata"][key] for key in ("name", "uid")}
    return tuple(
        Patch(
            ref=Ref.of(item),
            change={"metadata": {"ownerReferences": [owner]}},
            resource_version=item["metadata"]["resourceVersion"],
        )
        for item in look.snapshot.side_maps
        if not item["metadata"].get("ownerReferences")
    )


def _count(look: Pass, found: Json) -> None:
    """Replicas summed over components; without figures nothing is claimed."""
    status = section(found, "status")
    parts = list((status.get("components") or status.get("services") or {}).values())
    if not parts:
        look.draft.put("deploymentInfo", None)
        return
    available = [part.get("availableReplicas", part.get("readyReplicas")) for part in parts]
    info = {
        "replicas": sum(int(part.get("replicas") or 0) for part in parts),
        "availableReplicas": sum(int(count or 0) for count in available),
    }
    look.draft.put("deploymentInfo", info)
