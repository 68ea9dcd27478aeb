"""From a choice of the search to an engine, a timer and a whole deployment plan."""

from __future__ import annotations

from contracts.engine import EngineLimits
from contracts.errors import InfeasibleError, UnsupportedError
from contracts.plan import (
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    KvLink,
    PoolPlan,
    Role,
    RouterPolicy,
)
from contracts.ports import StepTimer, TimerFactory
from profiler.core.request import DisaggCandidate, EngineChoice, SearchRequest, Sized
from simcore.perf import MemoryRequest, kv_blocks_for, roofline

BLOCK_SIZE_TOKENS = 16
MAX_NUM_SEQS = 256
# Handshake and first byte of a KV transfer.
LINK_LATENCY_US = 50.0


class EngineFactory:
    """Builds and remembers engines of one search.

    Args:
        request: model, GPU and limits.
        timer_for: step times of an engine.
    """

    def __init__(self, request: SearchRequest, timer_for: TimerFactory = roofline) -> None:
        self.request = request
        self.timer_for = timer_for
        self._specs: dict[EngineChoice, EngineSpec] = {}
        self._timers: dict[EngineChoice, StepTimer] = {}

    def spec(self, choice: EngineChoice) -> EngineSpec:
        """The engine of a choice.

        Raises:
            InfeasibleError: the model does not fit, or a source of step times other than the
                roofline has none for this engine.
        """
        if choice not in self._specs:
            spec = self._build(choice)
            if self.timer_for is not roofline:
                self._timers[choice] = self._other_timer(spec)
            self._specs[choice] = spec
        return self._specs[choice]

    def timer(self, choice: EngineChoice) -> StepTimer:
        """Step times of a choice."""
        if choice not in self._timers:
            self._timers[choice] = self.timer_for(self.spec(choice))
        return self._timers[choice]

    def link(self, candidate: DisaggCandidate) -> KvLink:
        """NVLink or PCIe when a prefill and a decode worker share a node, else the network."""
        gpu = self.request.gpu
        together = candidate.prefill.tp + candidate.decode.tp <= self.request.gpus_per_node
        rate = gpu.intra_node_gbytes_per_s if together else gpu.inter_node_gbytes_per_s
        return KvLink(gbytes_per_s=rate, latency_us=LINK_LATENCY_US)

    def plan(
        self, sized: Sized, *, name: str, startup_s: float, router: RouterPolicy
    ) -> DeploymentPlan:
        """The deployment of a sized candidate."""
        pools = {
            role: PoolPlan(role=role, engine=self.spec(choice), replicas=sized.replicas[role])
            for role, choice in sized.candidate.engines.items()
        }
        topology: AggPlan | DisaggPlan
        if isinstance(sized.candidate, DisaggCandidate):
            topology = DisaggPlan(
                prefill=pools[Role.PREFILL],
                decode=pools[Role.DECODE],
                link=self.link(sized.candidate),
            )
        else:
            topology = AggPlan(pool=pools[Role.AGG])
        return DeploymentPlan(
            name=name,
            topology=topology,
            router=router,
            startup_s=startup_s,
            gpu_budget=self.request.total_gpus,
            sla=self.request.sla,
        )

    def _other_timer(self, spec: EngineSpec) -> StepTimer:
        """Tables cover some engines only; the search goes on with those."""
        try:
            return self.timer_for(spec)
        except UnsupportedError as error:
            raise InfeasibleError(str(error), binding_constraint="step times") from error

    def _build(self, choice: EngineChoice) -> EngineSpec:
        request = self.request
        blocks = kv_blocks_for(
            MemoryRequest(
                model=request.model,
                gpu=request.gpu,
                tp=choice.tp,
                weight_dtype=request.weight_dtype,
                kv_dtype=request.kv_dtype,
                block_size_tokens=BLOCK_SIZE_TOKENS,
                max_num_batched_tokens=choice.max_num_batched_tokens,
                max_num_seqs=MAX_NUM_SEQS,
            )
        )
        return EngineSpec(
            model=request.model,
            gpu=request.gpu,
            tp=choice.tp,
            weight_dtype=request.weight_dtype,
            kv_dtype=request.kv_dtype,
            limits=EngineLimits(
                max_num_seqs=MAX_NUM_SEQS,
                max_num_batched_tokens=choice.max_num_batched_tokens,
                block_size_tokens=BLOCK_SIZE_TOKENS,
                kv_blocks_total=blocks,
                max_model_len=request.model.max_position,
            ),
        )
