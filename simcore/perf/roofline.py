"""Analytic step-time model: dense and mixture-of-experts models, TP, PP, attention DP, EP.

A mixed step is priced as one fused batch: all tokens share the GEMMs, each prompt chunk
pays for its own causal attention, and decodes pay for reading their own KV cache. The
backend's host adds its own cost (``host.py``).

Costs are integers of femtoseconds, rounded once for each coefficient, so that the sum
over many steps has an exact closed form.

Pipeline stages work on equal micro-batches: a step of n requests lasts as long as the
whole model takes for n / pp of them, plus the hand-over between stages. Speculation is
priced by the token: one verification of all proposed tokens and their drafting, divided by
the tokens that it yields on average.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import InputError
from contracts.hardware import Evidence
from contracts.plan import EngineSpec
from contracts.ports import DecodeCost, PrefillChunk
from contracts.units import s_to_fs
from simcore.perf.host import host_cost
from simcore.perf.layers import Layers

# Norm, rotary embedding, activation and cache-write kernels of one layer.
_ELEMENTWISE_KERNELS = 4
NODES_MAX = 4
# Mixtures of experts and latent attention are known less well than dense models.
_SPECIAL_ERROR_FACTOR = 1.5


class RooflineTimer:
    """Answers :class:`contracts.ports.StepTimer` for one attention rank of an engine."""

    def __init__(self, engine: EngineSpec) -> None:
        _check(engine)
        self._engine = engine
        self._layers = Layers(engine)
        self._linear_memo: dict[int, int] = {}
        self._head_memo: dict[int, int] = {}
        self._decode_memo: dict[int, DecodeCost] = {}
        model, eff = engine.model, engine.gpu.efficiencies
        token_bytes, pair_flops = _attention_work(engine)
        memory_rate = engine.gpu.memory_tbytes_per_s * 1e12 * eff.attention_memory_ratio
        flops = engine.gpu.bf16_tflops * 1e12 * eff.attention_compute_ratio
        self._slope_fs = s_to_fs(token_bytes / memory_rate / engine.pp)
        # Twice the causal pairs of a chunk are new * (2 * past + new).
        self._pair_fs = s_to_fs(pair_flops / flops / 2 / engine.pp * 1024)
        launch_us = model.layers * (
            eff.attention_kernel_us + _ELEMENTWISE_KERNELS * eff.kernel_us / 2
        )
        host = host_cost(engine.backend)
        launch_us += model.moe_layers * host.expert_layer_us
        self._fixed_fs = s_to_fs(launch_us * 1e-6)
        self._host_fs = s_to_fs(host.step_us * 1e-6)
        self._request_fs = s_to_fs(host.request_us * 1e-6)
        # A step with prompt work lasts at least as long as the host takes to launch it.
        floor_us = model.layers * host.prefill_layer_us
        floor_us += model.moe_layers * host.expert_prefill_layer_us
        self._launch_floor_fs = s_to_fs(floor_us * 1e-6)
        self._overlap = engine.scheduling.overlaps_host

    @property
    def evidence(self) -> Evidence:
        """As good as the efficiencies of the GPU; mixtures of experts are estimated."""
        model = self._engine.model
        if model.experts or model.latent:
            return Evidence.ESTIMATED
        return self._engine.gpu.evidence

    @property
    def error_ratio(self) -> float:
        """Expected relative error of a step (0-1), two thirds of steps."""
        model = self._engine.model
        factor = _SPECIAL_ERROR_FACTOR if model.experts or model.latent else 1.0
        return self._engine.gpu.error_ratio * factor

    def decode_cost(self, requests: int) -> DecodeCost:
        """Cost line of a decode-only step, see :class:`contracts.ports.StepTimer`."""
        cost = self._decode_memo.get(requests)
        if cost is None:
            cost = self._decode_memo[requests] = self._new_decode_cost(requests)
        return cost

    def _new_decode_cost(self, requests: int) -> DecodeCost:
        speculation = self._engine.speculation
        if speculation is None:
            return DecodeCost(self._decode_base_fs(requests, requests), self._slope_fs)
        proposed = len(speculation.acceptance_ratios)
        verify_fs = self._decode_base_fs(requests * (1 + proposed), requests)
        draft_fs = speculation.draft_ratio * proposed * self._decode_base_fs(requests, requests)
        made = speculation.tokens_per_step
        return DecodeCost(round((verify_fs + draft_fs) / made), round(self._slope_fs / made))

    def _decode_base_fs(self, tokens: int, requests: int) -> int:
        gpu_fs = self._fixed_fs + self._linear_fs(tokens) + self._head_fs(tokens)
        return self._with_host(gpu_fs, requests, 0)

    def _with_host(self, gpu_fs: int, requests: int, floor_fs: int) -> int:
        """GPU time of a step plus or beside the host's work for it."""
        request_fs = self._request_fs * requests
        if self._overlap:
            return max(gpu_fs, floor_fs + self._host_fs) + request_fs
        return max(gpu_fs, floor_fs) + self._host_fs + request_fs

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        """Cost of one fused step, see :class:`contracts.ports.StepTimer`."""
        if not chunks:
            cost = self.decode_cost(requests)
            return cost.base_fs + cost.slope_fs * context_tokens
        tokens = requests
        attention_fs = self._slope_fs * context_tokens
        for new, past in chunks:
            tokens += new
            compute_fs = self._pair_fs * new * (2 * past + new) >> 10
            attention_fs += max(compute_fs, self._slope_fs * (past + new))
        rows = requests + len(chunks)
        gpu_fs = self._fixed_fs + self._linear_fs(tokens) + self._head_fs(rows) + attention_fs
        return self._with_host(gpu_fs, rows, self._launch_floor_fs)

    def _linear_fs(self, tokens: int) -> int:
        """Everything in the layers that depends on the number of tokens only."""
        cost = self._linear_memo.get(tokens)
        if cost is None:
            share = -(-tokens // self._engine.pp)
            seconds = self._layers.all_s(share) + self._layers.stages_s(share)
            cost = self._linear_memo[tokens] = s_to_fs(seconds)
        return cost

    def _head_fs(self, rows: int) -> int:
        cost = self._head_memo.get(rows)
        if cost is None:
            cost = self._head_memo[rows] = s_to_fs(self._layers.head_s(rows))
        return cost


def roofline(engine: EngineSpec) -> RooflineTimer:
    """The analytic step timer of one engine.

    Raises:
        InputError: a parallel size does not fit the model or the nodes.
        UnsupportedError: weights or KV cache of a type that the GPU cannot compute with.
    """
    return RooflineTimer(engine)


def _attention_work(engine: EngineSpec) -> tuple[float, float]:
    """Bytes read for each token of context, and FLOPs for each pair of tokens, all layers.

    Layers with a sliding window attend to a bounded context and are left out. Latent
    attention reads its compressed entry once on every GPU; prompts are computed with full
    heads.
    """
    model, tp = engine.model, engine.tp
    layers = model.layers - model.sliding_layers
    heads = model.heads // tp
    kv_bytes = engine.kv_dtype.bytes_per_element
    if model.latent:
        width = model.kv_lora_rank + model.rope_head_dim
        per_pair = 2 * heads * (model.head_dim + model.rope_head_dim + model.v_head_dim)
        return layers * width * kv_bytes, float(layers * per_pair)
    kv_heads = max(1, model.kv_heads // tp)
    token_bytes = 2 * layers * kv_heads * model.head_dim * kv_bytes
    return token_bytes, float(4 * layers * heads * model.head_dim)


def _check(engine: EngineSpec) -> None:
    """Refuse parallel sizes that no engine could run."""
    model, tp, per_node = engine.model, engine.tp, engine.gpu.near_gpus
    divides = tp >= 1 and model.heads % tp == 0
    divides = divides and (model.kv_heads % tp == 0 or tp % model.kv_heads == 0)
    if not divides or tp > per_node:
        raise InputError(
            f"tensor-parallel size must divide {model.heads} heads and {model.kv_heads} KV heads "
            f"and fit a node of {per_node} GPUs",
            path="tp",
            value=str(tp),
        )
    if engine.pp < 1 or engine.pp > model.layers:
        raise InputError("pipeline stages must be 1 to the layers", path="pp", value=str(engine.pp))
    if engine.dp < 1 or (engine.dp > 1 and not model.experts):
        raise InputError(
            "attention ranks inside one engine are for mixtures of experts",
            path="dp",
            value=str(engine.dp),
        )
    group = tp * engine.dp
    if engine.ep not in (1, group) or (engine.ep > 1 and model.experts % engine.ep):
        raise InputError(
            f"experts are sliced (1) or spread over all {group} GPUs, and divide by them",
            path="ep",
            value=str(engine.ep),
            allowed=f"1 or {group}",
        )
    nodes = -(-engine.gpus // per_node)
    if nodes > NODES_MAX:
        raise InputError(
            "one replica spans too many nodes", value=str(nodes), allowed=f"1 to {NODES_MAX}"
        )
