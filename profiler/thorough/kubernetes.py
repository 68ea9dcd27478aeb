"""Deployer ``kubernetes``: each candidate is a DynamoGraphDeployment of its own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.errors import PermanentError
from dgdr import Dgdr
from dgdr.graph import GRAPH_KIND
from dgdr.operator.api import ApiError, Listing
from dgdr.operator.clock import Clock
from dgdr.operator.resources import GRAPHS, PODS, Resource
from dgdr.reconcile.actions import Json, Ref
from dgdr.request import API_VERSION
from profiler.dgdr.files import write_text
from profiler.thorough.capacity import kv_capacity
from profiler.thorough.log import ProfileLog
from profiler.thorough.manifest import PROFILING_LABEL, candidate_graph, graph_text, owner_of
from profiler.thorough.options import Identity
from profiler.thorough.pods import Trouble, troubles
from profiler.thorough.ports import CandidateError, Order, OutputError, Served

GRAPH_LABEL = "nvidia.com/dynamo-graph-deployment-name"
COMPONENT_LABEL = "nvidia.com/dynamo-component"
SELECTOR_LABEL = "nvidia.com/selector"
# Troubles that may pass, such as an image that cannot be pulled, are waited for so long.
PATIENCE_S = 180.0
_GONE_LIMIT_S = 300.0
_POLL_MIN_S = 0.25
_DELETE_ATTEMPTS = 5
_LOG_TAIL = 500


class Cluster(Protocol):
    """What the deployer asks of a Kubernetes API; every method raises ApiError."""

    def get(self, ref: Ref) -> Json | None:
        """An object, None when it is not there."""
        ...

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        """All objects of a kind with these labels."""
        ...

    def create(self, data: Json) -> Json:
        """Create an object."""
        ...

    def delete(self, ref: Ref, uid: str) -> None:
        """Delete the object with this uid."""
        ...

    def log(self, pod: Ref, container: str, *, previous: bool = False) -> str:
        """What a container wrote."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """How to reach a deployment.

    Attributes:
        url_of: base URL of the frontend of a deployment in a namespace.
        answers: why a URL does not serve a model yet, ``None`` when it does.
        metrics: texts of /metrics at some base URLs; empty for those that have none.
    """

    url_of: Callable[[str, str], str]
    answers: Callable[[str, str], str | None]
    metrics: Callable[[list[str]], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, seconds; ``poll_s`` is the longest pause between two looks."""

    deployment_s: float = 3600.0
    poll_s: float = 20.0

    def next_s(self, waited_s: float) -> float:
        """The next pause: a tenth of what was waited so far."""
        return min(self.poll_s, max(_POLL_MIN_S, waited_s / 10))


