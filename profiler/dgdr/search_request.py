"""Reads a DGDR as a search request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from contracts.engine import Backend
from contracts.errors import InputError
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import Fabric
from contracts.units import BYTES_PER_GIB, BYTES_PER_MIB
from contracts.workload import Workload
from dgdr import Dgdr, OptimizationType
from profiler.core.request import (
    ConcurrencyLoad,
    Load,
    PickMode,
    Precision,
    RateLoad,
    SearchRequest,
    Topology,
    TraceLoad,
    WhenInfeasible,
)
from simcore.perf import architecture, architecture_from_config, backend_defaults, gpu_spec
from simcore.perf.models import checkpoint_dtype

# Annotations of a request, each with an option of the command line that wins over it.
WHEN_INFEASIBLE = "rehearsal.dgdr/when-infeasible"
ALLOW_QUANTIZATION = "rehearsal.dgdr/allow-quantization"
# Besides the backend's default: long prompts then disturb decodes less.
_SMALL_STEP_TOKENS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchWish:
    """What is not in the spec of a DGDR; ``None`` leaves it to annotations or defaults.

    Attributes:
        model_config: content of a local ``config.json``; without it the model must be bundled.
        own_gpu: facts to use in place of those of the DGDR's gpuSku.
        trace: requests to serve in place of the declared load and lengths.
        when_infeasible: the closest candidate, or a failure.
        allow_quantization: also search weights and KV caches of other types than the
            checkpoint's.
    """

    model_config: Mapping[str, Any] | None = None
    own_gpu: GpuSpec | None = None
    trace: Workload | None = None
    when_infeasible: WhenInfeasible | None = None
    allow_quantization: bool | None = None


def search_request(dgdr: Dgdr, wish: SearchWish | None = None) -> SearchRequest:
    """What the search needs to know.

    Raises:
        InputError: the GPU or the model is missing or unknown, or an annotation is wrong.
        UnsupportedError: weights of a type that is not modelled.
    """
    wish = wish or SearchWish()
    spec = dgdr.spec
    gpu = _gpu(dgdr, wish.own_gpu)
    per_node = spec.hardware.num_gpus_per_node or gpu.gpus_per_node
    model = _model(spec.model, wish.model_config)
    precision = Precision(weights=checkpoint_dtype(spec.model, wish.model_config))
    trace, workload = wish.trace, spec.workload
    load = _load(dgdr, trace)
    return SearchRequest(
        model=model,
        gpu=replace(gpu, gpus_per_node=per_node),
        total_gpus=spec.hardware.total_gpus or per_node,
        gpus_per_node=per_node,
        isl=workload.isl if trace is None else round(float(trace.isl.mean())),
        osl=workload.osl if trace is None else round(float(trace.osl.mean())),
        longest_tokens=0 if trace is None else int((trace.isl + trace.osl).max()),
        load=load,
        sla=spec.sla.target,
        step_tokens={backend: _step_tokens(backend, gpu) for backend in _backends(dgdr)},
        precision=precision,
        variants=_variants(precision, gpu) if _quantizes(dgdr, wish) else (),
        alternatives=() if _quantizes(dgdr, wish) else _variants(precision, gpu),
        mode=_mode(dgdr, load),
        preference=spec.sla.optimization_type or OptimizationType.THROUGHPUT,
        topologies=_topologies(dgdr),
        when_infeasible=_policy(dgdr, wish),
    )


def fabric(dgdr: Dgdr) -> Fabric:
    """What joins the nodes: TCP where the request says that there is no RDMA."""
    return Fabric.TCP if dgdr.spec.hardware.rdma is False else Fabric.RDMA


def _load(dgdr: Dgdr, trace: Workload | None) -> Load | None:
    workload = dgdr.spec.workload
    if trace is not None:
        return TraceLoad(workload=trace)
    if workload.request_rate_per_s is not None:
        return RateLoad(requests_per_s=float(workload.request_rate_per_s))
    if workload.concurrency is not None:
        return ConcurrencyLoad(requests=float(workload.concurrency))
    return None


def _mode(dgdr: Dgdr, load: Load | None) -> PickMode:
    if dgdr.spec.planner is not None:
        return PickMode.AUTOSCALE
    return PickMode.DEFAULT if load is None else PickMode.LOAD_MATCH


def _topologies(dgdr: Dgdr) -> tuple[Topology, ...]:
    """Both, unless the settings of the planner are for one of them."""
    mode = (dgdr.spec.planner or {}).get("mode")
    if mode is None:
        return tuple(Topology)
    return (Topology.AGG,) if mode == "agg" else (Topology.DISAGG,)


def _backends(dgdr: Dgdr) -> tuple[Backend, ...]:
    wanted = dgdr.spec.backend.value
    return tuple(Backend) if wanted == "auto" else (Backend(wanted),)


def _step_tokens(backend: Backend, gpu: GpuSpec) -> tuple[int, ...]:
    default = backend_defaults(backend, gpu).max_num_batched_tokens
    return tuple(dict.fromkeys((default, _SMALL_STEP_TOKENS)))


def _variants(stored: Precision, gpu: GpuSpec) -> tuple[Precision, ...]:
    """Smaller types that the GPU computes with; each changes what the model answers."""
    if gpu.fp8_tflops is None:
        return ()
    found = [Precision(weights=stored.weights, kv=Dtype.FP8)]
    if stored.weights is Dtype.BF16:
        found += [Precision(weights=Dtype.FP8, kv=kv) for kv in (Dtype.BF16, Dtype.FP8)]
    return tuple(found)


def _quantizes(dgdr: Dgdr, wish: SearchWish) -> bool:
    if wish.allow_quantization is not None:
        return wish.allow_quantization
    text = dgdr.metadata.annotations.get(ALLOW_QUANTIZATION, "false")
    if text not in ("true", "false"):
        raise _bad_annotation(ALLOW_QUANTIZATION, text, "true, false")
    return text == "true"


def _policy(dgdr: Dgdr, wish: SearchWish) -> WhenInfeasible:
    if wish.when_infeasible is not None:
        return wish.when_infeasible
    text = dgdr.metadata.annotations.get(WHEN_INFEASIBLE, WhenInfeasible.CLOSEST.value)
    if text not in list(WhenInfeasible):
        raise _bad_annotation(WHEN_INFEASIBLE, text, ", ".join(WhenInfeasible))
    return WhenInfeasible(text)


def _bad_annotation(key: str, value: str, allowed: str) -> InputError:
    return InputError(
        "is unknown", path=f"metadata.annotations[{key}]", value=value, allowed=allowed
    )


def _gpu(dgdr: Dgdr, own_gpu: GpuSpec | None) -> GpuSpec:
    hardware = dgdr.spec.hardware
    gpu = own_gpu or _known_gpu(dgdr)
    if hardware.vram_mib is not None:
        memory_gib = hardware.vram_mib * BYTES_PER_MIB / BYTES_PER_GIB
        gpu = replace(gpu, memory_gib=memory_gib)
    return gpu


def _known_gpu(dgdr: Dgdr) -> GpuSpec:
    hardware = dgdr.spec.hardware
    if hardware.gpu_sku is None:
        raise InputError(
            "must be given, there is no cluster here to discover it from",
            path="spec.hardware.gpuSku",
        )
    try:
        return gpu_spec(hardware.gpu_sku.value)
    except InputError as error:
        raise InputError(
            error.message, path="spec.hardware.gpuSku", value=error.value, allowed=error.allowed
        ) from error


def _model(model_id: str, config: Mapping[str, Any] | None) -> ModelArchitecture:
    if config is not None:
        return architecture_from_config(model_id, config)
    try:
        return architecture(model_id)
    except InputError as error:
        raise InputError(
            f"{error.message}, --model-config FILE (on a cluster: the model in spec.modelCache)",
            path="spec.model", value=error.value, allowed=error.allowed,
        ) from error  # fmt: skip
