"""The state of one container, kept in step with the pod's status."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster.objects.meta import Obj, parsed_time, time_text
from harness.cluster.objects.paths import dotted

_HANDLE = "process://"


@dataclass(slots=True, kw_only=True)
class Container:
    """One container of a pod.

    Attributes:
        spec: from the pod.
        handle: the running or last process, None if it never ran.
        exit_code: of the process; None while it runs.
        waiting: reason and message while it is not running.
        not_before_s: time of the next start.
        failures: starts in vain, for the wait between them.
        ready: whether it takes traffic.
    """

    spec: Obj
    init: bool = False
    handle: str | None = None
    restarts: int = 0
    started_s: float = 0.0
    finished_s: float = 0.0
    exit_code: int | None = None
    waiting: tuple[str, str] = ("ContainerCreating", "")
    not_before_s: float = 0.0
    failures: int = 0
    held: bool = False
    ready: bool = False
    last: Obj | None = None

    @property
    def name(self) -> str:
        """Name within the pod."""
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.handle is not None and self.exit_code is None

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self.handle is not None and self.exit_code is not None

    def again(self, policy: str) -> bool:
        """Whether it starts again after it ended."""
        if not self.ended:
            return False
        if self.init:
            return self.exit_code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and self.exit_code != 0)

    def terminated(self) -> Obj:
        """``terminated`` of a container state."""
        reason = "Completed" if self.exit_code == 0 else "Error"
        return {
            "exitCode": self.exit_code,
            "reason": reason,
            "startedAt": time_text(self.started_s),
            "finishedAt": time_text(self.finished_s),
            "containerID": f"{_HANDLE}{self.handle}",
        }

    def status(self, policy: str) -> Obj:
        """Entry of ``containerStatuses``."""
        found: Obj = {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": f"local/{self.spec.get('image', '')}" if self.handle else "",
            "ready": self.ready,
            "started": self.running,
            "restartCount": self.restarts,
            "state": self._state(policy),
            "lastState": {"terminated": self.last} if self.last else {},
        }
        if self.handle is not None:
            found["containerID"] = f"{_HANDLE}{self.handle}"
        return found

    def _state(self, policy: str) -> Obj:
        if self.running:
            return {"running": {"startedAt": time_text(self.started_s)}}
        if self.ended and not (self.again(policy) and self.failures):
            return {"terminated": self.terminated()}
        reason, message = self.waiting
        waiting = {"reason": reason}
        if message:
            waiting["message"] = message
        return {"waiting": waiting}


def restored(spec: Obj, status: Obj | None, *, init: bool) -> Container:
    """A container as its status shows it."""
    container = Container(spec=spec, init=init)
    if status is None:
        return container
    container.restarts = int(status.get("restartCount", 0))
    container.last = (status.get("lastState") or {}).get("terminated")
    handle = str(status.get("containerID") or "")
    if handle:
        container.handle = handle.removeprefix(_HANDLE)
    running, ended = dotted(status, "state.running"), dotted(status, "state.terminated")
    if status.get("state", {}).get("waiting") and container.handle:
        ended = container.last
    if running:
        container.started_s = parsed_time(running["startedAt"])
        container.ready = bool(status.get("ready"))
    elif ended:
        container.exit_code = int(ended["exitCode"])
        container.started_s = parsed_time(ended["startedAt"])
        container.finished_s = parsed_time(ended["finishedAt"])
    return container
