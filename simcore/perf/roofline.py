"""Analytic step-time model of dense models with tensor parallelism.

Every operator costs a fixed launch time plus the smooth maximum of its compute and
its memory time (roofline, Williams et al. 2009). A mixed step is priced as one
fused batch: all tokens share the GEMMs, each prompt chunk pays for its own causal
attention, and decodes pay for reading their own KV cache.

Costs are integers of femtoseconds, rounded once for each coefficient, so that the
sum over many steps has an exact closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.model import Dtype
from contracts.plan import EngineSpec
from contracts.ports import DecodeCost, PrefillChunk
from contracts.units import s_to_fs
from simcore.perf.host import host_cost

# Sharpness of the smooth maximum of compute and memory time.
_SMOOTH_POWER = 4.0
# Norm, rotary embedding, activation and cache-write kernels of one layer.
_ELEMENTWISE_KERNELS = 4
# Activation bytes moved by these kernels, in multiples of hidden and intermediate size.
_ELEMENTWISE_HIDDEN = 8
_ELEMENTWISE_INTERMEDIATE = 3


class RooflineTimer:
    """Answers :class:`contracts.ports.StepTimer` for one engine."""

    def __init__(self, engine: EngineSpec) -> None:
        _check(engine)
        self._engine = engine
        self._model = engine.model
        self._gpu = engine.gpu
        self._eff = engine.gpu.efficiencies
        self._weight_bytes = engine.weight_dtype.bytes_per_element
        self._gemm_flops = _gemm_flops(engine)
        self._memory_rate = engine.gpu.memory_tbytes_per_s * 1e12
        self._linear_memo: dict[int, int] = {}
        self._head_memo: dict[int, int] = {}
        self._decode_memo: dict[int, DecodeCost] = {}
        layers, kv_bytes = self._model.layers, engine.kv_dtype.bytes_per_element
        kv_heads = max(1, self._model.kv_heads // engine.tp)
        token_bytes = 2 * layers * kv_heads * self._model.head_dim * kv_bytes
        attention_rate = self._memory_rate * self._eff.attention_memory_ratio
        self._slope_fs = s_to_fs(token_bytes / attention_rate)
        flops_per_pair = 4 * layers * (self._model.heads // engine.tp) * self._model.head_dim
        attention_flops = engine.gpu.bf16_tflops * 1e12 * self._eff.attention_compute_ratio
        # Twice the causal pairs of a chunk are new * (2 * past + new).
        self._pair_fs = s_to_fs(flops_per_pair / attention_flops / 2 * 1024)
        launch_us = layers * (
            self._eff.attention_kernel_us + _ELEMENTWISE_KERNELS * self._eff.kernel_us / 2
        )
        host = host_cost(engine.backend)
        self._fixed_fs = s_to_fs((launch_us + host.step_us) * 1e-6)
        self._request_fs = s_to_fs(host.request_us * 1e-6)
        # A step with prompt work lasts at least as long as the host takes to launch it.
        self._launch_floor_fs = s_to_fs((layers * host.prefill_layer_us + host.step_us) * 1e-6)

    @property
    def evidence(self) -> Evidence:
        """As good as the efficiencies of the GPU."""
        return self._gpu.evidence

    def decode_cost(self, requests: int) -> DecodeCost:
        """Cost line of a decode-only step, see :class:`contracts.ports.StepTimer`."""
        cost = self._decode_memo.get(requests)
        if cost is None:
            base = self._fixed_fs + self._linear_fs(requests) + self._head_fs(requests)
            base += self._request_fs * requests
            cost = self._decode_memo[requests] = DecodeCost(base, self._slope_fs)
        return cost

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        """Cost of one fused step, see :class:`contracts.ports.StepTimer`."""
        tokens = requests
        attention_fs = self._slope_fs * context_tokens
        for chunk in chunks:
            new, past = chunk.new_tokens, chunk.past_tokens
            tokens += new
            compute_fs = self._pair_fs * new * (2 * past + new) >> 10
            attention_fs += max(compute_fs, self._slope_fs * (past + new))
        rows = requests + len(chunks)
        step_fs = self._fixed_fs + self._linear_fs(tokens) + self._head_fs(rows) + attention_fs
        if chunks:
            step_fs = max(step_fs, self._launch_floor_fs)
        return step_fs + self._request_fs * rows

    def _linear_fs(self, tokens: int) -> int:
        """Everything in the layers that depends on the number of tokens only."""
        cost = self._linear_memo.get(tokens)
        if cost is None:
            cost = self._linear_memo[tokens] = s_to_fs(self._model.layers * self._layer_s(tokens))
        return cost

    def _layer_s(self, tokens: int) -> float:
        model, tp = self._model, self._engine.tp
        q_width = model.heads * model.head_dim // tp
        kv_width = max(1, model.kv_heads // tp) * model.head_dim
        inter = model.intermediate // tp
        gemms = (
            (model.hidden, q_width + 2 * kv_width),
            (q_width, model.hidden),
            (model.hidden, 2 * inter),
            (inter, model.hidden),
        )
        gemm_s = sum(self._gemm_s(tokens, k, n) for k, n in gemms)
        moved = _ELEMENTWISE_HIDDEN * model.hidden + _ELEMENTWISE_INTERMEDIATE * inter
        elementwise_s = 2 * tokens * moved / (self._memory_rate * self._eff.gemm_memory_ratio)
        return gemm_s + elementwise_s + 2 * self._allreduce_s(2 * tokens * model.hidden)

    def _gemm_s(self, m: int, k: int, n: int) -> float:
        compute_s = 2.0 * m * k * n / self._gemm_flops
        moved = self._weight_bytes * k * n + 2 * m * (k + n)
        memory_s = moved / (self._memory_rate * self._eff.gemm_memory_ratio)
        longest, shortest = max(compute_s, memory_s), min(compute_s, memory_s)
        smooth: float = (1.0 + (shortest / longest) ** _SMOOTH_POWER) ** (1.0 / _SMOOTH_POWER)
        return self._eff.kernel_us * 1e-6 + longest * smooth

    def _allreduce_s(self, size_bytes: float) -> float:
        tp = self._engine.tp
        if tp == 1:
            return 0.0
        fixed_us = self._eff.allreduce_us + self._eff.allreduce_peer_us * (tp - 1)
        rate = self._gpu.intra_node_gbytes_per_s * 1e9 * self._eff.link_ratio
        return fixed_us * 1e-6 + 2 * (tp - 1) / tp * size_bytes / rate

    def _head_fs(self, rows: int) -> int:
        cost = self._head_memo.get(rows)
        if cost is None:
            seconds = self._gemm_s(rows, self._model.hidden, self._model.vocab // self._engine.tp)
            cost = self._head_memo[rows] = s_to_fs(seconds)
        return cost


def roofline(engine: EngineSpec) -> RooflineTimer:
    """The analytic step timer of one engine.

    Raises:
        InputError: the tensor-parallel size does not divide the model or the node.
        UnsupportedError: 8-bit weights or KV cache on a GPU that has no such arithmetic.
    """
    return RooflineTimer(engine)


def _gemm_flops(engine: EngineSpec) -> float:
    """Rate that large GEMMs reach; 8-bit without a data-sheet rate has been refused."""
    ratios, fp8_tflops = engine.gpu.efficiencies, engine.gpu.fp8_tflops
    if engine.weight_dtype is Dtype.FP8 and fp8_tflops is not None:
        return fp8_tflops * 1e12 * ratios.fp8_compute_ratio
    return engine.gpu.bf16_tflops * 1e12 * ratios.gemm_compute_ratio


def _check(engine: EngineSpec) -> None:
    model, tp = engine.model, engine.tp
    uses_fp8 = Dtype.FP8 in (engine.weight_dtype, engine.kv_dtype)
    if uses_fp8 and engine.gpu.fp8_tflops is None:
        raise UnsupportedError(f"{engine.gpu.sku} has no 8-bit floating point")
    heads_divide = model.heads % tp == 0 and (model.kv_heads % tp == 0 or tp % model.kv_heads == 0)
    if tp < 1 or not heads_divide or tp > engine.gpu.gpus_per_node:
        raise InputError(
            f"tensor-parallel size must divide {model.heads} heads and {model.kv_heads} KV heads "
            f"and fit a node of {engine.gpu.gpus_per_node} GPUs",
            path="tp",
            value=str(tp),
        )
