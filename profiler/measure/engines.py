"""From a choice of the search to an engine, a timer and a whole deployment plan."""

from __future__ import annotations

from dataclasses import replace

from contracts.engine import Backend, TrtllmScheduling
from contracts.errors import InfeasibleError, UnsupportedError
from contracts.plan import (
    KV_LINKS,
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    Fabric,
    KvLink,
    PoolPlan,
    Role,
    RouterPolicy,
)
from contracts.ports import RatedStepTimer, TimerFactory
from contracts.settings import EngineSettings
from profiler.core.request import DisaggCandidate, EngineChoice, SearchRequest, Sized
from simcore.perf import engine_from_settings, roofline

# Handshake and first byte of a KV transfer.
LINK_LATENCY_US = 50.0


class EngineFactory:
    """Builds and remembers engines of one search, with the documented defaults of a backend.

    Args:
        request: model, GPU and limits.
        timer_for: step times of an engine.
        fabric: what joins the nodes; also carries KV caches from node to node.
    """

    def __init__(
        self,
        request: SearchRequest,
        timer_for: TimerFactory = roofline,
        fabric: Fabric = Fabric.RDMA,
    ) -> None:
        self.request = request
        self.timer_for = timer_for
        self._fabric = fabric
        self._specs: dict[EngineChoice, EngineSpec] = {}
        self._timers: dict[EngineChoice, RatedStepTimer] = {}

    def spec(self, choice: EngineChoice) -> EngineSpec:
        """The engine of a choice.

        Raises:
            InfeasibleError: the model does not fit, the GPU cannot compute with its types, or
                the source of step times has none for this engine.
        """
        if choice not in self._specs:
            spec = self._build(choice)
            self._timers[choice] = self._timer(spec)
            self._specs[choice] = spec
        return self._specs[choice]

    def timer(self, choice: EngineChoice) -> RatedStepTimer:
        """Step times of a choice; errors are those of :meth:`spec`."""
        self.spec(choice)
        return self._timers[choice]

    def same_timer(self, engine: EngineSpec) -> RatedStepTimer:
        """Step times of an engine of this search, its memo shared by all simulations."""
        for choice, spec in self._specs.items():
            if spec is engine:
                return self._timers[choice]
        return self.timer_for(engine)

    def link(self, candidate: DisaggCandidate) -> KvLink:
        """NVLink or PCIe when a prefill and a decode worker share a node, else the network."""
        gpu = self.request.gpu
        if candidate.prefill.gpus + candidate.decode.gpus <= self.request.gpus_per_node:
            rate = gpu.intra_node_gbytes_per_s
        elif self._fabric is Fabric.TCP:
            return KV_LINKS["tcp"]
        else:
            rate = gpu.inter_node_gbytes_per_s
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

    def _timer(self, spec: EngineSpec) -> RatedStepTimer:
        """The search goes on with the engines that have step times."""
        try:
            return self.timer_for(spec)
        except UnsupportedError as error:
            raise InfeasibleError(str(error), binding_constraint="step times") from error

    def _build(self, choice: EngineChoice) -> EngineSpec:
        request = self.request
        settings = EngineSettings(
            backend=choice.backend,
            model=request.model.model_id,
            tp=choice.tp,
            pp=choice.pp,
            dp=choice.dp,
            expert_parallel=choice.ep > 1,
            weight_dtype=choice.precision.weights,
            kv_dtype=choice.precision.kv,
            max_num_batched_tokens=choice.max_num_batched_tokens,
            # Generated TensorRT-LLM workers switch it on, the others have it by default.
            chunked_prefill=True,
        )
        spec = engine_from_settings(
            settings, model=request.model, gpu=request.gpu, fabric=self._fabric
        )
        if choice.backend is Backend.TRTLLM and not choice.overlap:
            spec = replace(spec, scheduling=TrtllmScheduling(overlap=False))
        return spec
