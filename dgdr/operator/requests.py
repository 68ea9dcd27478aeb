"""The controller of DynamoGraphDeploymentRequests: snapshot, decision, actions."""

from __future__ import annotations

from dgdr.convert.plain import section
from dgdr.enums import Phase
from dgdr.operator.api import Reader
from dgdr.operator.apply import Applier
from dgdr.operator.clock import Clock
from dgdr.operator.hardware import HardwareReader
from dgdr.operator.resources import (
    CLAIMS,
    CONFIG_MAPS,
    GRAPHS,
    JOBS,
    PODS,
    REQUESTS,
    Resource,
)
from dgdr.reconcile.actions import Json, Now, Ref
from dgdr.reconcile.deploying import side_documents
from dgdr.reconcile.names import NAME_LABEL, NAMESPACE_LABEL, POD_LABEL, job_name, output_name
from dgdr.reconcile.request import needs_facts, reconcile_request
from dgdr.reconcile.settings import OperatorSettings
from dgdr.reconcile.snapshot import RequestSnapshot, dgd_name
from dgdr.reconcile.times import to_text


class RequestController:
    """Works on one request at a time."""

    def __init__(
        self,
        reader: Reader,
        applier: Applier,
        hardware: HardwareReader,
        clock: Clock,
        settings: OperatorSettings,
    ) -> None:
        self._reader = reader
        self._applier = applier
        self._hardware = hardware
        self._clock = clock
        self._settings = settings

    def process(self, key: str) -> float | None:
        """One pass over the request ``namespace/name``; returns when to look again.

        Raises:
            ApiError: the pass has to be repeated.
        """
        namespace, _, name = key.partition("/")
        request = self._get(REQUESTS, namespace, name)
        if request is None:
            return None
        unix_s = self._clock.unix_s()
        now = Now(unix_s=unix_s, text=to_text(unix_s))
        outcome = reconcile_request(self._snapshot(request), self._settings, now)
        self._applier.apply(outcome.actions)
        return outcome.requeue_after_s

    def _snapshot(self, request: Json) -> RequestSnapshot:
        """Everything the next decision needs, read from the API itself and not from a cache."""
        name, namespace = request["metadata"]["name"], request["metadata"]["namespace"]
        phase = section(request, "status").get("phase")
        starting = phase in (None, Phase.PENDING.value)
        profiling = phase == Phase.PROFILING.value
        deploying = phase in (Phase.DEPLOYING.value, Phase.DEPLOYED.value)
        job = output = None
        pods: tuple[Json, ...] = ()
        if starting or profiling:
            # The output is read after the Job: a complete Job has written it before.
            job = self._get(JOBS, namespace, job_name(name))
            output = self._get(CONFIG_MAPS, namespace, output_name(name))
        if profiling:
            pods = self._reader.list(PODS, namespace, f"{POD_LABEL}={name}").items
        claim = section(request, "spec", "modelCache").get("pvcName")
        wants_facts = self._settings.discovery and needs_facts(request)
        return RequestSnapshot(
            request=request,
            job=job,
            output=output,
            pods=pods,
            deployment=self._deployment(request) if deploying else None,
            side_maps=self._side_maps(request) if deploying else (),
            claim_found=not (starting and claim) or self._has_claim(namespace, str(claim)),
            cluster=self._hardware.facts() if wants_facts else None,
        )

    def _deployment(self, request: Json) -> Json | None:
        status = section(request, "status")
        name = status.get("dgdName") or dgd_name(request)
        return self._get(GRAPHS, request["metadata"]["namespace"], str(name))

    def _side_maps(self, request: Json) -> tuple[Json, ...]:
        namespace = request["metadata"]["namespace"]
        names = [item["metadata"]["name"] for item in side_documents(request)]
        found = (self._get(CONFIG_MAPS, namespace, name) for name in names)
        return tuple(item for item in found if item is not None)

    def _has_claim(self, namespace: str, name: str) -> bool:
        return self._get(CLAIMS, namespace, name) is not None

    def _get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self._reader.get(
            Ref(
                api_version=resource.api_version,
                kind=resource.kind,
                namespace=namespace,
                name=name,
            )
        )


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
