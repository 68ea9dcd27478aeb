"""Runs the pods of all nodes as local processes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key, key_of
from harness.cluster.faults import FaultKind, Faults
from harness.cluster.node.commands import Commands
from harness.cluster.node.containers import Container, restored
from harness.cluster.node.environment import MissingError
from harness.cluster.node.images import NoCommandError
from harness.cluster.node.podstatus import phase, pod_status
from harness.cluster.node.probes import Prober, probe_of
from harness.cluster.node.process import Command, Runner
from harness.cluster.objects.errors import bad_request
from harness.cluster.objects.meta import (
    Obj,
    deleting,
    name_of,
    namespace_of,
    parsed_time,
    time_text,
    uid_of,
)
from harness.cluster.store import Change

_OVER = frozenset({"Succeeded", "Failed"})
_MOST_BACKOFF_S = 300.0
_FRESH_S = 5.0
_SETTLE_S = 0.5  # a process that has barely started may miss a signal
_POLL_S = 0.05
_SLOW_POLL_S = 0.2


@dataclass(slots=True, kw_only=True)
class KubeletSettings:
    """What a kubelet works with.

    Attributes:
        commands: what containers run as.
        backoff_s: wait before the first restart of a container; doubles each time.
        address: makes a pod's IP.
    """

    commands: Commands
    backoff_s: float
    address: Callable[[], str]


@dataclass(slots=True)
class _Pod:
    uid: str
    address: str
    inits: list[Container]
    mains: list[Container]
    stopping_s: float | None = None
    killed: bool = False
    asked_s: dict[str, float] = field(default_factory=dict)

    @property
    def all(self) -> list[Container]:
        return [*self.inits, *self.mains]


class Kubelet:
    """One agent for all nodes; it keeps processes in step with the pods."""

    name = "kubelet"

    def __init__(
        self,
        client: Client,
        settings: KubeletSettings,
        runner: Runner,
        prober: Prober,
        faults: Faults,
    ) -> None:
        self._client = client
        self._settings = settings
        self.commands = settings.commands
        self._runner = runner
        self._prober = prober
        self._faults = faults
        self._pods: dict[Key, _Pod] = {}

    def keys(self, change: Change) -> Iterable[Key]:
        """Pods that are bound."""
        if change.resource == "pods" and (change.obj.get("spec") or {}).get("nodeName"):
            yield key_of(change)

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one pod."""
        key, now_s = (namespace, name), self._client.clock.unix_s()
        pod = self._client.store.get("pods", namespace, name)
        record = self._pods.get(key)
        if record is not None and (pod is None or uid_of(pod) != record.uid):
            self._signal(record, signal.SIGKILL)
            self._forget(key, record)
            record = None
        if pod is None:
            return None
        over = (pod.get("status") or {}).get("phase") in _OVER
        if record is None:
            if over and not deleting(pod):
                return None
            record = self._pods[key] = self._record(pod)
        if self._faults.active(FaultKind.NODE_LOSS, pod["spec"]["nodeName"]) is not None:
            self._signal(record, signal.SIGKILL)
            return 0.5
        self._poll(record)
        if deleting(pod):
            return self._stop(pod, record, now_s)
        if over:
            return None
        wait_s = self._progress(pod, record, now_s)
        self._report(pod, record)
        return wait_s

    def stop_all(self) -> None:
        """Kill every process."""
        for record in self._pods.values():
            self._signal(record, signal.SIGKILL)

    def _record(self, pod: Obj) -> _Pod:
        status = pod.get("status") or {}
        known = {
            item["name"]: item
            for item in [
                *(status.get("initContainerStatuses") or ()),
                *(status.get("containerStatuses") or ()),
            ]
        }
        spec = pod["spec"]
        return _Pod(
            uid=uid_of(pod),
            address=status.get("podIP") or self._settings.address(),
            inits=[
                restored(item, known.get(item["name"]), init=True)
                for item in spec.get("initContainers") or ()
            ],
            mains=[
                restored(item, known.get(item["name"]), init=False) for item in spec["containers"]
            ],
        )

    def _forget(self, key: Key, record: _Pod) -> None:
        del self._pods[key]
        shutil.rmtree(self.commands.folder(record.uid), ignore_errors=True)

    def _poll(self, record: _Pod) -> None:
        for container in record.all:
            if container.running and container.handle is not None:
                file = self.commands.exit_file(record.uid, container.name, container.restarts)
                code = self._runner.exit_code(container.handle, file)
                if code is not None:
                    self._runner.signal(container.handle, signal.SIGKILL)
                    container.exit_code = code
                    container.finished_s = self._client.clock.unix_s()
                    container.ready = False

    def _signal(self, record: _Pod, number: int) -> None:
        for container in record.all:
            if container.running and container.handle is not None:
                self._runner.signal(container.handle, number)

    def _stop(self, pod: Obj, record: _Pod, now_s: float) -> float | None:
        """Ask the processes to end, then make them, then let the pod go."""
        if any(container.running for container in record.all):
            end_s = parsed_time(pod["metadata"]["deletionTimestamp"])
            if record.stopping_s is None:
                if any(c.running and now_s - c.started_s < _SETTLE_S for c in record.all):
                    return _POLL_S
                record.stopping_s = now_s
                self._client.event(pod, "Killing", "Stopping containers")
                self._signal(record, signal.SIGTERM)
            elif now_s >= end_s and not record.killed:
                record.killed = True
                self._signal(record, signal.SIGKILL)
            return _POLL_S
        self._report(pod, record)
        current = self._client.store.get("pods", namespace_of(pod), name_of(pod))
        if current is not None:
            self._client.delete("pods", current, gracePeriodSeconds=0)
        return None

    def _progress(self, pod: Obj, record: _Pod, now_s: float) -> float | None:
        """Start what may start; returns seconds until the next look."""
        policy = pod["spec"].get("restartPolicy", "Always")
        for container in record.inits:
            if not (container.ended and container.exit_code == 0):
                if not container.ended or container.again(policy):
                    self._advance(pod, record, container, now_s)
                for later in record.all:
                    if later is not container and later.handle is None:
                        later.waiting = ("PodInitializing", "")
                break
        else:
            for container in record.mains:
                if not container.ended or container.again(policy):
                    self._advance(pod, record, container, now_s)
        return self._wait_s(record, policy, now_s)

    def _wait_s(self, record: _Pod, policy: str, now_s: float) -> float | None:
        if phase(policy, record.inits, record.mains) in _OVER:
            return None
        fresh = any(now_s - c.started_s < _FRESH_S for c in record.all if c.handle)
        return _POLL_S if fresh or any(c.handle is None for c in record.mains) else _SLOW_POLL_S

    def _advance(self, pod: Obj, record: _Pod, container: Container, now_s: float) -> None:
        if container.running:
            self._probe(record, container, now_s)
            return
        if container.ended:
            self._plan_restart(pod, container, now_s)
        if now_s < container.not_before_s:
            return
        if not self._allowed(pod, container, now_s):
            return
        self._start(pod, record, container, now_s)

    def _plan_restart(self, pod: Obj, container: Container, now_s: float) -> None:
        if container.failures == 0 or container.not_before_s <= container.finished_s:
            backoff_s = min(_MOST_BACKOFF_S, self._settings.backoff_s * 2**container.failures)
            container.failures += 1
            container.not_before_s = container.finished_s + backoff_s
            container.last = container.terminated()
            if now_s < container.not_before_s:
                text = f"back-off {backoff_s:g}s restarting failed container={container.name}"
                container.waiting = ("CrashLoopBackOff", text)
                self._client.event(pod, "BackOff", text, warning=True)

    def _allowed(self, pod: Obj, container: Container, now_s: float) -> bool:
        """Whether faults let the image be pulled and the container start now."""
        image = container.spec.get("image", "")
        if self._faults.active(FaultKind.IMAGE_PULL, image) is not None:
            self._pull_failed(pod, container, f'Failed to pull image "{image}": injected', now_s)
            return False
        if not container.held:
            slow = self._faults.active(FaultKind.SLOW_START, image)
            container.held = True
            if slow is not None:
                container.not_before_s = now_s + slow.ms / 1000
                return False
        return True

    def _pull_failed(self, pod: Obj, container: Container, text: str, now_s: float) -> None:
        reason = "ErrImagePull" if container.failures == 0 else "ImagePullBackOff"
        backoff_s = min(_MOST_BACKOFF_S, self._settings.backoff_s * 2**container.failures)
        container.waiting = (reason, text)
        container.failures += 1
        container.not_before_s = now_s + backoff_s
        self._client.event(pod, "Failed", text, warning=True)

    def _start(self, pod: Obj, record: _Pod, container: Container, now_s: float) -> None:
        restarts = container.restarts + (1 if container.ended else 0)
        try:
            command = self.commands.starting(pod, record.address, container, restarts)
            handle = self._runner.start(command)
        except NoCommandError as error:
            self._pull_failed(pod, container, str(error), now_s)
            return
        except MissingError as error:
            container.waiting = ("CreateContainerConfigError", str(error))
            container.not_before_s = now_s + 1.0
            self._client.event(pod, "Failed", f"Error: {error}", warning=True)
            return
        except OSError as error:
            container.waiting = ("RunContainerError", str(error))
            container.not_before_s = now_s + self._settings.backoff_s
            self._client.event(pod, "Failed", f"Error: {error}", warning=True)
            return
        container.handle, container.restarts = handle, restarts
        container.exit_code, container.held = None, False
        container.started_s = now_s
        container.ready = not container.init and "readinessProbe" not in container.spec
        self._client.event(pod, "Started", f"Started container {container.name}")

    def inside(self, pod: Obj, name: str, words: Sequence[str]) -> Command:
        """A command in the surroundings of a running container.

        Raises:
            ApiError: 400, there is no such container, it does not run, or no command.
        """
        record = self._pods.get((namespace_of(pod), name_of(pod)))
        found = [c for c in (record.all if record else ()) if c.name == name and c.running]
        if record is None or not found or not words:
            why = "no command is given" if found else f"container {name} does not run"
            raise bad_request(f"pod {name_of(pod)}: {why}")
        try:
            return self.commands.beside(pod, record.address, found[0], words)
        except (MissingError, NoCommandError) as error:
            raise bad_request(str(error)) from error

    def _probe(self, record: _Pod, container: Container, now_s: float) -> None:
        wanted: Obj = container.spec.get("readinessProbe") or {}
        probe = probe_of(wanted, container.spec, record.address)
        if probe is None:
            container.ready = not container.init
            return
        first_s = container.started_s + wanted.get("initialDelaySeconds", 0)
        asked_s = record.asked_s.get(container.name, 0.0)
        period_s = wanted.get("periodSeconds", 10) if container.ready else 0.2
        if now_s < max(first_s, asked_s + period_s):
            return
        answer = self._prober.ask(f"{record.uid}/{container.name}/{container.restarts}", probe)
        if answer is not None:
            record.asked_s[container.name] = now_s
            container.ready = answer

    def _report(self, pod: Obj, record: _Pod) -> None:
        now = time_text(self._client.clock.unix_s())
        containers = (record.inits, record.mains)
        current = self._client.store.get("pods", namespace_of(pod), name_of(pod))
        if current is not None:
            status = pod_status(current, containers, record.address, now)
            self._client.set_status("pods", current, status)
