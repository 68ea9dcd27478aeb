"""Engines, estimates and simulations of the search on real models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.engine import Backend
from contracts.errors import InfeasibleError
from contracts.hardware import Evidence
from contracts.model import Dtype
from contracts.plan import DisaggPlan, Fabric, Role, RouterPolicy
from contracts.sla import SlaTarget
from contracts.workload import Workload
from profiler.core.request import (
    AggCandidate,
    ConcurrencyLoad,
    DisaggCandidate,
    EngineChoice,
    Precision,
    RateLoad,
    SearchRequest,
    Sized,
    TraceLoad,
)
from profiler.core.screen import Screen
from profiler.measure import (
    EngineFactory,
    SimcoreEstimator,
    SimcoreSimulator,
    decode_curves,
    prefill_curves,
)
from profiler.measure.simulate import RUNS
from simcore.perf import architecture, gpu_spec

ROUTER = RouterPolicy.LEAST_LOADED
TP1, TP4, TP8 = (EngineChoice(tp=tp, max_num_batched_tokens=8192) for tp in (1, 4, 8))


def request(model: str = "meta-llama/Llama-3.1-8B", **changes) -> SearchRequest:
    base = SearchRequest(
        model=architecture(model), gpu=gpu_spec("h200_sxm"), total_gpus=16, gpus_per_node=8,
        isl=2000, osl=100, load=RateLoad(requests_per_s=10.0),
        sla=SlaTarget(ttft_ms=500.0, itl_ms=30.0),
    )  # fmt: skip
    return replace(base, **changes)


def simulated(wish: SearchRequest, sized: Sized, seed: int = 1, *, sure: bool = False):
    simulator = SimcoreSimulator(wish, EngineFactory(wish), router=ROUTER, seed=seed)
    return simulator.simulate(sized, sure=sure)


def agg(engine: EngineChoice = TP1, replicas: int = 1, rate: float = 10.0, **changes) -> Sized:
    sized = Sized(
        candidate=AggCandidate(engine=engine), replicas={Role.AGG: replicas}, rate_per_s=rate
    )
    return replace(sized, **changes)


def test_engines_have_the_documented_defaults_of_their_backend() -> None:
    engines = EngineFactory(request())
    specs = {backend: engines.spec(replace(TP4, backend=backend)) for backend in Backend}
    assert [spec.backend for spec in specs.values()] == list(Backend)
    assert [spec.limits.block_size_tokens for spec in specs.values()] == [16, 1, 32]
    assert specs[Backend.TRTLLM].limits.chunked_prefill
    plain = replace(TP4, backend=Backend.TRTLLM, overlap=False)
    assert not engines.spec(plain).scheduling.overlaps_host


def test_an_engine_of_attention_ranks() -> None:
    choice = EngineChoice(
        tp=1, dp=16, ep=16, moe=True, max_num_batched_tokens=8192, backend=Backend.SGLANG,
        precision=Precision(weights=Dtype.FP8),
    )  # fmt: skip
    spec = EngineFactory(request("deepseek-ai/DeepSeek-R1"), fabric=Fabric.TCP).spec(choice)
    assert (spec.gpus, spec.dp, spec.ep, spec.weight_dtype) == (16, 16, 16, Dtype.FP8)
    assert spec.fabric is Fabric.TCP


def test_types_that_the_gpu_cannot_compute_with_rule_an_engine_out() -> None:
    engines = EngineFactory(request(gpu=gpu_spec("a100_sxm")))
    with pytest.raises(InfeasibleError, match="a100_sxm has no 8-bit floating point"):
        engines.spec(replace(TP4, precision=Precision(weights=Dtype.FP8)))


def test_links_are_fast_within_a_node_and_slow_over_tcp() -> None:
    wish = request("meta-llama/Llama-3.1-70B")
    near, far = (DisaggCandidate(prefill=p, decode=TP4) for p in (TP4, TP8))
    assert EngineFactory(wish).link(near).gbytes_per_s == 450.0
    assert EngineFactory(wish).link(far).gbytes_per_s == 50.0
    assert EngineFactory(wish, fabric=Fabric.TCP).link(far).gbytes_per_s == 1.25
    sized = Sized(candidate=far, replicas={Role.PREFILL: 1, Role.DECODE: 2}, rate_per_s=1.0)
    plan = EngineFactory(wish).plan(sized, name="x", startup_s=1.0, router=ROUTER)
    assert isinstance(plan.topology, DisaggPlan)
    assert plan.gpus == 16


def test_simulated_figures_agree_with_single_steps_at_low_load() -> None:
    wish = request()
    measured = simulated(wish, agg(TP1, rate=0.05))
    estimator = SimcoreEstimator(EngineFactory(wish))
    idle_ms = estimator.step_ms(TP1, requests=1, context_tokens=2050)
    assert measured.itl_ms == pytest.approx(idle_ms, rel=0.01)
    assert measured.attainment_ratio > 0.97
    assert measured.evidence is Evidence.CALIBRATED
    assert measured.error_ratio == gpu_spec("h200_sxm").error_ratio


def test_a_gpu_without_measured_points_is_estimated_with_its_error() -> None:
    measured = simulated(request(gpu=gpu_spec("l40s")), agg(TP1, rate=0.05))
    assert (measured.evidence, measured.error_ratio) == (Evidence.ESTIMATED, 0.4)


@pytest.mark.parametrize("backend", list(Backend))
def test_the_screen_foretells_the_simulation(backend: Backend) -> None:
    """Means of the closed form against medians of the simulation, half full."""
    wish = request("meta-llama/Llama-3.1-70B", osl=200, load=RateLoad(requests_per_s=3.0))
    engines = EngineFactory(wish)
    screen = Screen(wish, SimcoreEstimator(engines))
    tp4 = replace(TP4, backend=backend)
    for candidate in (AggCandidate(engine=tp4), DisaggCandidate(prefill=tp4, decode=tp4)):
        found = screen.screen(candidate)
        measured = SimcoreSimulator(wish, engines, router=ROUTER, seed=3).simulate(found.sized)
        assert measured.itl_ms == pytest.approx(found.itl_ms, rel=0.2)
        assert measured.ttft_ms == pytest.approx(found.ttft_ms, rel=0.35)


def test_a_closed_loop_keeps_its_requests_in_flight() -> None:
    wish = request(load=ConcurrencyLoad(requests=32))
    measured = simulated(wish, agg(TP1, 2, concurrency=32))
    assert measured.requests == RUNS[0]
    rate = measured.tokens_per_s / wish.osl
    in_flight = rate * np.mean([measured.e2e.p50, measured.e2e.p90]) / 1e3
    assert in_flight == pytest.approx(32, rel=0.15)


def test_a_trace_is_replayed_as_it_is() -> None:
    count = 60
    trace = Workload(
        arrival_ns=np.arange(count, dtype=np.int64) * 50_000_000,
        isl=np.full(count, 500, dtype=np.int64), osl=np.full(count, 20, dtype=np.int64),
        source="test",
    )  # fmt: skip
    measured = simulated(request(load=TraceLoad(workload=trace)), agg(TP1, 1, rate=20.0))
    assert measured.requests == count
    assert measured.attainment_error == 0.0
    assert measured.attainment_ratio == 1.0


def test_an_overloaded_candidate_misses_and_serves_what_it_can() -> None:
    measured = simulated(request(), agg(TP1, 1, rate=200.0))
    assert measured.attainment_ratio < 0.5
    assert measured.tokens_per_s < 200 * 100


def test_close_calls_are_looked_at_for_longer() -> None:
    wish = request(sla=SlaTarget(ttft_ms=150.0, itl_ms=30.0))
    short, long = (simulated(wish, agg(TP1, 1, 10.0), sure=sure) for sure in (False, True))
    assert abs(short.attainment_ratio - 0.9) < 2 * short.attainment_error
    assert long.requests > short.requests == RUNS[0]
    assert long.attainment_error < short.attainment_error


def test_equal_seeds_give_equal_answers() -> None:
    one, same, other = (simulated(request(), agg(TP1, 2), seed) for seed in (1, 1, 2))
    assert one == same != other


def test_curves_count_all_attention_ranks() -> None:
    choice = EngineChoice(
        tp=1, dp=8, ep=8, moe=True, max_num_batched_tokens=8192,
        precision=Precision(weights=Dtype.FP8),
    )  # fmt: skip
    engine = EngineFactory(request("deepseek-ai/DeepSeek-R1")).spec(choice)
    room = engine.limits.kv_blocks_total * engine.limits.block_size_tokens
    decode, prefill = decode_curves(engine, 16_384), prefill_curves(engine, 16_384)
    assert decode.max_kv_tokens == 8 * room
    tokens = decode.x_kv_usage * decode.max_kv_tokens
    running = tokens / decode.y_context_length
    np.testing.assert_allclose(decode.z_thpt_per_gpu, running / decode.z_itl * 1e3 / 8)
    np.testing.assert_allclose(
        prefill.prefill_thpt_per_gpu, prefill.prefill_isl / prefill.prefill_ttft * 1e3
    )
