"""The closed-form screen with figures that can be checked by hand."""

from __future__ import annotations

import math

import pytest
from search_samples import TP1, TP2, TP4, Toy, request

from contracts.plan import Role
from contracts.sla import SlaTarget
from profiler.core.replica import AggReplica, DecodeReplica, PrefillReplica, waiting_ms
from profiler.core.request import (
    AggCandidate,
    ConcurrencyLoad,
    DisaggCandidate,
    EngineChoice,
    PickMode,
    RateLoad,
)
from profiler.core.screen import Screen

PAIR = DisaggCandidate(prefill=TP1, decode=TP1)


def screened(candidate, **changes):
    return Screen(request(**changes), Toy()).screen(candidate)


def test_decode_replica_by_hand() -> None:
    point = DecodeReplica(request(), Toy(), TP1).point(8)
    assert point.itl_ms == 18.0
    assert point.rate_per_s == pytest.approx(8 / (99 * 0.018))
    assert point.itl_p90_ms == pytest.approx(18.0 + 7 / math.sqrt(8))


def test_prefill_replica_by_hand() -> None:
    """A prompt takes 110 ms; eight fit into a step, so up to 8 / 0.81 are served in a second."""
    replica = PrefillReplica(request(), Toy(), TP1)
    assert replica.alone_ms == 110.0
    assert replica.most_per_s == pytest.approx(8 / 0.81)
    busy = 4 / replica.most_per_s
    wait = busy * 110 / (2 * (1 - busy))
    assert replica.point(4.0).ttft_ms == pytest.approx(110 + wait)


def test_mixed_and_alternating_steps_by_hand() -> None:
    """Ten running requests of 100 output tokens bring a prompt into every tenth step."""
    mixed = AggReplica(request(), Toy(), TP1).point(10)
    assert mixed.itl_ms == pytest.approx(20 + 0.1 * 100)
    apart = AggReplica(request(), Toy(mixes=False), TP1).point(10)
    assert apart.itl_ms == pytest.approx(20 + 0.1 * 110)
    assert mixed.rate_per_s == pytest.approx(10 / (100 * 0.030))


def test_ranks_disturb_each_other() -> None:
    ranks = EngineChoice(tp=1, dp=4, ep=4, moe=True, max_num_batched_tokens=8192)
    alone, four = (AggReplica(request(), Toy(), choice).point(10) for choice in (TP1, ranks))
    assert four.itl_ms == pytest.approx(20 + (1 - 0.9**4) * 100)
    assert four.itl_ms > alone.itl_ms


def test_waiting_behind_one_server_is_m_d_1_and_less_behind_several() -> None:
    mean, p90 = waiting_ms(0.8, 100.0, 1)
    assert mean == pytest.approx(0.8 * 100 / 0.4)
    assert p90 == pytest.approx(mean / 0.8 * math.log(8))
    assert waiting_ms(0.8, 100.0, 4)[0] < mean / 3
    assert waiting_ms(0.96, 100.0, 4)[0] == math.inf


def test_a_disaggregated_candidate_is_sized_with_a_reserve() -> None:
    """KV holds 18 requests, which take 28 ms a step: 6.5 requests/s; 11 are sized for."""
    found = screened(PAIR, total_gpus=100)
    assert found.capacity_per_s[Role.DECODE] == pytest.approx(18 / (99 * 0.028))
    assert found.sized.replicas[Role.DECODE] == 2
    prefills = found.sized.replicas[Role.PREFILL]
    assert prefills * found.capacity_per_s[Role.PREFILL] >= 11
    assert found.feasible
    assert found.gpus_min <= found.gpus_needed == found.sized.gpus


def test_more_load_needs_more_gpus_and_the_budget_binds() -> None:
    small = screened(AggCandidate(engine=TP2))
    large = screened(AggCandidate(engine=TP2), load=RateLoad(requests_per_s=600.0))
    assert small.feasible
    assert large.reason == f"GPU budget: needs {large.gpus_needed} GPUs, 8 allowed"
    assert large.sized.gpus == 8, "as many replicas as the budget allows"


def test_without_a_load_the_whole_budget_is_used() -> None:
    found = screened(AggCandidate(engine=TP4), load=None, mode=PickMode.DEFAULT)
    assert found.sized.replicas == {Role.AGG: 2}
    split = screened(DisaggCandidate(prefill=TP2, decode=TP1), load=None, mode=PickMode.DEFAULT)
    assert 3 <= split.sized.gpus <= 8
    assert min(split.sized.replicas.values()) >= 1
    unit = screened(PAIR, load=None, mode=PickMode.AUTOSCALE)
    assert unit.sized.replicas == {Role.PREFILL: 1, Role.DECODE: 1}
    rates = unit.capacity_per_s
    assert unit.unit_cost == pytest.approx(1 / rates[Role.PREFILL] + 1 / rates[Role.DECODE])


@pytest.mark.parametrize("candidate", [AggCandidate(engine=TP4), PAIR])
def test_requests_in_flight_are_what_a_closed_loop_keeps(candidate) -> None:
    found = screened(candidate, load=ConcurrencyLoad(requests=8))
    assert found.feasible
    assert found.sized.concurrency == 8
    in_flight = found.sized.rate_per_s * (found.ttft_ms + 99 * found.itl_ms) / 1e3
    assert in_flight == pytest.approx(8, rel=0.3)


@pytest.mark.parametrize("candidate", [AggCandidate(engine=TP1), PAIR])
@pytest.mark.parametrize(
    ("sla", "reason"),
    [
        (SlaTarget(ttft_ms=50, itl_ms=50), "TTFT: "),
        (SlaTarget(ttft_ms=500, itl_ms=5), "ITL: 11"),
        (SlaTarget(ttft_ms=1, itl_ms=1, e2e_ms=200), "E2E: "),
    ],
)
def test_what_even_an_idle_engine_misses_is_named(candidate, sla, reason) -> None:
    found = screened(candidate, sla=sla)
    assert not found.feasible
    assert found.reason.startswith(reason)
    assert found.sized.rate_per_s == 10.0, "it is sized nevertheless"


@pytest.mark.parametrize("candidate", [AggCandidate(engine=TP4), PAIR])
def test_an_end_to_end_target_is_shared_between_prompt_and_tokens(candidate) -> None:
    found = screened(candidate, sla=SlaTarget(ttft_ms=1, itl_ms=1, e2e_ms=3500))
    assert found.feasible
    assert found.ttft_ms + 99 * found.itl_ms <= 3500
