"""Deployments with a planner on a cluster: the request, the planner's files, load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes_kit import Kubectl, running_cluster, running_operator

from contracts.streams import RandomStreams
from contracts.workload import Workload
from harness.load import LoadResult, LoadTarget, WallClock, run_load
from simcore.workload import BurstArrivals, Lengths, synthesize

MODEL = "meta-llama/Llama-3.1-70B-Instruct"
GPUS_PER_REPLICA = 2
TTFT_MS, ITL_MS = 2000.0, 50.0


def planned_request(name: str, budget_gpus: int, **planner: Any) -> dict[str, Any]:
    """A request whose deployment has a planner with these further settings."""
    settings = {
        "enabled": True,
        "throughput_adjustment_interval_seconds": 2,
        "startup_s": 5,
        "scale_down_hold_s": 6,
        "max_gpu_budget": budget_gpus,
        # Planned with a reserve: what runs here shares its cores with the client.
        "ttft_ms": TTFT_MS,
        "itl_ms": 0.8 * ITL_MS,
        **planner,
    }
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": name},
        "spec": {
            "model": MODEL,
            "image": "ai-dynamo/dynamo-planner:1.2.1",
            "backend": "vllm",
            "searchStrategy": "rapid",
            "sla": {"ttft": TTFT_MS, "itl": ITL_MS},
            "workload": {"isl": 2000, "osl": 100, "requestRate": 1},
            "hardware": {"gpuSku": "h200_sxm", "numGpusPerNode": 8, "totalGpus": budget_gpus},
            "features": {"planner": settings},
        },
    }


@contextlib.contextmanager
def deployed(folder: Path, requests: Sequence[dict[str, Any]]) -> Iterator[Kubectl]:
    """A cluster of its own in which all these requests are deployed."""
    with running_cluster(folder / "c") as kubeconfig:
        found = Kubectl(kubeconfig=kubeconfig, home=str(folder), namespace="default")
        with running_operator(found, folder / "operator.log"):
            found("create", "secret", "generic", "hf-token-secret", "--from-literal=HF_TOKEN=none")
            found("apply", "-f", "-", text=yaml.safe_dump_all(requests))
            for request in requests:
                found.wait_phase(request["metadata"]["name"], "Deployed")
            yield found


def planner_files(kubectl: Kubectl, graph: str, folder: Path) -> None:
    """Write what the planner's pod has mounted: its settings and the curves."""
    spec = kubectl.read("deployment", f"{graph}-planner")["spec"]["template"]["spec"]
    for volume in spec["volumes"]:
        if "configMap" in volume:
            data = kubectl.read("configmap", volume["configMap"]["name"])["data"]
            for key, text in data.items():
                (folder / key).write_text(text)


def burst(arrivals: BurstArrivals, duration_s: float) -> Workload:
    """Prompts of 2000 tokens and answers of 100."""
    return synthesize(
        arrivals,
        duration_s=duration_s,
        isl=Lengths(mean=2000),
        osl=Lengths(mean=100),
        streams=RandomStreams(7),
    )


def played(kubectl: Kubectl, graph: str, workload: Workload) -> LoadResult:
    """What clients of the deployment's Service saw."""
    address = kubectl.read("service", f"{graph}-frontend")["spec"]["clusterIP"]
    return asyncio.run(
        run_load(
            LoadTarget(base_url=f"http://{address}:8000", model=MODEL),
            workload,
            speed=1.0,
            clock=WallClock(),
            timeout_s=60.0,
        )
    )