class KubernetesDeployer:
    """Creates a deployment, waits until it answers, collects its logs, deletes it.

    Args:
        api: the cluster.
        dgdr: the request.
        identity: name, namespace and uid of the request in the cluster.
        doors: how to reach deployments.
        patience: how long to wait.
        clock: waits; tests put another one in its place.
        log: of the profiler.
        speed: of mockers in place of engines.
    """

    def __init__(  # noqa: PLR0913  # the parts of a deployer
        self,
        api: Cluster,
        dgdr: Dgdr,
        identity: Identity,
        doors: Doors,
        patience: Patience,
        clock: Clock,
        log: ProfileLog,
        *,
        speed: float = 1.0,
    ) -> None:
        self._api = api
        self._dgdr = dgdr
        self._identity = identity
        self._doors = doors
        self._patience = patience
        self._clock = clock
        self._log = log
        self._speed = speed
        self._never = threading.Event()

    def remove_leftovers(self) -> int:
        """Delete temporary deployments of an earlier run; returns how many there were.

        Raises:
            PermanentError: the cluster does not let us.
        """
        selector = f"{PROFILING_LABEL}={self._identity.name}"
        try:
            found = self._api.list(GRAPHS, self._identity.namespace, selector).items
        except ApiError as error:
            raise PermanentError(f"deployments cannot be listed: {error}") from error
        for graph in found:
            self._log.warning("left over: %s", graph["metadata"]["name"])
            self._remove(graph)
        return len(found)

    @contextmanager
    def running(self, order: Order) -> Iterator[Served]:
        """See the port; the deployment is deleted however the block ends."""
        name = self._name(order)
        owner = owner_of(self._identity)
        graph = candidate_graph(
            self._dgdr, order, name, self._identity, owner=owner, speed=self._speed
        )
        self._write(order, "config.yaml", graph_text(graph))
        created = self._create(graph)
        try:
            yield self._up(order, created)
        finally:
            try:
                self._collect(order, name)
            finally:
                self._remove(created)

    def _name(self, order: Order) -> str:
        content = f"{self._identity.uid}/{order.folder.name}/{order.role.value}/{order.label}"
        digits = hashlib.blake2b(content.encode(), digest_size=2).hexdigest()
        return f"{self._identity.name}-{digits}"

    def _create(self, graph: Json) -> Json:
        name = graph["metadata"]["name"]
        try:
            return self._api.create(graph)
        except ApiError as error:
            if error.status in (401, 403):
                raise PermanentError(f"deployments cannot be created: {error}") from error
            raise CandidateError(f"deployment {name} is refused: {error}") from error

    # -- coming up -------------------------------------------------------------------

    def _up(self, order: Order, graph: Json) -> Served:
        name, namespace = graph["metadata"]["name"], self._identity.namespace
        begin_s = self._clock.steady_s()
        self._wait_ready(Ref.of(graph), begin_s)
        url = self._doors.url_of(name, namespace)
        self._wait_answers(url, order.engine.model.model_id, begin_s)
        pods = self._pods(name)
        log = self._worker_log(pods)
        places = [url, *(f"http://{ip}:9090" for pod in pods if (ip := _address(pod)))]
        tokens, source = kv_capacity(order.engine, log, self._doors.metrics(places))
        waited_s = self._clock.steady_s() - begin_s
        self._log.info("%s: ready after %.0f s, %d KV tokens (%s)", name, waited_s, tokens, source)
        return Served(order=order, url=url, kv_tokens=tokens, kv_source=source, speed=self._speed)

    def _wait_ready(self, ref: Ref, begin_s: float) -> None:
        """Until the deployment is ready.

        Raises:
            CandidateError: it never will be, or not in time.
        """
        trouble_since_s: float | None = None
        while True:
            said = self._state(ref)
            if said is None:
                return
            found = self._troubles(ref.name)
            now_s = self._clock.steady_s()
            trouble_since_s = (trouble_since_s or now_s) if found else None
            if found and (found[0].certain or now_s - (trouble_since_s or now_s) >= PATIENCE_S):
                raise CandidateError(self._explain(found[0]))
            if now_s - begin_s >= self._patience.deployment_s:
                what = f"not ready after {self._patience.deployment_s:g} s: {said}"
                if found:
                    what += f"; {self._explain(found[0])}"
                raise CandidateError(what)
            self._clock.wait(self._never, self._patience.next_s(now_s - begin_s))

    def _state(self, ref: Ref) -> str | None:
        """What is missing, ``None`` when the deployment is ready; outages are waited for."""
        try:
            graph = self._api.get(ref)
        except ApiError as error:
            return f"the API does not answer: {error}"
        if graph is None:
            raise CandidateError(f"deployment {ref.name} was deleted by somebody else")
        status: Json = graph.get("status") or {}
        ready: Json = next(
            (c for c in status.get("conditions") or () if c.get("type") == "Ready"), {}
        )
        state = str(status.get("state", "unknown"))
        message = f"state {state}, {ready.get('message', 'no message')}"
        if state == "failed":
            raise CandidateError(f"the deployment failed: {message}")
        seen = int(status.get("observedGeneration") or 0)
        current = seen >= int(graph["metadata"].get("generation") or 0)
        done = state == "successful" and ready.get("status") == "True" and current
        return None if done else message

    def _wait_answers(self, url: str, model: str, begin_s: float) -> None:
        while (problem := self._doors.answers(url, model)) is not None:
            if self._clock.steady_s() - begin_s >= self._patience.deployment_s:
                raise CandidateError(f"the frontend does not serve {model}: {problem}")
            self._clock.wait(self._never, min(self._patience.poll_s, 1.0))

    def _troubles(self, name: str) -> list[Trouble]:
        try:
            return troubles(self._pods(name))
        except ApiError as error:
            self._log.warning("pods of %s cannot be listed: %s", name, error)
            return []

    def _explain(self, trouble: Trouble) -> str:
        where = f"pod {trouble.pod}" + (
            f", container {trouble.container}" if trouble.container else ""
        )
        text = f"{where}: {trouble.reason}"
        if not trouble.container:
            return text
        tail = self._log_of(trouble.pod, trouble.container, previous=trouble.previous)
        return f"{text}; last words: {tail[-_LOG_TAIL:].strip()}" if tail.strip() else text

    # -- logs ------------------------------------------------------------------------

    def _pods(self, name: str) -> list[Json]:
        selector = f"{GRAPH_LABEL}={name}"
        return list(self._api.list(PODS, self._identity.namespace, selector).items)

    def _worker_log(self, pods: list[Json]) -> str:
        """Logs of the workers, where an engine says how much KV cache it has."""
        return "\n".join(
            self._log_of(pod["metadata"]["name"], container["name"])
            for pod in pods
            if _component(pod).lower() != "frontend"
            for container in pod["spec"].get("containers") or ()
        )

    def _log_of(self, pod: str, container: str, *, previous: bool = False) -> str:
        ref = Ref(api_version="v1", kind="Pod", namespace=self._identity.namespace, name=pod)
        try:
            return self._api.log(ref, container, previous=previous)
        except ApiError as error:
            return "" if not previous else self._log_of(pod, container) or f"no log: {error}"

    def _collect(self, order: Order, name: str) -> None:
        """Write the logs of every pod to ``<deployment>/<component>/<i>.log``."""
        try:
            pods = self._pods(name)
        except ApiError as error:
            self._log.warning("logs of %s cannot be read: %s", name, error)
            return
        counts: dict[str, int] = {}
        for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
            component = _component(pod).lower()
            number = counts[component] = counts.get(component, -1) + 1
            text = "".join(
                self._log_of(pod["metadata"]["name"], container["name"])
                for container in pod["spec"].get("containers") or ()
            )
            self._write(order, f"{name}/{component}/{number}.log", text)

    def _write(self, order: Order, name: str, text: str) -> None:
        try:
            write_text(order.folder / name, text)
        except OSError as error:
            raise OutputError(f"{order.folder / name} cannot be written: {error}") from error

    # -- going away ------------------------------------------------------------------

    def _remove(self, graph: Json) -> None:
        """Delete a deployment and wait until its pods have given their GPUs back."""
        metadata = graph["metadata"]
        ref = Ref(
            api_version=API_VERSION,
            kind=GRAPH_KIND,
            namespace=self._identity.namespace,
            name=metadata["name"],
        )
        for attempt in range(1, _DELETE_ATTEMPTS + 1):
            try:
                self._api.delete(ref, metadata["uid"])
                break
            except ApiError as error:
                if error.missing:
                    break
                self._log.warning("%s cannot be deleted (%d): %s", ref.name, attempt, error)
                self._clock.wait(self._never, self._patience.poll_s)
        begin_s = self._clock.steady_s()
        while self._clock.steady_s() - begin_s < _GONE_LIMIT_S:
            try:
                if not self._pods(ref.name) and self._api.get(ref) is None:
                    return
            except ApiError as error:
                self._log.warning("%s: %s", ref.name, error)
            self._clock.wait(self._never, min(self._patience.poll_s, 0.5))
        self._log.warning("%s is not gone after %g s", ref.name, _GONE_LIMIT_S)


def _component(pod: Json) -> str:
    labels: dict[str, Any] = pod["metadata"].get("labels") or {}
    return str(labels.get(COMPONENT_LABEL) or labels.get(SELECTOR_LABEL) or "pod")


def _address(pod: Json) -> str:
    """The address of a worker pod, empty for others."""
    if _component(pod).lower() == "frontend":
        return ""
    return str((pod.get("status") or {}).get("podIP") or "")
