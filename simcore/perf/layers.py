"""Times of the parts of a transformer layer that depend on the number of tokens only."""

from __future__ import annotations

from contracts.model import ModelArchitecture
from contracts.plan import EngineSpec
from simcore.perf.operators import Operators, smooth_max

# Activation bytes moved by element-wise kernels, in multiples of hidden and MLP width.
_ELEMENTWISE_HIDDEN = 8
_ELEMENTWISE_INTERMEDIATE = 3
# The busiest GPU of an expert-parallel group has so much more work than the mean one.
EXPERT_SKEW = 1.25
# Rows that a grouped GEMM computes at least for an active expert.
_EXPERT_ROWS_MIN = 8


class Layers:
    """Seconds for all layers of one engine, attention itself left out."""

    def __init__(self, engine: EngineSpec) -> None:
        self._engine = engine
        self._model: ModelArchitecture = engine.model
        self._ops = Operators(engine)
        self._group = engine.tp * engine.dp

    def all_s(self, tokens: int) -> float:
        """All layers for so many tokens of one attention rank."""
        model = self._model
        attention_s = self._attention_s(tokens)
        dense_s = attention_s + self._dense_mlp_s(tokens) if model.layers > model.moe_layers else 0
        moe_s = attention_s + self._moe_s(tokens) if model.moe_layers else 0
        return (model.layers - model.moe_layers) * dense_s + model.moe_layers * moe_s

    def head_s(self, rows: int) -> float:
        """The LM head."""
        return self._ops.gemm_s(rows, self._model.hidden, self._model.vocab // self._engine.tp)

    def stages_s(self, tokens: int) -> float:
        """Hand-over between pipeline stages."""
        engine = self._engine
        if engine.pp == 1:
            return 0.0
        far = engine.tp * engine.pp > engine.gpu.near_gpus
        return (engine.pp - 1) * self._ops.send_s(2.0 * tokens * self._model.hidden, far=far)

    def _attention_s(self, tokens: int) -> float:
        """Projections around attention, norms, and the sum over the tensor-parallel GPUs."""
        model, tp, gemm_s = self._model, self._engine.tp, self._ops.gemm_s
        heads = model.heads // tp
        if model.latent:
            query = heads * (model.head_dim + model.rope_head_dim)
            rank = model.q_lora_rank
            down = model.kv_lora_rank + model.rope_head_dim + rank
            parts: tuple[float, ...] = (
                gemm_s(tokens, model.hidden, down),
                gemm_s(tokens, rank or model.hidden, query),
                gemm_s(tokens, model.kv_lora_rank, heads * (model.head_dim + model.v_head_dim)),
                gemm_s(tokens, heads * model.v_head_dim, model.hidden),
            )
        else:
            q_width = heads * model.head_dim
            kv_width = max(1, model.kv_heads // tp) * model.head_dim
            parts = (
                gemm_s(tokens, model.hidden, q_width + 2 * kv_width),
                gemm_s(tokens, q_width, model.hidden),
            )
        moved_s = self._ops.elementwise_s(tokens, _ELEMENTWISE_HIDDEN * model.hidden)
        return sum(parts) + moved_s + self._ops.allreduce_s(2 * tokens * model.hidden, tp)

    def _dense_mlp_s(self, tokens: int) -> float:
        model, tp = self._model, self._engine.tp
        inter = model.intermediate // tp
        gemms_s = self._ops.gemm_s(tokens, model.hidden, 2 * inter)
        gemms_s += self._ops.gemm_s(tokens, inter, model.hidden)
        moved_s = self._ops.elementwise_s(tokens, _ELEMENTWISE_INTERMEDIATE * inter)
        return gemms_s + moved_s + self._ops.allreduce_s(2 * tokens * model.hidden, tp)

    def _moe_s(self, tokens: int) -> float:
        """Router, dispatch, the experts of one GPU, combination; shared experts beside.

        All ``dp`` attention ranks are taken to be as full as this one, so the experts see
        ``dp`` times its tokens. With ``ep`` the experts are spread over the GPUs, else every
        GPU has a slice of each.
        """
        model, engine, ops = self._model, self._engine, self._ops
        group, ep = self._group, engine.ep
        routed = tokens * engine.dp * model.experts_per_token
        experts = model.experts / ep
        inter = model.expert_intermediate * ep / group
        skew = EXPERT_SKEW if ep > 1 else 1.0
        rows = routed / ep * skew
        chance = 1.0 - (1.0 - 1.0 / model.experts) ** routed
        active = min(experts, experts * chance * skew)
        elements = 3 * model.hidden * inter
        compute_s = 2.0 * max(rows, _EXPERT_ROWS_MIN * active) * elements / ops.expert_flops
        memory_s = active * elements * ops.expert_bytes / ops.expert_memory_rate
        memory_s += ops.elementwise_s(rows, 2 * model.hidden + _ELEMENTWISE_INTERMEDIATE * inter)
        experts_s = smooth_max(compute_s, memory_s)
        router_s = ops.gemm_s(tokens, model.hidden, model.experts)
        shared_s = 0.0
        if model.shared_experts:
            width = model.shared_experts * model.expert_intermediate // engine.tp
            shared_s = ops.gemm_s(tokens, model.hidden, 2 * max(1, width))
            shared_s += ops.gemm_s(tokens, max(1, width), model.hidden)
        return router_s + experts_s + shared_s + self._moe_comm_s(tokens)

    def _moe_comm_s(self, tokens: int) -> float:
        """All-reduce inside one attention rank, dispatch and combination over several."""
        model, engine = self._model, self._engine
        size = 2.0 * tokens * model.hidden
        if engine.dp == 1:
            return self._ops.allreduce_s(size, engine.tp)
        copies = min(model.experts_per_token, self._group)
        return 2 * self._ops.all_to_all_s(size * copies / engine.tp, self._group)
