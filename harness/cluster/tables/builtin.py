"""Columns of the built-in kinds."""

from __future__ import annotations

from collections.abc import Callable

from harness.cluster.objects.meta import Json, Obj, condition, deleting, labels_of, parsed_time
from harness.cluster.objects.paths import dotted
from harness.cluster.objects.selectors import selector_text

Cell = Callable[[Obj, float], Json]
ColumnRow = tuple[str, int, Cell]
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def age_text(seconds: float) -> str:
    """A length of time as kubectl shows it: ``5s``, ``3m20s``, ``26h``, ``12d``."""
    left = max(0, int(seconds))
    if left < 2 * _MINUTE:
        return f"{left}s"
    if left < 10 * _MINUTE:
        return _two(left // _MINUTE, "m", left % _MINUTE, "s")
    if left < 3 * _HOUR:
        return f"{left // _MINUTE}m"
    if left < 8 * _HOUR:
        return _two(left // _HOUR, "h", left % _HOUR // _MINUTE, "m")
    if left < 2 * _DAY:
        return f"{left // _HOUR}h"
    if left < 8 * _DAY:
        return _two(left // _DAY, "d", left % _DAY // _HOUR, "h")
    return f"{left // _DAY}d"


def _two(first: int, unit: str, second: int, small: str) -> str:
    return f"{first}{unit}" + (f"{second}{small}" if second else "")


def age(obj: Obj, now_s: float) -> str:
    """Time since creation."""
    created = (obj.get("metadata") or {}).get("creationTimestamp")
    return age_text(now_s - parsed_time(created)) if created else "<unknown>"


def _at(path: str, default: Json = "<none>") -> Cell:
    def cell(obj: Obj, _now_s: float) -> Json:
        value = dotted(obj, path)
        return default if value is None else value

    return cell


def _count(path: str) -> Cell:
    return lambda obj, _: len(dotted(obj, path) or ())


def _containers(field: str, path: str = "spec.template.spec.containers") -> Cell:
    return lambda obj, _: ",".join(item.get(field) or "" for item in dotted(obj, path) or ())


def _selector(obj: Obj, _now_s: float) -> str:
    selector = dotted(obj, "spec.selector") or {}
    if "matchLabels" in selector or "matchExpressions" in selector:
        return selector_text(selector)
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) or "<none>"


def _statuses(obj: Obj) -> list[Obj]:
    return dotted(obj, "status.containerStatuses") or []


def _pod_ready(obj: Obj, _now_s: float) -> str:
    ready = sum(bool(item.get("ready")) for item in _statuses(obj))
    return f"{ready}/{len(dotted(obj, 'spec.containers') or ())}"


def _pod_status(obj: Obj, _now_s: float) -> str:
    if deleting(obj):
        return "Terminating"
    found = dotted(obj, "status.reason") or dotted(obj, "status.phase") or "Unknown"
    for item in _statuses(obj):
        state = item.get("state") or {}
        reason = (state.get("waiting") or state.get("terminated") or {}).get("reason")
        found = reason or found
    return str(found)


def _restarts(obj: Obj, now_s: float) -> Json:
    total = sum(item.get("restartCount", 0) for item in _statuses(obj))
    ends = [dotted(item, "lastState.terminated.finishedAt") for item in _statuses(obj)]
    times = [parsed_time(end) for end in ends if end]
    return f"{total} ({age_text(now_s - max(times))} ago)" if total and times else str(total)


def _node_status(obj: Obj, _now_s: float) -> str:
    ready = condition(obj, "Ready") or {}
    text = "Ready" if ready.get("status") == "True" else "NotReady"
    return text + (",SchedulingDisabled" if dotted(obj, "spec.unschedulable") else "")


def _node_roles(obj: Obj, _now_s: float) -> str:
    prefix = "node-role.kubernetes.io/"
    found = [key.removeprefix(prefix) for key in labels_of(obj) if key.startswith(prefix)]
    return ",".join(sorted(found)) or "<none>"


def _gpus(obj: Obj, _now_s: float) -> str:
    return str((dotted(obj, "status.allocatable") or {}).get("nvidia.com/gpu", "0"))


def _ports(obj: Obj, _now_s: float) -> str:
    ports: list[Obj] = dotted(obj, "spec.ports") or []
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


def _job_status(obj: Obj, _now_s: float) -> str:
    for kind, text in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        found = condition(obj, kind)
        if found is not None and found.get("status") == "True":
            return text
    return "Terminating" if deleting(obj) else "Running"


def _job_completions(obj: Obj, _now_s: float) -> str:
    wanted = dotted(obj, "spec.completions")
    done = dotted(obj, "status.succeeded") or 0
    return f"{done}/{wanted if wanted is not None else 1}"


def _job_duration(obj: Obj, now_s: float) -> str:
    start, end = dotted(obj, "status.startTime"), dotted(obj, "status.completionTime")
    if not start:
        return ""
    return age_text((parsed_time(end) if end else now_s) - parsed_time(start))


def _replicas(obj: Obj, _now_s: float) -> str:
    return f"{dotted(obj, 'status.readyReplicas') or 0}/{dotted(obj, 'spec.replicas') or 0}"


def _last_seen(obj: Obj, now_s: float) -> str:
    seen = obj.get("lastTimestamp") or obj.get("firstTimestamp") or obj.get("eventTime")
    seen = seen or obj["metadata"].get("creationTimestamp")
    return age_text(now_s - parsed_time(seen))


def _event_object(obj: Obj, _now_s: float) -> str:
    found = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{str(found.get('kind', '')).lower()}/{found.get('name', '')}"


def _event_text(obj: Obj, _now_s: float) -> str:
    return str(obj.get("message") or obj.get("note") or "").strip()


def _addresses(obj: Obj, _now_s: float) -> str:
    found = []
    for subset in obj.get("subsets") or ():
        ports: list[Obj] = subset.get("ports") or [{}]
        for port in ports:
            tail = f":{port['port']}" if "port" in port else ""
            found += [f"{address['ip']}{tail}" for address in subset.get("addresses") or ()]
    return ",".join(found) or "<none>"


def _role(obj: Obj, _now_s: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind')}/{reference.get('name')}"


def _created(obj: Obj, _now_s: float) -> str:
    return str(obj["metadata"].get("creationTimestamp"))


_AGE: ColumnRow = ("Age", 0, age)
BUILTIN: dict[str, tuple[ColumnRow, ...]] = {
    "Pod": (
        ("Ready", 0, _pod_ready),
        ("Status", 0, _pod_status),
        ("Restarts", 0, _restarts),
        _AGE,
        ("IP", 1, _at("status.podIP")),
        ("Node", 1, _at("spec.nodeName")),
        ("Nominated Node", 1, _at("status.nominatedNodeName")),
        ("Readiness Gates", 1, _at("spec.readinessGates")),
    ),
    "Node": (
        ("Status", 0, _node_status),
        ("Roles", 0, _node_roles),
        _AGE,
        ("Version", 0, _at("status.nodeInfo.kubeletVersion", "")),
        ("GPUs", 1, _gpus),
        ("OS-Image", 1, _at("status.nodeInfo.osImage", "")),
    ),
    "Job": (
        ("Status", 0, _job_status),
        ("Completions", 0, _job_completions),
        ("Duration", 0, _job_duration),
        _AGE,
        ("Containers", 1, _containers("name")),
        ("Images", 1, _containers("image")),
        ("Selector", 1, _selector),
    ),
    "Deployment": (
        ("Ready", 0, _replicas),
        ("Up-to-date", 0, _at("status.updatedReplicas", 0)),
        ("Available", 0, _at("status.availableReplicas", 0)),
        _AGE,
        ("Containers", 1, _containers("name")),
        ("Images", 1, _containers("image")),
        ("Selector", 1, _selector),
    ),
    "ReplicaSet": (
        ("Desired", 0, _at("spec.replicas", 0)),
        ("Current", 0, _at("status.replicas", 0)),
        ("Ready", 0, _at("status.readyReplicas", 0)),
        _AGE,
        ("Containers", 1, _containers("name")),
        ("Images", 1, _containers("image")),
        ("Selector", 1, _selector),
    ),
    "Service": (
        ("Type", 0, _at("spec.type")),
        ("Cluster-IP", 0, _at("spec.clusterIP")),
        ("External-IP", 0, _at("spec.externalName")),
        ("Port(s)", 0, _ports),
        _AGE,
        ("Selector", 1, _selector),
    ),
    "ConfigMap": (("Data", 0, _count("data")), _AGE),
    "Secret": (("Type", 0, _at("type")), ("Data", 0, _count("data")), _AGE),
    "ServiceAccount": (("Secrets", 0, _count("secrets")), _AGE),
    "Namespace": (("Status", 0, _at("status.phase")), _AGE),
    "Event": (
        ("Last Seen", 0, _last_seen),
        ("Type", 0, _at("type")),
        ("Reason", 0, _at("reason")),
        ("Object", 0, _event_object),
        ("Message", 0, _event_text),
    ),
    "PersistentVolumeClaim": (
        ("Status", 0, _at("status.phase")),
        ("Volume", 0, _at("spec.volumeName", "")),
        ("Capacity", 0, _at("status.capacity.storage", "")),
        ("StorageClass", 0, _at("spec.storageClassName", "")),
        _AGE,
    ),
    "Endpoints": (("Endpoints", 0, _addresses), _AGE),
    "Lease": (("Holder", 0, _at("spec.holderIdentity", "")), _AGE),
    "Role": (("Created At", 0, _created),),
    "ClusterRole": (("Created At", 0, _created),),
    "RoleBinding": (("Role", 0, _role), _AGE),
    "ClusterRoleBinding": (("Role", 0, _role), _AGE),
    "CustomResourceDefinition": (("Created At", 0, _created),),
}
