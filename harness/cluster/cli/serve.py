"""The server process behind ``harness cluster up``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cluster.certificate import certificate
from harness.cluster.cli.options import Backoff, Evict, GpuCount, Images, NodeCount, Port, Sku
from harness.cluster.cli.place import READY, Place
from harness.cluster.cluster import ClusterSettings
from harness.cluster.control.nodes import Inventory
from harness.cluster.kubeconfig import kubeconfig_text
from harness.cluster.node.images import DEFAULT_RULES, load_rules
from harness.cluster.server import free_port, serve
from simcore.perf.gpus import gpu_spec


def serve_cluster(  # noqa: PLR0913  # options of a command line
    folder: Annotated[Path, typer.Option(help="Folder of the cluster.")],
    nodes: NodeCount = 2,
    gpus_per_node: GpuCount = 8,
    sku: Sku = "h200_sxm",
    images: Images = None,
    port: Port = 0,
    durable: Annotated[bool, typer.Option("--durable", help="Keep objects.")] = False,
    backoff_s: Backoff = 1.0,
    evict_s: Evict = 30.0,
) -> None:
    """Serve in the foreground until interrupted."""
    place = Place(folder.resolve())
    token = place.token()
    number = port or free_port()
    url = f"https://127.0.0.1:{number}"
    tls = certificate(place.folder)
    settings = ClusterSettings(
        folder=place.folder,
        durable=durable,
        token=token,
        url=url,
        authority=tls.text(),
        inventory=_inventory(nodes, gpus_per_node, sku),
        rules=DEFAULT_RULES if images is None else (*load_rules(images), *DEFAULT_RULES),
        backoff_s=backoff_s,
        evict_s=evict_s,
    )

    def ready() -> None:
        place.kubeconfig.touch(mode=0o600)
        place.kubeconfig.write_text(
            kubeconfig_text(url, token, authority=tls.text()), encoding="utf-8"
        )
        sys.stdout.write(f"{READY}{url}\n")
        sys.stdout.flush()

    asyncio.run(serve(settings, number, tls, ready))


def _inventory(nodes: int, gpus_per_node: int, sku: str) -> Inventory:
    memory_mib = int(gpu_spec(sku).memory_gib * 1024)
    return Inventory(nodes=nodes, gpus_per_node=gpus_per_node, sku=sku, memory_mib=memory_mib)
