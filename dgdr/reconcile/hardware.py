"""Which GPUs a cluster has, from DCGM exporters or from node labels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.errors import InputError
from dgdr.enums import GpuSku, Interconnect
from dgdr.reconcile.actions import Json
from dgdr.reconcile.settings import GPU_CAP

_PATH = "spec.hardware"
_RDMA_LABELS = (
    "nvidia.com/rdma.present",
    "feature.node.kubernetes.io/network-sriov.capable",
)
_METRIC = re.compile(r"^(\w+)\{(.*)\}\s+([0-9.eE+-]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# Product words in the order in which they are looked for; longer names come first.
_FAMILIES: tuple[tuple[str, str | None, str | None], ...] = (
    ("gb200", "gb200_sxm", "gb200_sxm"),
    ("gb10", "gb10", "gb10"),
    ("b300", "b300_sxm", "b300_sxm"),
    ("b200", "b200_sxm", "b200_sxm"),
    ("h200", "h200_sxm", None),
    ("h100", "h100_sxm", "h100_pcie"),
    ("a100", "a100_sxm", "a100_pcie"),
    ("a30", "a30", "a30"),
    ("l40s", "l40s", "l40s"),
    ("l40", "l40", "l40"),
    ("l4", "l4", "l4"),
    ("v100", "v100_sxm", "v100_pcie"),
    ("t4", "t4", "t4"),
    ("mi300x", "mi300", "mi300"),
    ("mi300", "mi300", "mi300"),
    ("mi300a", "mi300", "mi300"),
    ("mi250x", "mi200", "mi200"),
    ("mi250", "mi200", "mi200"),
    ("mi210", "mi200", "mi200"),
    ("mi200", "mi200", "mi200"),
)
_PCIE_WORDS = {"pcie", "nvl"}
_ALIASES = {GpuSku.GB200: GpuSku.GB200_SXM}
_LINKED = {GpuSku.GB200, GpuSku.VR_NVL72}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What was read from the cluster for one request.

    Attributes:
        nodes: Node objects; None when they may not be read.
        metrics: text of DCGM exporters by the node they run on.
        rdma_pods: pods of an RDMA driver run in the network operator's namespace.
        refused: why nodes may not be read.
    """

    nodes: tuple[Json, ...] | None = None
    metrics: tuple[tuple[str, str], ...] = ()
    rdma_pods: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    name: str
    sku: GpuSku | None
    product: str
    gpus: int
    vram_mib: float
    links: bool | None


def sku_of_product(product: str) -> GpuSku | None:
    """The SKU of a GPU product name such as ``NVIDIA-H100-80GB-HBM3``, None if unknown."""
    words = set(re.split(r"[^a-z0-9]+", product.lower()))
    for word, sxm, pcie in _FAMILIES:
        if word in words:
            found = pcie if words & _PCIE_WORDS else sxm
            return GpuSku(found) if found is not None else None
    return None


