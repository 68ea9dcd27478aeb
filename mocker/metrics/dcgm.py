"""GPUs as DCGM's exporter shows them; utilisation and memory follow the load of the pools.

Names and units are those of dcgm-exporter's default counters. Power is interpolated between
an idle and a full GPU, so it is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from contracts.observation import ClusterSnapshot, WorkerState
from contracts.plan import DeploymentPlan

_LABELS = ("gpu", "UUID", "device", "modelName", "Hostname", "pod", "namespace")
_IDLE_SHARE, _FULL_WATTS = 0.15, 700.0
_BUSY = (WorkerState.READY, WorkerState.DRAINING)
# What a worker holds of its memory besides KV blocks, before a request comes.
_WEIGHTS_SHARE = 0.5


def gpu_families(plan: DeploymentPlan, snapshot: ClusterSnapshot) -> Iterator[Metric]:
    """One sample of each family for each GPU of each worker that runs."""
    names = {
        "DCGM_FI_DEV_GPU_UTIL": "GPU utilization (in %).",
        "DCGM_FI_DEV_FB_USED": "Framebuffer memory used (in MiB).",
        "DCGM_FI_DEV_FB_FREE": "Framebuffer memory free (in MiB).",
        "DCGM_FI_DEV_POWER_USAGE": "Power draw (in W).",
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "Ratio of time the graphics engine is active.",
    }
    families = {name: GaugeMetricFamily(name, text, labels=_LABELS) for name, text in names.items()}
    number = 0
    loads = {load.role: load for load in snapshot.loads}
    for worker in snapshot.workers:
        engine = plan.pool(worker.role).engine
        load = loads.get(worker.role)
        busy = worker.state in _BUSY and load is not None and load.running_requests > 0
        usage = load.kv_usage_ratio if load is not None and worker.state in _BUSY else 0.0
        total_mib = engine.gpu.memory_gib * 1024
        held = worker.state in _BUSY
        used_mib = total_mib * (_WEIGHTS_SHARE + (0.9 - _WEIGHTS_SHARE) * usage) if held else 0.0
        for _ in range(engine.gpus):
            labels = (
                str(number), f"GPU-{number:08d}", f"nvidia{number}", engine.gpu.sku,
                "mocker", worker.worker_id, "default",
            )  # fmt: skip
            share = 1.0 if busy else 0.0
            watts = _FULL_WATTS * (_IDLE_SHARE + (1 - _IDLE_SHARE) * share)
            values = (100 * share, used_mib, total_mib - used_mib, watts, share)
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric(labels, value)
            number += 1
    yield from families.values()
