"""The controller of DynamoGraphDeployments: snapshot, decision, actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from dgdr.convert.plain import section
from dgdr.operator.api import Reader
from dgdr.operator.apply import Applier
from dgdr.operator.clock import Clock
from dgdr.operator.passes import Passes
from dgdr.operator.resources import (
    ADAPTERS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    GRAPHS,
    SERVICES,
    WORKER_SETS,
    Resource,
)
from dgdr.reconcile.actions import Json, Now, Outcome
from dgdr.reconcile.graph import GraphSnapshot, reconcile_graph
from dgdr.reconcile.settings import OperatorSettings
from dgdr.reconcile.times import to_text
from dgdr.reconcile.workloads import GRAPH_LABEL, component_labels

# What is followed: kinds, and the label that an object must have.
GRAPH_SOURCES = (
    (GRAPHS, ""),
    (DEPLOYMENTS, GRAPH_LABEL),
    (SERVICES, GRAPH_LABEL),
    (ADAPTERS, GRAPH_LABEL),
)


class Catalog(Protocol):
    """Knows what an API serves."""

    def serves(self, resource: Resource) -> bool:
        """Whether the API knows a group and version."""
        ...


class GraphController:
    """Works on one deployment at a time.

    Args:
        reader: the API itself.
        cache: what informers of ``GRAPH_SOURCES`` have seen, or the API again.
    """

    def __init__(
        self,
        reader: Reader,
        cache: Reader,
        catalog: Catalog,
        applier: Applier,
        clock: Clock,
        settings: OperatorSettings,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._catalog = catalog
        self._passes = Passes(reader, cache, applier)
        self._clock = clock

    def process(self, key: str) -> float | None:
        """One pass over the deployment ``namespace/name``; returns when to look again.

        Raises:
            ApiError: the pass has to be repeated.
        """
        return self._passes.run(key, lambda reader: self._decide(reader, key))

    def _decide(self, reader: Reader, key: str) -> Outcome | None:
        namespace, _, name = key.partition("/")
        graph = reader.get(GRAPHS.ref(namespace, name))
        if graph is None:
            return None
        unix_s = self._clock.unix_s()
        now = Now(unix_s=unix_s, text=to_text(unix_s))
        return reconcile_graph(
            self._snapshot(reader, graph), now, setup_access=self._settings.setup_access
        )

    def _snapshot(self, reader: Reader, graph: Json) -> GraphSnapshot:
        namespace, name = graph["metadata"]["namespace"], graph["metadata"]["name"]
        selector = component_labels(name)

        names = [f"{name}-{part['name'].lower()}" for part in graph["spec"]["components"]]

        def by_name(resource: Resource) -> dict[str, Json]:
            items = reader.list(resource, namespace, selector).items
            found = {item["metadata"]["name"]: item for item in items}
            for missing in names:  # an object of somebody else has no label of ours
                other = None if missing in found else reader.get(resource.ref(namespace, missing))
                if other is not None:
                    found[missing] = other
            return found

        wide = any(part.get("multinode") for part in graph["spec"]["components"])
        sets = wide and self._catalog.serves(WORKER_SETS)
        maps = sorted(set(_mounted_maps(graph)))
        missing = [m for m in maps if not self._has_map(reader, namespace, m)]
        return GraphSnapshot(
            graph=graph,
            deployments=by_name(DEPLOYMENTS),
            worker_sets=by_name(WORKER_SETS) if sets else {},
            services=by_name(SERVICES),
            adapters=by_name(ADAPTERS),
            leader_worker_sets=sets,
            missing_maps=tuple(missing),
        )

    def _has_map(self, reader: Reader, namespace: str, name: str) -> bool:
        """Maps of other people are in no cache: what it does not know is looked up."""
        ref = CONFIG_MAPS.ref(namespace, name)
        found = reader.get(ref)
        if found is None and reader is not self._reader:
            found = self._reader.get(ref)
        return found is not None


def _mounted_maps(graph: Json) -> Iterator[str]:
    for component in graph["spec"]["components"]:
        for volume in section(component, "podTemplate", "spec").get("volumes") or []:
            name = section(volume, "configMap").get("name")
            if name:
                yield str(name)


def graph_keys(data: Json) -> list[str]:
    """Keys of the deployments that an object concerns."""
    metadata = data["metadata"]
    namespace = metadata.get("namespace", "")
    if data["kind"] == GRAPHS.kind:
        return [f"{namespace}/{metadata['name']}"]
    name = (metadata.get("labels") or {}).get(GRAPH_LABEL)
    return [f"{namespace}/{name}"] if name else []
