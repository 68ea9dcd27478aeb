"""What pods say about a deployment that does not come up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_NEVER_PULLED = {"InvalidImageName", "ErrImageNeverPull"}
_NOT_PULLED = {"ErrImagePull", "ImagePullBackOff"}
_NOT_CREATED = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
RESTARTS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a pod will not become ready.

    Attributes:
        container: empty for the pod itself.
        certain: waiting cannot help; otherwise it may pass.
        previous: the log of the container before its restart is the one to read.
    """

    pod: str
    container: str
    reason: str
    certain: bool
    previous: bool = False


def troubles(pods: Iterable[Json]) -> list[Trouble]:
    """All troubles, certain ones first."""
    found = [trouble for pod in pods for trouble in _of_pod(pod)]
    return sorted(found, key=lambda t: not t.certain)


def _of_pod(pod: Json) -> Iterator[Trouble]:
    name = str(pod["metadata"]["name"])
    status: Json = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        unscheduled = condition.get("type") == "PodScheduled" and condition.get("status") == "False"
        if unscheduled:
            text = f"cannot be scheduled: {condition.get('message', 'no reason')}"
            yield Trouble(pod=name, container="", reason=text, certain=False)
    if status.get("phase") == "Failed" and status.get("reason"):
        text = f"{status['reason']}: {status.get('message', '')}"
        yield Trouble(pod=name, container="", reason=text, certain=False)
    containers = [
        *(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())
    ]  # fmt: skip
    for container in containers:
        yield from _of_container(name, container)


def _of_container(pod: str, status: Json) -> Iterator[Trouble]:
    name = str(status.get("name", ""))
    waiting: Json = (status.get("state") or {}).get("waiting") or {}
    ended: Json = (
        (status.get("state") or {}).get("terminated")
        or (status.get("lastState") or {}).get("terminated")
        or {}
    )
    reason = str(waiting.get("reason", ""))
    restarts = int(status.get("restartCount") or 0)
    if ended.get("reason") == "OOMKilled":
        text = "out of memory: the container was killed (OOMKilled)"
        yield Trouble(pod=pod, container=name, reason=text, certain=True, previous=bool(waiting))
    elif reason in _NEVER_PULLED | _NOT_PULLED:
        image = status.get("image", "")
        text = f"image {image} cannot be pulled: {reason} {waiting.get('message', '')}".strip()
        yield Trouble(pod=pod, container=name, reason=text, certain=reason in _NEVER_PULLED)
    elif reason in _NOT_CREATED:
        text = f"the container cannot be created: {reason} {waiting.get('message', '')}".strip()
        yield Trouble(pod=pod, container=name, reason=text, certain=False)
    elif restarts >= RESTARTS_MAX or (reason == "CrashLoopBackOff" and restarts > 0):
        code = ended.get("exitCode", "unknown")
        text = f"crash loop: {restarts} restarts, last exit code {code}"
        yield Trouble(
            pod=pod, container=name, reason=text, certain=restarts >= RESTARTS_MAX, previous=True
        )