def missing_hardware(hardware: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of ``spec.hardware`` that profiling cannot do without and that are absent."""
    return tuple(key for key in ("gpuSku", "numGpusPerNode") if hardware.get(key) is None)


def wants_discovery(hardware: Mapping[str, Any]) -> bool:
    """Whether anything is absent that a look at the cluster can fill in."""
    keys = ("gpuSku", "vramMb", "numGpusPerNode", "totalGpus", "interconnect", "rdma")
    return any(hardware.get(key) is None for key in keys)


def discover(hardware: Mapping[str, Any], facts: ClusterFacts) -> Json:
    """The absent keys of ``spec.hardware``, filled in from the cluster.

    A discovered ``totalGpus`` is at most 32; only nodes of one SKU count: those of the
    given gpuSku, else the SKU with most nodes, then with most memory.

    Raises:
        InputError: the keys that profiling needs cannot be found.
    """
    needed = missing_hardware(hardware)
    if facts.nodes is None:
        if not needed:
            return {}
        raise InputError(
            f"nodes cannot be read ({facts.refused or 'discovery is off'}), so GPUs cannot be "
            "discovered",
            path=f"{_PATH}.{needed[0]}",
            value="nothing",
            allowed=f"give {' and '.join(f'{_PATH}.{key}' for key in needed)}",
        )
    found = list(_from_metrics(facts.metrics)) or list(_from_labels(facts.nodes))
    try:
        chosen = _choose(found, hardware.get("gpuSku"))
    except InputError:
        if needed:
            raise
        return {}
    filled = _describe(chosen, facts)
    return {key: value for key, value in filled.items() if hardware.get(key) is None}


def _choose(found: Sequence[_Node], wanted: object) -> list[_Node]:
    if not found:
        raise InputError(
            "no node with GPUs was found",
            path=f"{_PATH}.gpuSku",
            value="nothing",
            allowed="nodes labelled nvidia.com/gpu.count, .product and .memory, a DCGM exporter, "
            "or the hardware given in the request",
        )
    if wanted is not None:
        sku = _plain(GpuSku(str(wanted)))
        same = [node for node in found if node.sku is not None and _plain(node.sku) == sku]
        if same:
            return same
        raise InputError(
            "no node has this GPU",
            path=f"{_PATH}.gpuSku",
            value=str(wanted),
            allowed=", ".join(sorted({_shown(node) for node in found})),
        )
    known = [node for node in found if node.sku is not None]
    if not known:
        raise InputError(
            "the GPUs of this cluster are of a kind that is not known",
            path=f"{_PATH}.gpuSku",
            value=", ".join(sorted({node.product for node in found})),
            allowed=", ".join(GpuSku),
        )
    counts = Counter(node.sku for node in known)
    best = max(known, key=lambda n: (counts[n.sku], n.vram_mib, str(n.sku)))
    return [node for node in known if node.sku == best.sku]


def _describe(nodes: Sequence[_Node], facts: ClusterFacts) -> Json:
    sku = nodes[0].sku
    if sku is None:
        return {}
    metered = [node.links for node in nodes if node.links is not None]
    linked = any(metered) if metered else sku.value.endswith("_sxm") or sku in _LINKED
    return {
        "gpuSku": sku.value,
        "vramMb": max(node.vram_mib for node in nodes),
        "numGpusPerNode": max(node.gpus for node in nodes),
        "totalGpus": min(sum(node.gpus for node in nodes), GPU_CAP),
        "interconnect": (Interconnect.NVLINK if linked else Interconnect.PCIE).value,
        "rdma": facts.rdma_pods or any(_has_rdma(node) for node in facts.nodes or ()),
    }


def _from_labels(nodes: Iterable[Mapping[str, Any]]) -> Iterator[_Node]:
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        count, memory = (
            _positive(labels.get(f"nvidia.com/gpu.{key}")) for key in ("count", "memory")
        )
        product = labels.get("nvidia.com/gpu.product")
        if count and memory and product:
            yield _Node(
                name=node["metadata"]["name"],
                sku=sku_of_product(product),
                product=product,
                gpus=count,
                vram_mib=memory,
                links=None,
            )


def _from_metrics(exporters: Iterable[tuple[str, str]]) -> Iterator[_Node]:
    for host, text in exporters:
        gpus: dict[str, dict[str, float]] = defaultdict(dict)
        products: dict[str, str] = {}
        for line in text.splitlines():
            match = _METRIC.match(line)
            if match is None:
                continue
            labels = dict(_LABEL.findall(match[2]))
            key = labels.get("UUID") or labels.get("gpu")
            if key and labels.get("modelName"):
                gpus[key][match[1]] = float(match[3])
                products[key] = labels["modelName"]
        by_product: dict[str, list[dict[str, float]]] = defaultdict(list)
        for key, values in gpus.items():
            by_product[products[key]].append(values)
        for product, all_values in sorted(by_product.items()):
            vram_mib = max(_vram_mib(values) for values in all_values)
            if vram_mib > 0:
                yield _Node(
                    name=host,
                    sku=sku_of_product(product),
                    product=product,
                    gpus=len(all_values),
                    vram_mib=vram_mib,
                    links=any(_link_count(values) > 0 for values in all_values),
                )


def _vram_mib(values: Mapping[str, float]) -> float:
    total = values.get("DCGM_FI_DEV_FB_TOTAL")
    parts = ("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_RESERVED")
    return total if total else sum(values.get(part, 0.0) for part in parts)


def _link_count(values: Mapping[str, float]) -> float:
    found = [v for k, v in values.items() if "NVLINK" in k and k.endswith("COUNT")]
    return max(found, default=0.0)


def _has_rdma(node: Mapping[str, Any]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return any(labels.get(label) == "true" for label in _RDMA_LABELS)


def _positive(text: object) -> int:
    """A whole number above 0, else 0."""
    return int(str(text)) if re.fullmatch(r"[0-9]{1,9}", str(text)) else 0


def _plain(sku: GpuSku) -> GpuSku:
    return _ALIASES.get(sku, sku)


def _shown(node: _Node) -> str:
    return node.sku.value if node.sku else node.product
