"""The search with a toy estimator whose figures can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.errors import InfeasibleError
from contracts.plan import Role
from contracts.sla import SlaTarget
from profiler.core.candidates import enumerate_candidates
from profiler.core.pick import meets, pareto_front, pick, shortfall
from profiler.core.request import (
    AggCandidate,
    ConcurrencyLoad,
    DisaggCandidate,
    EngineChoice,
    Measured,
    RateLoad,
    SearchRequest,
    Sized,
)
from profiler.core.screen import Screen
from profiler.core.search import explain, search
from simcore.perf import architecture, gpu_spec

TP1, TP2, TP4 = (EngineChoice(tp=tp, max_num_batched_tokens=8192) for tp in (1, 2, 4))


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
    """A step costs (10 + requests + tokens / 10) ms divided by TP; KV room 20,000 per GPU."""

    def __init__(self, fits: bool = True) -> None:
        self.fits = fits

    def step_ms(self, choice, *, requests, context_tokens, chunk_tokens):
        return (10 + requests + chunk_tokens / 10) / choice.tp

    def prefill_ms(self, choice, isl):
        return (10 + isl / 10) / choice.tp

    def kv_tokens(self, choice):
        if not self.fits and choice.tp == 1:
            raise InfeasibleError("3.5 GiB too little", binding_constraint="memory")
        return 20_000 * choice.tp

    def transfer_ms(self, prefill, decode, isl):
        return 5.0


class Scripted:
    """Simulator that knows the answers; counts what it was asked."""

    def __init__(self, good: set[str], good_gpus: int = 0) -> None:
        self.good = good
        self.good_gpus = good_gpus
        self.asked: list[tuple[str, int]] = []

    def simulate(self, sized: Sized) -> Measured:
        self.asked.append((sized.candidate.label, sized.gpus))
        ok = sized.candidate.label in self.good and sized.gpus >= self.good_gpus
        return measured(sized, 1.0 if ok else 0.5)


def measured(sized: Sized, attainment: float, ttft_ms: float = 100.0, itl_ms: float = 10.0):
    return Measured(
        sized=sized,
        attainment_ratio=attainment,
        ttft_ms=ttft_ms,
        itl_ms=itl_ms,
        e2e_ms=ttft_ms + 99 * itl_ms,
        tokens_per_s_per_gpu=sized.rate_per_s * 100 / sized.gpus,
    )


def sized_agg(tp: int = 1, replicas: int = 1, rate: float = 10.0) -> Sized:
    engine = EngineChoice(tp=tp, max_num_batched_tokens=8192)
    return Sized(
        candidate=AggCandidate(engine=engine), replicas={Role.AGG: replicas}, rate_per_s=rate
    )


def quiet(_phase: str, _done: int, _total: int) -> None:
    pass


def test_enumeration_covers_agg_and_disagg_within_the_budget() -> None:
    candidates, rejections = enumerate_candidates(request(), Toy())
    labels = {candidate.label for candidate in candidates}
    assert {"agg-tp1-chunk8192", "agg-tp8-chunk2048", "disagg-prefill-tp4-decode-tp4"} <= labels
    assert len(labels) == len(candidates) == 4 * 2 + 9
    assert "disagg-prefill-tp8-decode-tp1" in {r.label for r in rejections}
    assert all(sum(e.tp for e in c.engines.values()) <= 8 for c in candidates)


@pytest.mark.parametrize(
    ("changes", "label", "reason"),
    [
        ({"total_gpus": 4}, "tp8", "needs 8 GPUs, 4 allowed"),
        ({"isl": 19_950}, "tp1", "KV cache holds 20000 tokens, one request needs 20050"),
        ({"isl": 140_000}, "tp8", "context is 131072 tokens, one request needs 140100"),
        (
            {"model": architecture("Qwen/Qwen3-0.6B")},
            "tp8",
            "fewer than 4 attention heads on a GPU",
        ),
    ],
)
def test_every_rejection_keeps_its_reason(changes, label, reason) -> None:
    _, rejections = enumerate_candidates(request(**changes), Toy())
    assert reason in [r.reason for r in rejections if r.label == label]


def test_a_model_that_does_not_fit_is_rejected_with_its_gib() -> None:
    candidates, rejections = enumerate_candidates(request(), Toy(fits=False))
    assert all(choice.tp > 1 for c in candidates for choice in c.engines.values())
    assert any("3.5 GiB too little" in rejection.reason for rejection in rejections)


def test_disaggregated_screen_by_hand() -> None:
    """Prefill takes 110 ms: M/D/1 allows rho with 110 + 55 rho/(1-rho) + 5 + 1.5*11 <= 500."""
    candidate = DisaggCandidate(prefill=TP1, decode=TP1)
    screened = Screen(request(total_gpus=100), Toy()).screen(candidate)
    slack = (500 - 110 - 5 - 16.5) / 55
    rho = slack / (1 + slack)
    assert 10 / (rho / 0.110) == pytest.approx(screened.sized.replicas[Role.PREFILL], abs=1)
    assert screened.sized.replicas[Role.PREFILL] == 2
    # Decode: n = rate * 100 * (10 + n) / 1000 stays below 20000/1100 = 18 requests in KV cache.
    assert screened.sized.replicas[Role.DECODE] == 2
    assert screened.feasible


def test_more_load_needs_more_gpus_and_the_budget_binds() -> None:
    small = Screen(request(), Toy()).screen(AggCandidate(engine=TP2))
    large = Screen(request(load=RateLoad(requests_per_s=60.0)), Toy()).screen(
        AggCandidate(engine=TP2)
    )
    assert small.feasible
    assert large.sized.gpus > small.sized.gpus
    assert not large.feasible
    assert large.reason == f"GPU budget: needs {large.sized.gpus} GPUs, 8 allowed"


def test_without_a_load_the_whole_budget_is_used() -> None:
    screened = Screen(request(load=None), Toy()).screen(AggCandidate(engine=TP4))
    assert screened.sized.replicas == {Role.AGG: 2}
    assert screened.sized.rate_per_s > 0
    split = Screen(request(load=None), Toy()).screen(DisaggCandidate(prefill=TP2, decode=TP1))
    assert split.sized.gpus <= 8
    assert min(split.sized.replicas.values()) >= 1


def test_concurrency_becomes_a_rate_by_littles_law() -> None:
    screened = Screen(request(load=ConcurrencyLoad(requests=8)), Toy()).screen(
        AggCandidate(engine=TP4)
    )
    assert screened.feasible
    assert 0.5 < screened.sized.rate_per_s < 20


@pytest.mark.parametrize(
    ("sla", "reason"),
    [
        (SlaTarget(ttft_ms=50, itl_ms=50), "TTFT: "),
        (SlaTarget(ttft_ms=500, itl_ms=5), "ITL: 11.0 ms when idle, target 5 ms"),
        (SlaTarget(ttft_ms=1, itl_ms=1, e2e_ms=200), "E2E: "),
    ],
)
def test_what_even_an_idle_engine_misses_is_named(sla, reason) -> None:
    screened = Screen(request(sla=sla), Toy()).screen(AggCandidate(engine=TP1))
    assert not screened.feasible
    assert screened.reason.startswith(reason)


def test_pareto_front_keeps_what_nothing_dominates() -> None:
    one, two = sized_agg(1, 2), sized_agg(2, 2)
    points = [
        measured(one, 1.0, ttft_ms=100, itl_ms=10),
        measured(one, 1.0, ttft_ms=100, itl_ms=11),
        measured(two, 1.0, ttft_ms=50, itl_ms=10),
        measured(two, 1.0, ttft_ms=50, itl_ms=10),
    ]
    assert pareto_front(points) == [True, False, True, True]


def test_pick_takes_fewest_gpus_for_a_load_and_throughput_without() -> None:
    cheap, dear = measured(sized_agg(1, 2), 0.95), measured(sized_agg(2, 2), 1.0)
    late = measured(sized_agg(1, 1), 0.89)
    assert not meets(late)
    assert pick(request(), [dear, cheap, late]) is cheap
    fast = measured(sized_agg(2, 2, rate=100.0), 1.0)
    assert pick(request(load=None), [cheap, fast, late]) is fast
    assert pick(request(), [late]) is None
    assert "TTFT 100 ms (target 500)" in shortfall(late, request().sla)


def test_search_adds_a_replica_before_it_gives_up() -> None:
    label = "agg-tp4-chunk8192"
    simulator = Scripted({label}, good_gpus=8)
    result = search(request(), Toy(), simulator, quiet)
    gpus = [gpus for asked, gpus in simulator.asked if asked == label]
    assert gpus[0] < 8
    assert gpus[-1] == 8
    assert result.picked.sized.candidate.label == label
    assert result.picked.sized.gpus == 8
    assert explain(result, result.picked).startswith("picked")
    others = [point for point in result.points if point is not result.picked]
    assert all(explain(result, point).startswith("misses the SLA") for point in others)


def test_infeasible_searches_name_what_binds() -> None:
    with pytest.raises(InfeasibleError) as missed:
        search(request(), Toy(), Scripted(set()), quiet)
    assert "50% of requests within the targets" in missed.value.closest[0]
    with pytest.raises(InfeasibleError) as too_much:
        search(request(load=RateLoad(requests_per_s=500.0)), Toy(), Scripted(set()), quiet)
    assert too_much.value.binding_constraint.startswith("GPU budget: needs")
    sla = SlaTarget(ttft_ms=500, itl_ms=0.5)
    with pytest.raises(InfeasibleError) as too_fast:
        search(request(sla=sla), Toy(), Scripted(set()), quiet)
    assert too_fast.value.binding_constraint.startswith("ITL")
    with pytest.raises(InfeasibleError) as too_long:
        search(request(isl=10**6), Toy(), Scripted(set()), quiet)
    assert "one request needs 1000100" in too_long.value.binding_constraint


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    search(request(), Toy(), Scripted({"agg-tp4-chunk8192"}), lambda *step: seen.append(step))
    assert seen[-1][1] == seen[-1][2] > 1
    assert {phase for phase, _, _ in seen} == {"screening", "simulating"}
