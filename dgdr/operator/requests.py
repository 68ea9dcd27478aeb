"""The controller of DynamoGraphDeploymentRequests: snapshot, decision, actions."""

from __future__ import annotations

from dgdr.convert.plain import section
from dgdr.enums import Phase
from dgdr.operator.api import Reader
from dgdr.operator.apply import Applier
from dgdr.operator.clock import Clock
from dgdr.operator.hardware import HardwareReader
from dgdr.operator.passes import Passes
from dgdr.operator.resources import (
    CLAIMS,
    CONFIG_MAPS,
    GRAPHS,
    JOBS,
    PODS,
    REQUESTS,
    Resource,
)
from dgdr.reconcile.actions import Json, Now, Outcome
from dgdr.reconcile.deploying import side_documents
from dgdr.reconcile.names import NAME_LABEL, NAMESPACE_LABEL, POD_LABEL, job_name, output_name
from dgdr.reconcile.request import needs_facts, reconcile_request
from dgdr.reconcile.settings import OperatorSettings
from dgdr.reconcile.snapshot import RequestSnapshot, dgd_name
from dgdr.reconcile.times import to_text

# What is followed: kinds, and the label that an object must have.
REQUEST_SOURCES = (
    (REQUESTS, ""),
    (JOBS, NAME_LABEL),
    (CONFIG_MAPS, NAME_LABEL),
    (PODS, POD_LABEL),
    (GRAPHS, NAME_LABEL),
)


class RequestController:
    """Works on one request at a time.

    Args:
        reader: the API itself.
        cache: what informers of ``REQUEST_SOURCES`` have seen, or the API again.
    """

    def __init__(
        self,
        reader: Reader,
        cache: Reader,
        applier: Applier,
        hardware: HardwareReader,
        clock: Clock,
        settings: OperatorSettings,
    ) -> None:
        self._passes = Passes(reader, cache, applier)
        self._hardware = hardware
        self._clock = clock
        self._settings = settings

    def process(self, key: str) -> float | None:
        """One pass over the request ``namespace/name``; returns when to look again.

        Raises:
            ApiError: the pass has to be repeated.
        """
        return self._passes.run(key, lambda reader: self._decide(reader, key))

    def _decide(self, reader: Reader, key: str) -> Outcome | None:
        namespace, _, name = key.partition("/")
        request = _get(reader, REQUESTS, namespace, name)
        if request is None:
            return None
        unix_s = self._clock.unix_s()
        now = Now(unix_s=unix_s, text=to_text(unix_s))
        return reconcile_request(self._snapshot(reader, request), self._settings, now)

    def _snapshot(self, reader: Reader, request: Json) -> RequestSnapshot:
        """Everything the next decision needs."""
        name, namespace = request["metadata"]["name"], request["metadata"]["namespace"]
        phase = section(request, "status").get("phase")
        starting = phase in (None, Phase.PENDING.value)
        profiling = phase == Phase.PROFILING.value
        deploying = phase in (Phase.DEPLOYING.value, Phase.DEPLOYED.value)
        job = output = None
        pods: tuple[Json, ...] = ()
        if starting or profiling:
            # The output is read after the Job: a complete Job has written it before.
            job = _get(reader, JOBS, namespace, job_name(name))
            output = _get(reader, CONFIG_MAPS, namespace, output_name(name))
        if profiling:
            pods = reader.list(PODS, namespace, f"{POD_LABEL}={name}").items
        claim = section(request, "spec", "modelCache").get("pvcName")
        wants_facts = self._settings.discovery and needs_facts(request)
        return RequestSnapshot(
            request=request,
            job=job,
            output=output,
            pods=pods,
            deployment=_deployment(reader, request) if deploying else None,
            side_maps=_side_maps(reader, request) if deploying else (),
            claim_found=not (starting and claim) or _has_claim(reader, namespace, str(claim)),
            cluster=self._hardware.facts() if wants_facts else None,
        )


def _deployment(reader: Reader, request: Json) -> Json | None:
    status = section(request, "status")
    name = status.get("dgdName") or dgd_name(request)
    return _get(reader, GRAPHS, request["metadata"]["namespace"], str(name))


def _side_maps(reader: Reader, request: Json) -> tuple[Json, ...]:
    namespace = request["metadata"]["namespace"]
    names = [item["metadata"]["name"] for item in side_documents(request)]
    found = (_get(reader, CONFIG_MAPS, namespace, name) for name in names)
    return tuple(item for item in found if item is not None)


def _has_claim(reader: Reader, namespace: str, name: str) -> bool:
    return _get(reader, CLAIMS, namespace, name) is not None


def _get(reader: Reader, resource: Resource, namespace: str, name: str) -> Json | None:
    return reader.get(resource.ref(namespace, name))


def request_keys(data: Json) -> list[str]:
    """Keys of the requests that an object concerns."""
    metadata = data["metadata"]
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace", "")
    if data["kind"] == REQUESTS.kind:
        return [f"{namespace}/{metadata['name']}"]
    if NAME_LABEL in labels:
        return [f"{labels.get(NAMESPACE_LABEL, namespace)}/{labels[NAME_LABEL]}"]
    if POD_LABEL in labels:
        return [f"{namespace}/{labels[POD_LABEL]}"]
    owners = metadata.get("ownerReferences") or []
    return [f"{namespace}/{o['name']}" for o in owners if o.get("kind") == REQUESTS.kind]
