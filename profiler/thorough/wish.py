"""A DGDR reduced to what the measured search needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.engine import Backend
from contracts.errors import InputError
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.sla import OptimizationType, SlaTarget
from dgdr import Backend as RequestBackend
from dgdr import Dgdr
from profiler.core.request import ConcurrencyLoad, PickMode, RateLoad
from profiler.dgdr.search_request import SearchWish, search_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Model, hardware, workload and targets of one search.

    Attributes:
        total_gpus: GPUs that the deployment may use.
        isl, osl: tokens of a prompt and of an answer.
        rate_per_s, concurrency: the load, at most one of them.
        latency_first: prefer low latency among what meets the targets.
    """

    name: str
    model: ModelArchitecture
    gpu: GpuSpec
    backend: Backend
    total_gpus: int
    gpus_per_node: int
    isl: int
    osl: int
    sla: SlaTarget
    mode: PickMode
    rate_per_s: float | None = None
    concurrency: float | None = None
    latency_first: bool = False
    weight_dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16


def wish_of(
    dgdr: Dgdr, model_config: Mapping[str, Any] | None = None, gpu: GpuSpec | None = None
) -> Wish:
    """Read a request.

    Args:
        dgdr: a validated request.
        model_config: content of a local ``config.json``; without it the model must be bundled.
        gpu: facts to use in place of those of the request's gpuSku.

    Raises:
        InputError: the backend is ``auto``, or GPU or model are missing or unknown.
    """
    spec = dgdr.spec
    if spec.backend is RequestBackend.AUTO:
        raise InputError(
            "THOROUGH search strategy does not support 'auto' backend, each candidate is deployed",
            path="spec.backend",
            value="auto",
            allowed="vllm, sglang, trtllm",
        )
    found = search_request(dgdr, SearchWish(model_config=model_config, own_gpu=gpu))
    rate = found.load.requests_per_s if isinstance(found.load, RateLoad) else None
    in_flight = found.load.requests if isinstance(found.load, ConcurrencyLoad) else None
    plain = PickMode.DEFAULT if found.load is None else PickMode.LOAD_MATCH
    return Wish(
        name=dgdr.metadata.name,
        model=found.model,
        gpu=found.gpu,
        backend=Backend(spec.backend.value),
        total_gpus=found.total_gpus,
        gpus_per_node=found.gpus_per_node,
        isl=found.isl,
        osl=found.osl,
        sla=found.sla,
        mode=PickMode.AUTOSCALE if _scales(dgdr) else plain,
        rate_per_s=rate,
        concurrency=in_flight,
        latency_first=found.preference is OptimizationType.LATENCY,
        weight_dtype=found.precision.weights,
        kv_dtype=found.precision.kv,
    )


def _scales(dgdr: Dgdr) -> bool:
    """Whether a planner with any kind of scaling joins the deployment."""
    planner = dgdr.spec.planner
    if planner is None:
        return False
    switches = ("enable_throughput_scaling", "enable_load_scaling")
    return not all(planner.get(name) is False for name in switches)
