"""Reads a DGDR as a search request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from contracts.errors import InputError, UnsupportedError
from contracts.hardware import GpuSpec
from contracts.model import ModelArchitecture
from contracts.units import BYTES_PER_GIB, BYTES_PER_MIB
from dgdr import Dgdr, SearchStrategy
from profiler.core.request import ConcurrencyLoad, RateLoad, SearchRequest
from simcore.perf import architecture, architecture_from_config, gpu_spec


def search_request(
    dgdr: Dgdr, model_config: Mapping[str, Any] | None, own_gpu: GpuSpec | None = None
) -> SearchRequest:
    """What the search needs to know.

    Args:
        dgdr: a validated request.
        model_config: content of a local ``config.json``; without it the model must be bundled.
        own_gpu: facts to use in place of those of the DGDR's gpuSku.

    Raises:
        InputError: the GPU or the model is missing or unknown.
        UnsupportedError: the thorough strategy.
    """
    spec = dgdr.spec
    if spec.search_strategy is not SearchStrategy.RAPID:
        raise UnsupportedError(
            "spec.searchStrategy: thorough is not available yet, this version profiles rapid"
        )
    gpu = _gpu(dgdr, own_gpu)
    per_node = spec.hardware.num_gpus_per_node or gpu.gpus_per_node
    workload = spec.workload
    load: RateLoad | ConcurrencyLoad | None = None
    if workload.request_rate_per_s is not None:
        load = RateLoad(requests_per_s=float(workload.request_rate_per_s))
    elif workload.concurrency is not None:
        load = ConcurrencyLoad(requests=float(workload.concurrency))
    return SearchRequest(
        model=_model(spec.model, model_config),
        gpu=replace(gpu, gpus_per_node=per_node),
        total_gpus=spec.hardware.total_gpus or per_node,
        gpus_per_node=per_node,
        isl=workload.isl,
        osl=workload.osl,
        load=load,
        sla=spec.sla.target,
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
            error.message, path="spec.model", value=error.value, allowed=error.allowed
        ) from error
