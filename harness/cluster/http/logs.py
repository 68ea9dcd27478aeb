"""``pods/NAME/log``: what a container wrote, with follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.api import Reads
from harness.cluster.http.message import Answer, Request
from harness.cluster.http.route import Route
from harness.cluster.objects.errors import bad_request
from harness.cluster.objects.meta import Obj, name_of, namespace_of, uid_of
from harness.cluster.objects.paths import dotted

POLL_S = 0.1
_PIECE = 65_536
_TEXT = "text/plain; charset=utf-8"
LogPath = Callable[[str, str, int], Path]
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Reads log files.

    Attributes:
        path: file of (pod uid, container, number of restarts).
    """

    reads: Reads
    path: LogPath

    def answer(self, request: Request, route: Route) -> Answer:
        """The log of one container.

        Raises:
            ApiError: 400, no such container or it did not start; 404.
        """
        pod = self.reads.get(route.resource, *route.key)
        name = self._container(pod, route.name, request.query.get("container", ""))
        status = _status_of(pod, name)
        restarts = int((status or {}).get("restartCount", 0))
        previous = request.flag("previous")
        if previous:
            restarts -= 1
        path = self.path(uid_of(pod), name, restarts)
        if restarts < 0 or not path.exists():
            if previous:
                text = f'previous terminated container "{name}" in pod "{route.name}" not found'
                raise bad_request(text)
            reason = dotted(status or {}, "state.waiting.reason") or "ContainerCreating"
            text = f'container "{name}" in pod "{route.name}" is waiting to start: {reason}'
            raise bad_request(text)
        warnings: tuple[str, ...] = ()
        if request.flag("timestamps") or "sinceTime" in request.query:
            warnings = ("times of log lines are not kept: timestamps and sinceTime have no effect",)
        start = _tail_start(path, request)
        if request.flag("follow") and not previous:
            stream = self._follow(path, start, (route.key, name, restarts))
            return Answer(stream=stream, content_type=_TEXT, warnings=warnings)
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(request.number("limitBytes") or -1)
        return Answer(body=body, content_type=_TEXT, warnings=warnings)

    def from_now_on(self, pod: Obj, name: str) -> AsyncIterator[bytes]:
        """What a container writes from now until it ends.

        Raises:
            ApiError: 400, there is no such container or it does not run.
        """
        status = _status_of(pod, name) or {}
        if dotted(status, "state.running") is None:
            raise bad_request(f"pod {name_of(pod)}: container {name} does not run")
        restarts = int(status.get("restartCount", 0))
        path = self.path(uid_of(pod), name, restarts)
        key = (namespace_of(pod), name_of(pod))
        return self._follow(path, path.stat().st_size, (key, name, restarts))

    def _container(self, pod: Obj, pod_name: str, wanted: str) -> str:
        spec = pod["spec"]
        names = [item["name"] for item in spec["containers"]]
        known = [*names, *(item["name"] for item in spec.get("initContainers") or ())]
        if not wanted and len(names) > 1:
            listed = " ".join(names)
            text = f"a container name must be specified for pod {pod_name}, choose one of: "
            raise bad_request(f"{text}[{listed}]")
        if wanted and wanted not in known:
            raise bad_request(f"container {wanted} is not valid for pod {pod_name}")
        return wanted or names[0]

    async def _follow(
        self, path: Path, start: int, what: tuple[_Key, str, int]
    ) -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            file.seek(start)
            while True:
                over = self._over(*what)
                while piece := file.read(_PIECE):
                    yield piece
                if over:
                    return
                await asyncio.sleep(POLL_S)

    def _over(self, key: _Key, name: str, restarts: int) -> bool:
        pod = self.reads.store.get("pods", *key)
        if pod is None:
            return True
        status = _status_of(pod, name) or {}
        if int(status.get("restartCount", 0)) != restarts:
            return True
        return dotted(status, "state.terminated") is not None


def _status_of(pod: Obj, name: str) -> Obj | None:
    found = pod.get("status") or {}
    statuses = [
        *(found.get("containerStatuses") or ()),
        *(found.get("initContainerStatuses") or ()),
    ]
    return next((item for item in statuses if item.get("name") == name), None)


def _tail_start(path: Path, request: Request) -> int:
    """Where the last ``tailLines`` lines begin."""
    if "tailLines" not in request.query:
        return 0
    wanted, content = request.number("tailLines"), path.read_bytes()
    if wanted < 0:
        return 0
    end = len(content) - (1 if content.endswith(b"\n") else 0)
    at = end
    for _ in range(wanted):
        at = content.rfind(b"\n", 0, at)
        if at < 0:
            return 0
    return at + 1 if wanted else len(content)
