"""Reads what the cluster says about its GPUs: nodes, DCGM exporters, RDMA drivers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import httpx

from dgdr.operator.api import ApiError, Reader
from dgdr.operator.clock import Clock
from dgdr.operator.resources import NODES, PODS
from dgdr.reconcile.actions import Json
from dgdr.reconcile.hardware import ClusterFacts

_log = logging.getLogger(__name__)
EXPORTER_SELECTORS = (
    "app=nvidia-dcgm-exporter",
    "app=dcgm-exporter",
    "app.kubernetes.io/name=dcgm-exporter",
)
METRICS_TEMPLATE = "http://{ip}:9400/metrics"
_NETWORK_NAMESPACE = "nvidia-network-operator"
_CACHE_S = 60.0
_SCRAPE_S = 5.0

Scrape = Callable[[str], str | None]


def scrape_http(url: str) -> str | None:
    """The text behind a URL, None when it cannot be had."""
    try:
        answer = httpx.get(url, timeout=_SCRAPE_S)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        _log.warning("DCGM exporter %s: %s", url, error)
        return None
    return answer.text


class HardwareReader:
    """Facts about the GPUs of the cluster, at most a minute old.

    Args:
        template: URL of an exporter's metrics, with ``{ip}`` for the pod's address.
    """

    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        *,
        template: str = METRICS_TEMPLATE,
        scrape: Scrape = scrape_http,
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._template = template
        self._scrape = scrape
        self._facts: ClusterFacts | None = None
        self._read_s = 0.0

    def facts(self) -> ClusterFacts:
        """The facts; a refusal is one of them.

        Raises:
            ApiError: the API cannot be reached or has trouble of its own.
        """
        now_s = self._clock.steady_s()
        if self._facts is None or now_s - self._read_s >= _CACHE_S:
            self._facts, self._read_s = self._read(), now_s
        return self._facts

    def _read(self) -> ClusterFacts:
        try:
            nodes = self._reader.list(NODES).items
        except ApiError as error:
            if not error.refused:
                raise
            return ClusterFacts(refused=error.message or str(error))
        return ClusterFacts(
            nodes=nodes, metrics=tuple(self._metrics()), rdma_pods=self._has_rdma_pods()
        )

    def _metrics(self) -> Iterable[tuple[str, str]]:
        seen: set[str] = set()
        for selector in EXPORTER_SELECTORS:
            for pod in self._pods(None, selector):
                status = pod.get("status") or {}
                address = status.get("podIP")
                if not address or address in seen or status.get("phase") != "Running":
                    continue
                seen.add(address)
                text = self._scrape(self._template.replace("{ip}", address))
                if text is not None:
                    yield str((pod.get("spec") or {}).get("nodeName") or address), text

    def _has_rdma_pods(self) -> bool:
        pods = self._pods(_NETWORK_NAMESPACE, "")
        return any("rdma" in pod["metadata"]["name"] for pod in pods)

    def _pods(self, namespace: str | None, selector: str) -> tuple[Json, ...]:
        try:
            return self._reader.list(PODS, namespace, selector).items
        except ApiError as error:
            if not (error.refused or error.missing):
                raise
            return ()
