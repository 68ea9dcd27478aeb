"""The server process behind ``harness cluster up``."""

from __future__ import annotations

import asyncio
import sys

from contracts.exits import end_with_stdin
from harness.cluster.certificate import certificate
from harness.cluster.cli.options import ServeOptions
from harness.cluster.cli.place import READY, Place
from harness.cluster.cluster import ClusterSettings
from harness.cluster.control.nodes import Inventory
from harness.cluster.kubeconfig import kubeconfig_text
from harness.cluster.node.images import DEFAULT_RULES, load_rules
from harness.cluster.server import free_port, serve
from simcore.perf.gpus import gpu_spec


def serve_cluster(given: ServeOptions) -> None:
    """Serve in the foreground until interrupted."""
    if given.until_stdin_ends:
        end_with_stdin()
    place = Place(given.folder.resolve())
    token = place.token()
    number = given.port or free_port()
    url = f"https://127.0.0.1:{number}"
    tls = certificate(place.folder)
    own_rules = () if given.images is None else load_rules(given.images)
    settings = ClusterSettings(
        folder=place.folder,
        durable=given.durable,
        token=token,
        url=url,
        authority=tls.text(),
        inventory=_inventory(given),
        rules=(*own_rules, *DEFAULT_RULES),
        backoff_s=given.backoff_s,
        evict_s=given.evict_s,
    )

    def ready() -> None:
        place.kubeconfig.touch(mode=0o600)
        place.kubeconfig.write_text(
            kubeconfig_text(url, token, authority=tls.text()), encoding="utf-8"
        )
        sys.stdout.write(f"{READY}{url}\n")
        sys.stdout.flush()

    asyncio.run(serve(settings, number, tls, ready))


def _inventory(given: ServeOptions) -> Inventory:
    return Inventory(
        nodes=given.nodes,
        gpus_per_node=given.gpus_per_node,
        sku=given.sku,
        memory_mib=int(gpu_spec(given.sku).memory_gib * 1024),
    )
