"""Which GPUs a cluster has: labels, DCGM exporters, filters, limits."""

from __future__ import annotations

import pytest
from dgdr_fake_api import FakeApi, VirtualClock

from contracts.errors import InputError
from dgdr.enums import GpuSku
from dgdr.operator.api import ApiError
from dgdr.operator.hardware import HardwareReader
from dgdr.reconcile.hardware import ClusterFacts, discover, sku_of_product


def _node(
    name: str, product: str = "NVIDIA-H200", count: object = 8, memory: object = 143771, **more
):
    labels = {
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory),
        **{key.replace("__", "/").replace("_", "."): value for key, value in more.items()},
    }
    return {"metadata": {"name": name, "namespace": "", "labels": labels}}


def _facts(*nodes, **more) -> ClusterFacts:
    return ClusterFacts(nodes=nodes, **more)


def _exporter(product: str, gpus: int, *, links: int = 0, total: bool = True) -> str:
    lines = ["# HELP DCGM_FI_DEV_SM_CLOCK SM clock", ""]
    for gpu in range(gpus):
        labels = f'gpu="{gpu}",UUID="GPU-{gpu}",modelName="{product}",Hostname="n"'
        if total:
            lines.append(f"DCGM_FI_DEV_FB_TOTAL{{{labels}}} 81559")
        else:
            lines.append(f"DCGM_FI_DEV_FB_USED{{{labels}}} 1559")
            lines.append(f"DCGM_FI_DEV_FB_FREE{{{labels}}} 80000")
        lines.append(f"DCGM_FI_DEV_NVLINK_COUNT{{{labels}}} {links}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("product", "sku"),
    [
        ("NVIDIA-GB200", "gb200_sxm"),
        ("NVIDIA-B200", "b200_sxm"),
        ("NVIDIA-B300-SXM6-AC", "b300_sxm"),
        ("NVIDIA-H200", "h200_sxm"),
        ("NVIDIA-H100-80GB-HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA-H100-NVL", "h100_pcie"),
        ("NVIDIA-A100-SXM4-80GB", "a100_sxm"),
        ("NVIDIA-A100-80GB-PCIe", "a100_pcie"),
        ("NVIDIA-A100-PCIE-40GB", "a100_pcie"),
        ("NVIDIA-A30", "a30"),
        ("NVIDIA-L40S", "l40s"),
        ("NVIDIA-L40", "l40"),
        ("NVIDIA-L4", "l4"),
        ("Tesla-V100-SXM2-32GB", "v100_sxm"),
        ("Tesla-V100-PCIE-16GB", "v100_pcie"),
        ("Tesla-T4", "t4"),
        ("AMD-Instinct-MI300X", "mi300"),
        ("AMD Instinct MI250X", "mi200"),
        ("NVIDIA-GB10", "gb10"),
        ("NVIDIA-RTX-A6000", None),
        ("NVIDIA-H2000", None),
        ("", None),
    ],
)
def test_products(product, sku):
    assert sku_of_product(product) == (None if sku is None else GpuSku(sku))


def test_from_labels():
    found = discover({}, _facts(_node("a"), _node("b"), {"metadata": {"name": "cpu"}}))
    assert found == {
        "gpuSku": "h200_sxm",
        "vramMb": 143771,
        "numGpusPerNode": 8,
        "totalGpus": 16,
        "interconnect": "nvlink",
        "rdma": False,
    }


def test_the_total_is_capped():
    assert discover({}, _facts(*(_node(f"n{i}") for i in range(9))))["totalGpus"] == 32


def test_given_values_stay():
    given = {"totalGpus": 64, "vramMb": 1000, "rdma": True}
    found = discover(given, _facts(*(_node(f"n{i}") for i in range(9))))
    assert set(found) == {"gpuSku", "numGpusPerNode", "interconnect"}


@pytest.mark.parametrize("broken", [{"count": 0}, {"count": "x"}, {"memory": -5}, {"product": ""}])
def test_nodes_without_all_labels_do_not_count(broken):
    assert discover({}, _facts(_node("a"), _node("b", **broken)))["totalGpus"] == 8
    with pytest.raises(InputError, match="no node with GPUs was found"):
        discover({}, _facts(_node("b", **broken)))


def test_only_nodes_of_one_sku_count():
    nodes = [_node("a", "NVIDIA-L4", 1, 23034), _node("b", "NVIDIA-L4", 1, 23034), _node("c")]
    found = discover({}, _facts(*nodes))
    assert (found["gpuSku"], found["totalGpus"], found["interconnect"]) == ("l4", 2, "pcie")
    found = discover({"gpuSku": "h200_sxm"}, _facts(*nodes))
    assert "gpuSku" not in found
    assert (found["totalGpus"], found["numGpusPerNode"]) == (8, 8)
    tie = discover({}, _facts(*nodes[1:]))
    assert tie["gpuSku"] == "h200_sxm"


