"""Step times from AIConfigurator's kernel tables (extra ``aic``, aiconfigurator-core 0.12.0).

Each engine is asked once on a grid of lone prompts and decode steps, then its answers are
interpolated like a user's table. The package is imported when step times are asked for and
used through ``EngineHandle`` only: ``compile``, ``predict_prefill_latency(bs, isl, prefix)``
with a total length that includes the prefix, and ``predict_decode_latency(bs, isl)``, a step
at a context of ``isl + 1``.

Its times are GPU times without scheduler and host; nothing is added here. The adapter was
tested against a stand-in with this interface, not against the package.
"""

from __future__ import annotations

import importlib
from typing import Any

from contracts.engine import Backend
from contracts.errors import UnsupportedError
from contracts.hardware import Evidence
from contracts.model import Dtype
from contracts.plan import EngineSpec
from contracts.ports import TimerFactory
from simcore.perf.interpolated import InterpolatedTimer
from simcore.perf.table import DecodeRow, PrefillRow, StepTable, refuse_special, table_times

# Error of two thirds of its decode steps, estimated from its published comparisons.
ERROR_RATIO = 0.25
_TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384)
_PASTS = (0, 2048, 8192, 32_768)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_CONTEXTS = (128, 1024, 4096, 16_384)
_SYSTEMS = {"gb200_sxm": "gb200"}
# Versions of the engines that 0.12.0 has tables of.
_VERSIONS = {Backend.VLLM: "0.24.0", Backend.SGLANG: "0.5.14", Backend.TRTLLM: "1.3.0rc20"}
_A100_VERSIONS = {Backend.VLLM: "0.14.0", Backend.SGLANG: "0.5.10", Backend.TRTLLM: "1.0.0"}
_MODES = {Dtype.BF16: "bfloat16", Dtype.FP8: "fp8", Dtype.FP4: "nvfp4"}


def aic_times(backend_version: str | None = None) -> TimerFactory:
    """Step times by AIConfigurator.

    Args:
        backend_version: version of the engine; by default the newest one with tables.

    The result raises :class:`UnsupportedError` for an engine that it has no tables for.

    Raises:
        UnsupportedError: the package is not installed.
    """
    try:
        sdk = importlib.import_module("aiconfigurator_core.sdk")
    except ImportError as error:
        raise UnsupportedError(
            "step times 'aic' need AIConfigurator, which is not installed: install the extra "
            f"'aic', python -m pip install -e '.[aic]'; {error}"
        ) from error
    known: dict[tuple[object, ...], InterpolatedTimer] = {}

    def timer_for(engine: EngineSpec) -> InterpolatedTimer:
        refuse_special(engine, "AIConfigurator")
        key = (
            engine.model.model_id, engine.gpu.sku, engine.tp, engine.ep, engine.backend,
            engine.weight_dtype, engine.kv_dtype,
        )  # fmt: skip
        if key not in known:
            table = _grid(_compiled(sdk, engine, backend_version), engine)
            factory = table_times(
                {engine.tp: table}, evidence=Evidence.CALIBRATED, error_ratio=ERROR_RATIO
            )
            timer = factory(engine)
            assert isinstance(timer, InterpolatedTimer)
            known[key] = timer
        return known[key]

    return timer_for


def _compiled(sdk: Any, engine: EngineSpec, version: str | None) -> Any:  # noqa: ANN401
    """An engine of the package; its errors have no common base."""
    sku, backend = engine.gpu.sku, engine.backend
    versions = _A100_VERSIONS if sku.startswith("a100") else _VERSIONS
    modes = {}
    if engine.weight_dtype is not Dtype.BF16:
        modes["gemm_quant_mode"] = _MODES[engine.weight_dtype]
    if engine.kv_dtype is not Dtype.BF16:
        modes["kvcache_quant_mode"] = _MODES[engine.kv_dtype]
    try:
        return sdk.EngineHandle.compile(
            engine.model.model_id,
            _SYSTEMS.get(sku, sku),
            backend.value,
            backend_version=version or versions[backend],
            tp_size=engine.tp,
            pp_size=1,
            attention_dp_size=1,
            moe_tp_size=engine.tp // engine.ep,
            moe_ep_size=engine.ep,
            **modes,
        )
    except Exception as error:  # they have no common base
        raise _unsupported(engine, error) from error


def _grid(handle: Any, engine: EngineSpec) -> StepTable:  # noqa: ANN401
    longest = engine.model.max_position
    try:
        prefill = tuple(
            PrefillRow(
                tokens, past, float(handle.predict_prefill_latency(1, past + tokens, past)) / 1e3
            )
            for tokens in _TOKENS
            for past in _PASTS
            if past + tokens <= longest
        )
        decode = tuple(
            DecodeRow(
                requests,
                context,
                float(handle.predict_decode_latency(requests, context - 1)) / 1e3,
            )
            for requests in _BATCHES
            for context in _CONTEXTS
            if context <= longest
        )
    except Exception as error:  # they have no common base
        raise _unsupported(engine, error) from error
    return StepTable(prefill, decode)


def _unsupported(engine: EngineSpec, error: Exception) -> UnsupportedError:
    return UnsupportedError(
        f"AIConfigurator has no step times for {engine.model.model_id} with tp {engine.tp} on "
        f"{engine.gpu.sku}, {engine.backend.value}: {type(error).__name__}: {error}"
    )
