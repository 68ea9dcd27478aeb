"""The status of a pod from the states of its containers."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cluster.node.containers import Container
from harness.cluster.objects.meta import Obj, copied, set_condition


def phase(policy: str, inits: Sequence[Container], mains: Sequence[Container]) -> str:
    """``Pending``, ``Running``, ``Succeeded`` or ``Failed``."""
    if any(c.ended and c.exit_code != 0 and not c.again(policy) for c in inits):
        return "Failed"
    if all(c.ended and not c.again(policy) for c in mains):
        return "Succeeded" if all(c.exit_code == 0 for c in mains) else "Failed"
    return "Running" if any(c.handle is not None for c in mains) else "Pending"


def pod_status(
    pod: Obj, containers: tuple[Sequence[Container], Sequence[Container]], address: str, now: str
) -> Obj:
    """The whole status.

    Args:
        pod: the stored pod.
        containers: init containers and containers.
        address: the pod's IP.
        now: time of new conditions.
    """
    inits, mains = containers
    policy = pod["spec"].get("restartPolicy", "Always")
    status: Obj = copied(pod.get("status") or {})
    status["phase"] = phase(policy, inits, mains)
    status.setdefault("startTime", now)
    status |= {
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "qosClass": _quality(pod),
        "containerStatuses": [container.status(policy) for container in mains],
    }
    if inits:
        status["initContainerStatuses"] = [container.status(policy) for container in inits]
    over = status["phase"] in {"Succeeded", "Failed"}
    ready = not over and all(container.ready for container in mains)
    initialized = all(c.ended and c.exit_code == 0 for c in inits)
    conditions = status.get("conditions") or []
    for kind, good in (
        ("PodReadyToStartContainers", not over),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", ready),
    ):
        wanted: Obj = {"type": kind, "status": "True" if good else "False"}
        if not good and kind in {"Ready", "ContainersReady"}:
            done = status["phase"] == "Succeeded"
            wanted["reason"] = "PodCompleted" if done else "ContainersNotReady"
        conditions = set_condition(conditions, wanted, now)
    status["conditions"] = conditions
    return status


def _quality(pod: Obj) -> str:
    """Quality of service class; enough of its rules for what clients show."""
    found = [c.get("resources") or {} for c in pod["spec"].get("containers") or ()]
    if not any(r.get("limits") or r.get("requests") for r in found):
        return "BestEffort"
    full = all(
        {"cpu", "memory"} <= set(r.get("limits") or {})
        and (r.get("requests") or r["limits"]) == r["limits"]
        for r in found
    )
    return "Guaranteed" if full else "Burstable"