def test_a_filter_without_nodes():
    with pytest.raises(InputError) as caught:
        discover({"gpuSku": "t4"}, _facts(_node("a")))
    assert caught.value.path == "spec.hardware.gpuSku"
    assert caught.value.allowed == "h200_sxm"
    assert discover({"gpuSku": "t4", "numGpusPerNode": 4}, _facts(_node("a"))) == {}


def test_the_alias_of_gb200():
    found = discover({"gpuSku": "gb200"}, _facts(_node("a", "NVIDIA-GB200", 4, 189471)))
    assert found["numGpusPerNode"] == 4


def test_unknown_products_are_never_written():
    with pytest.raises(InputError) as caught:
        discover({}, _facts(_node("a", "NVIDIA-Z1")))
    assert caught.value.value == "NVIDIA-Z1"
    assert "h100_sxm" in caught.value.allowed
    assert discover({}, _facts(_node("a", "NVIDIA-Z1"), _node("b")))["totalGpus"] == 8


def test_exporters_come_first():
    metrics = (("a", _exporter("NVIDIA H100 80GB HBM3", 8, links=18)), ("b", "garbage {"))
    found = discover({}, _facts(_node("a"), metrics=metrics))
    assert found["gpuSku"] == "h100_sxm"
    assert (found["vramMb"], found["numGpusPerNode"], found["interconnect"]) == (81559, 8, "nvlink")
    unlinked = (("a", _exporter("NVIDIA H100 80GB HBM3", 2, total=False)),)
    found = discover({}, _facts(metrics=unlinked))
    assert (found["vramMb"], found["interconnect"]) == (81559, "pcie")


@pytest.mark.parametrize(
    "labels",
    [
        {"nvidia_com__rdma_present": "true"},
        {"feature_node_kubernetes_io__network-sriov_capable": "true"},
    ],
)
def test_rdma_from_labels(labels):
    assert discover({}, _facts(_node("a", **labels)))["rdma"] is True
    assert discover({}, _facts(_node("a"), rdma_pods=True))["rdma"] is True


def test_without_rights():
    refused = ClusterFacts(refused="nodes is forbidden")
    with pytest.raises(InputError, match="nodes is forbidden") as caught:
        discover({"numGpusPerNode": 8}, refused)
    assert caught.value.path == "spec.hardware.gpuSku"
    assert discover({"numGpusPerNode": 8, "gpuSku": "l4"}, refused) == {}


class TestReading:
    def _pod(self, api, name, namespace, ip="", **labels):
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        status = {"phase": "Running", "podIP": ip}
        spec = {"nodeName": "a"}
        base = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        api.create({**base, "spec": spec, "status": status})

    def test_facts_are_read_once_a_minute(self):
        clock = VirtualClock()
        api = FakeApi(clock)
        api.create({"apiVersion": "v1", "kind": "Node", **_node("a")})
        self._pod(api, "dcgm-1", "gpu", "10.0.0.1", app="nvidia-dcgm-exporter")
        self._pod(api, "dcgm-2", "gpu", "10.0.0.2", **{"app.kubernetes.io/name": "dcgm-exporter"})
        self._pod(api, "rdma-shared", "nvidia-network-operator")
        asked = []

        def scrape(url):
            asked.append(url)
            return "text" if url.endswith("1:9/m") else None

        reader = HardwareReader(api, clock, template="http://{ip}:9/m", scrape=scrape)
        facts = reader.facts()
        assert asked == ["http://10.0.0.1:9/m", "http://10.0.0.2:9/m"]
        assert facts.metrics == (("a", "text"),)
        assert facts.rdma_pods is True
        assert len(facts.nodes) == 1
        clock.now_s += 59
        assert reader.facts() is facts
        clock.now_s += 1
        assert reader.facts() is not facts

    def test_trouble_is_not_taken_for_a_refusal(self, monkeypatch):
        clock = VirtualClock()
        api = FakeApi(clock)
        codes = [503, 403]

        def refuse(*_):
            raise ApiError(codes[0], "", "no")

        monkeypatch.setattr(api, "list", refuse)
        reader = HardwareReader(api, clock)
        with pytest.raises(ApiError):
            reader.facts()
        codes[0] = 403
        assert reader.facts() == ClusterFacts(refused="no")
