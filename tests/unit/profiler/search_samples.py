"""A toy estimator and a scripted simulator, whose figures can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

from contracts.engine import Backend
from contracts.errors import InfeasibleError
from contracts.plan import Role
from contracts.sla import SlaTarget
from profiler.core.ports import EngineFacts
from profiler.core.request import (
    AggCandidate,
    DisaggCandidate,
    EngineChoice,
    RateLoad,
    SearchRequest,
    Sized,
)
from profiler.core.results import Measured, Quantiles
from simcore.perf import architecture, gpu_spec

TP1, TP2, TP4, TP8 = (EngineChoice(tp=tp, max_num_batched_tokens=8192) for tp in (1, 2, 4, 8))


def request(**changes) -> SearchRequest:
    base = SearchRequest(
        model=architecture("meta-llama/Llama-3.1-8B"),
        gpu=gpu_spec("h100_sxm"),
        total_gpus=8,
        gpus_per_node=8,
        isl=1000,
        osl=100,
        load=RateLoad(requests_per_s=10.0),
        sla=SlaTarget(ttft_ms=500.0, itl_ms=50.0),
    )
    return replace(base, **changes)


class Toy:
    """A step costs (10 + requests + prompt tokens / 10) ms divided by TP; KV 20,000 per GPU."""

    def __init__(self, *, fits: bool = True, mixes: bool = True) -> None:
        self.fits = fits
        self.mixes = mixes

    def facts(self, choice):
        if not self.fits and choice.tp == 1:
            raise InfeasibleError("3.5 GiB too little", binding_constraint="memory")
        return EngineFacts(kv_tokens=20_000 * choice.tp, max_num_seqs=256, mixes=self.mixes)

    def step_ms(self, choice, *, requests, context_tokens, chunks=()):
        tokens = sum(chunk.new_tokens for chunk in chunks)
        slower = 1.2 if choice.backend is Backend.SGLANG else 1.0
        return slower * (10 + requests + tokens / 10) / choice.tp

    def transfer_ms(self, prefill, decode, isl):
        return 5.0


class Scripted:
    """Simulator that knows the answers; keeps what it was asked."""

    def __init__(self, good: set[str], good_gpus: int = 0) -> None:
        self.good = good
        self.good_gpus = good_gpus
        self.asked: list[tuple[str, int, float]] = []

    def simulate(self, sized: Sized, *, sure: bool = True) -> Measured:
        label = sized.candidate.label
        self.asked.append((label, sized.gpus, sized.rate_per_s))
        everything = not self.good
        ok = (everything or label in self.good) and sized.gpus >= self.good_gpus
        return measured(sized, 1.0 if ok else 0.5, ttft_ms=100.0 if ok else 600.0)


def measured(
    sized: Sized, attainment: float, ttft_ms: float = 100.0, itl_ms: float = 10.0, **changes
) -> Measured:
    e2e_ms = ttft_ms + 99 * itl_ms
    point = Measured(
        sized=sized,
        attainment_ratio=attainment,
        ttft=flat(ttft_ms),
        itl=flat(itl_ms),
        e2e=flat(e2e_ms),
        tokens_per_s_per_gpu=sized.rate_per_s * 100 / sized.gpus,
    )
    return replace(point, **changes)


def flat(value: float) -> Quantiles:
    return Quantiles(p50=value, p90=value, p99=value)


def agg(tp: int = 1, replicas: int = 1, rate: float = 10.0) -> Sized:
    engine = EngineChoice(tp=tp, max_num_batched_tokens=8192)
    return Sized(
        candidate=AggCandidate(engine=engine), replicas={Role.AGG: replicas}, rate_per_s=rate
    )


def disagg(prefills: int, decodes: int, rate: float = 10.0) -> Sized:
    return Sized(
        candidate=DisaggCandidate(prefill=TP1, decode=TP1),
        replicas={Role.PREFILL: prefills, Role.DECODE: decodes},
        rate_per_s=rate,
    )


def quiet(_phase: str, _done: int, _total: int) -> None:
    pass
