"""DynamoGraphDeployments on clusters without NVIDIA's operator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dgdr.convert.plain import section
from dgdr.reconcile.actions import Action, Create, Delete, Emit, Json, Now, Outcome, Ref, Replace
from dgdr.reconcile.names import owned_by
from dgdr.reconcile.status import StatusDraft
from dgdr.reconcile.workloads import (
    ACCOUNTS,
    HASH_ANNOTATION,
    SELECTOR_LABEL,
    Part,
    access_of,
    adapter_of,
    deployment_of,
    service_of,
    worker_set_of,
)

READY = "Ready"
NO_ORCHESTRATOR = "no multinode orchestrator available"
_ALL_READY, _NOT_READY = "all_resources_are_ready", "some_resources_are_not_ready"
_RESYNC_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSnapshot:
    """A deployment and its objects, each kind by name.

    Attributes:
        leader_worker_sets: whether the cluster can run replicas over several machines.
        missing_maps: ConfigMaps that a component mounts and that are not there.
    """

    graph: Json
    deployments: Mapping[str, Json]
    worker_sets: Mapping[str, Json]
    services: Mapping[str, Json]
    adapters: Mapping[str, Json]
    leader_worker_sets: bool = False
    missing_maps: tuple[str, ...] = ()


def reconcile_graph(snapshot: GraphSnapshot, now: Now, *, setup_access: bool = True) -> Outcome:
    """What to do next for one deployment.

    Args:
        snapshot: the deployment and its objects.
        now: the instant of this pass.
        setup_access: create the planner's service account and role binding as well.
    """
    graph = snapshot.graph
    if graph["metadata"].get("deletionTimestamp"):
        return Outcome()
    draft = StatusDraft(graph, now)
    draft.put("observedGeneration", draft.generation)
    parts = [_part(graph, component, snapshot) for component in graph["spec"]["components"]]
    refusal = _refusal(parts, snapshot)
    if refusal is not None:
        reason, message = refusal
        draft.put("state", "failed")
        draft.condition(READY, holds=False, reason=reason, message=message)
        event = Emit(regarding=graph, reason="DeploymentRefused", message=message, warning=True)
        patch = draft.patch()
        return Outcome(actions=(*patch, *([event] if patch else [])))
    actions: list[Action] = [
        *_wanted(parts, snapshot, setup_access=setup_access),
        *_unwanted(parts, snapshot),
    ]
    _report(draft, parts, snapshot)
    status = draft.patch()
    return Outcome(
        actions=(*actions, *_adapter_status(parts, snapshot, now), *status),
        requeue_after_s=_RESYNC_S if draft.status.get("state") != "successful" else None,
    )


def _part(graph: Json, component: Json, snapshot: GraphSnapshot) -> Part:
    replicas = component.get("replicas")
    part = Part(graph=graph, component=component, replicas=1 if replicas is None else replicas)
    adapter = snapshot.adapters.get(part.name)
    if not part.scaled or adapter is None:
        return part
    return Part(graph=graph, component=component, replicas=int(adapter["spec"]["replicas"]))


def _refusal(parts: list[Part], snapshot: GraphSnapshot) -> tuple[str, str] | None:
    """Why nothing can be created, as reason and message."""
    names = [part.component["name"].lower() for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return "invalid_components", f"names differ only in case: {', '.join(twice)}"
    wide = [part.component["name"] for part in parts if part.nodes > 1]
    if wide and not snapshot.leader_worker_sets:
        return "no_multinode_orchestrator", f"{NO_ORCHESTRATOR}, needed by {', '.join(wide)}"
    uid = snapshot.graph["metadata"]["uid"]
    groups = (
        snapshot.deployments,
        snapshot.worker_sets,
        snapshot.services,
        snapshot.adapters,
    )
    foreign = [
        f"{found['kind']} {part.name}"
        for part in parts
        for group in groups
        if (found := group.get(part.name)) is not None and not owned_by(found, uid)
    ]
    if foreign:
        return "name_conflict", f"exist already and belong to something else: {', '.join(foreign)}"
    return None


def _wanted(parts: list[Part], snapshot: GraphSnapshot, *, setup_access: bool) -> Iterator[Action]:
    # Services first: their addresses are in the environment of pods that start later.
    for part in parts:
        if part.name not in snapshot.services:
            yield Create(data=service_of(part), rejected=_said(snapshot, part))
    for part in parts:
        if part.scaled and part.name not in snapshot.adapters:
            yield Create(data=adapter_of(part), rejected=_said(snapshot, part))
        wide = part.nodes > 1
        wanted = worker_set_of(part) if wide else deployment_of(part)
        found = (snapshot.worker_sets if wide else snapshot.deployments).get(part.name)
        if found is None:
            yield from _access(part, setup_access=setup_access)
            yield Create(data=wanted, rejected=_said(snapshot, part))
        elif _differs(found, wanted):
            yield from _access(part, setup_access=setup_access)
            yield Replace(data=_updated(found, wanted))


def _access(part: Part, *, setup_access: bool) -> Iterator[Action]:
    """What lets the pods of a component ask the API; that it exists already is no error."""
    if setup_access and part.kind in ACCOUNTS:
        for data in access_of(ACCOUNTS[part.kind], part.graph["metadata"]["namespace"]):
            yield Create(data=data)


def _said(snapshot: GraphSnapshot, part: Part) -> Callable[[str], tuple[Action, ...]]:
    def rejected(why: str) -> tuple[Action, ...]:
        message = f"component {part.component['name']}: {why}"
        return (
            Emit(regarding=snapshot.graph, reason="CreationFailed", message=message, warning=True),
        )

    return rejected


def _differs(found: Json, wanted: Json) -> bool:
    notes, wanted_notes = (section(x, "metadata", "annotations") for x in (found, wanted))
    same = notes.get(HASH_ANNOTATION) == wanted_notes[HASH_ANNOTATION]
    replicas: int = wanted["spec"]["replicas"]
    return not same or bool(found["spec"].get("replicas") != replicas)


def _updated(found: Json, wanted: Json) -> Json:
    """The object with our spec; what others wrote into its metadata stays."""
    result = copy.deepcopy(found)
    for key in ("labels", "annotations"):
        kept = section(found, "metadata", key)
        result["metadata"][key] = {**kept, **section(wanted, "metadata", key)}
    result["spec"] = {**result["spec"], **wanted["spec"]}
    return result


def _unwanted(parts: list[Part], snapshot: GraphSnapshot) -> Iterator[Delete]:
    uid = snapshot.graph["metadata"]["uid"]
    all_names = {part.name for part in parts}
    wide = {part.name for part in parts if part.nodes > 1}
    scaled = {part.name for part in parts if part.scaled}
    for group, names in (
        (snapshot.deployments, all_names - wide),
        (snapshot.worker_sets, wide),
        (snapshot.services, all_names),
        (snapshot.adapters, scaled),
    ):
        for name, found in group.items():
            if name not in names and owned_by(found, uid):
                yield Delete(ref=Ref.of(found), uid=found["metadata"]["uid"])


def _report(draft: StatusDraft, parts: list[Part], snapshot: GraphSnapshot) -> None:
    components: Json = {}
    late: list[str] = []
    for part in parts:
        entry, ready = _component_status(part, snapshot)
        components[part.component["name"]] = entry
        if not ready:
            late.append(part.component["name"])
    draft.put("components", components)
    if not late:
        draft.put("state", "successful")
        draft.condition(READY, holds=True, reason=_ALL_READY, message="all resources are ready")
        return
    begun = any(entry.get("readyReplicas") for entry in components.values())
    exists = bool(snapshot.deployments or snapshot.worker_sets)
    draft.put("state", "pending" if exists or begun else "initializing")
    message = f"resources not ready: [{', '.join(late)}]"
    if snapshot.missing_maps:
        message += f"; ConfigMaps not found: {', '.join(snapshot.missing_maps)}"
    draft.condition(READY, holds=False, reason=_NOT_READY, message=message)


def _component_status(part: Part, snapshot: GraphSnapshot) -> tuple[Json, bool]:
    wide = part.nodes > 1
    found = (snapshot.worker_sets if wide else snapshot.deployments).get(part.name)
    status = section(found, "status")
    entry: Json = {
        "componentKind": "LeaderWorkerSet" if wide else "Deployment",
        "componentNames": [part.name],
        "replicas": int(status.get("replicas") or 0),
        "updatedReplicas": int(status.get("updatedReplicas") or 0),
        "readyReplicas": int(status.get("readyReplicas") or 0),
    }
    if not wide:
        entry["availableReplicas"] = int(status.get("availableReplicas") or 0)
    if found is None:
        return entry, False
    current = wide or int(status.get("observedGeneration") or 0) >= int(
        found["metadata"].get("generation") or 0
    )
    counts = [entry["updatedReplicas"], entry.get("availableReplicas", entry["readyReplicas"])]
    # More than wanted means that old or surplus pods are still going away.
    settled = entry["replicas"] == part.replicas and all(n >= part.replicas for n in counts)
    return entry, current and settled and found["spec"].get("replicas") == part.replicas


def _adapter_status(parts: list[Part], snapshot: GraphSnapshot, now: Now) -> Iterator[Action]:
    for part in parts:
        adapter = snapshot.adapters.get(part.name)
        if not part.scaled or adapter is None:
            continue
        draft = StatusDraft(adapter, now)
        entry, _ = _component_status(part, snapshot)
        wide = part.nodes > 1
        found = (snapshot.worker_sets if wide else snapshot.deployments).get(part.name)
        if found is not None and found["spec"].get("replicas") != part.replicas:
            draft.put("lastScaleTime", now.text)
        draft.put("replicas", entry["replicas"])
        draft.put("selector", f"{SELECTOR_LABEL}={part.name}")
        yield from draft.patch()
