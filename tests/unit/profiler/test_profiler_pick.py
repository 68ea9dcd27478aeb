"""Which simulated candidate is picked, and what is said about the others."""

from __future__ import annotations

import pytest
from search_samples import agg, disagg, flat, measured, request

from contracts.plan import Role
from contracts.sla import OptimizationType, SlaTarget
from profiler.core.pick import closest, distance, meets, pareto_front, pick, shortfall
from profiler.core.request import PickMode, Sized
from profiler.core.results import Measured, Screened

DEFAULT = {"load": None, "mode": PickMode.DEFAULT}


def entry(sized: Sized, unit_cost: float = 1.0, capacity: float = 10.0) -> Screened:
    return Screened(
        sized=sized, ttft_ms=1.0, itl_ms=1.0, gpus_needed=sized.gpus, gpus_min=1,
        capacity_per_s=dict.fromkeys(sized.replicas, capacity),
        rate_max_per_s=20.0, unit_cost=unit_cost, feasible=True, reason="",
    )  # fmt: skip


def picked(points: list[Measured], costs: list[float] | None = None, **changes) -> Measured | None:
    costs = costs or [1.0] * len(points)
    found = [(entry(p.sized, cost), p) for p, cost in zip(points, costs, strict=True)]
    return pick(request(**changes), found)


def test_attainment_must_exceed_the_limit_by_its_sampling_error() -> None:
    assert meets(measured(agg(), 0.9))
    assert not meets(measured(agg(), 0.89))
    assert not meets(measured(agg(), 0.93, attainment_error=0.04))
    assert meets(measured(agg(), 0.93, attainment_error=0.02))


def test_pareto_front_keeps_what_nothing_dominates() -> None:
    one, two = agg(1, 2), agg(2, 2)
    points = [
        measured(one, 1.0, ttft_ms=100, itl_ms=10),
        measured(one, 1.0, ttft_ms=100, itl_ms=11),
        measured(two, 1.0, ttft_ms=50, itl_ms=10),
        measured(two, 1.0, ttft_ms=50, itl_ms=10),
    ]
    assert pareto_front(points) == [True, False, True, True]


def test_a_load_takes_the_fewest_gpus_then_the_most_headroom() -> None:
    two, four = measured(agg(1, 2), 0.95), measured(agg(2, 2), 1.0)
    late = measured(agg(1, 1), 0.89)
    assert picked([four, two, late]) is two
    assert picked([late]) is None
    roomy = measured(agg(1, 4), 0.95)
    assert picked([four, roomy]) is roomy, "four replicas have twice the headroom of two"
    split = measured(disagg(2, 2), 1.0)
    assert picked([split, four]) is four, "aggregated where all is equal"
    quick = measured(agg(2, 2), 0.95, itl_ms=5)
    assert picked([roomy, quick], preference=OptimizationType.LATENCY) is quick


def test_without_a_load_throughput_or_latency_decides() -> None:
    slow, fast = measured(agg(4, 2, 10.0), 1.0), measured(agg(2, 4, 20.0), 1.0, ttft_ms=300)
    close = measured(agg(1, 8, 20.5), 1.0)
    assert picked([slow, fast], **DEFAULT) is fast
    assert picked([fast, close], **DEFAULT) is fast, "the order of the screen decides ties"
    assert picked([slow, fast], **DEFAULT, preference=OptimizationType.LATENCY) is slow


def test_autoscale_takes_the_cheapest_request_a_second() -> None:
    dear, cheap = measured(agg(4, 1, 8.0), 1.0), measured(agg(2, 1, 3.0), 1.0)
    changes = {"load": None, "mode": PickMode.AUTOSCALE}
    assert picked([dear, cheap], [0.5, 0.4], **changes) is cheap
    assert picked([dear, cheap], [0.4, 0.41], **changes) is dear
    late = measured(agg(1, 1, 8.0), 0.5)
    assert picked([late, cheap], [0.1, 0.4], **changes) is cheap, "TTFT counts here too"


@pytest.mark.parametrize(
    ("sla", "far"),
    [
        (SlaTarget(ttft_ms=50, itl_ms=20), 2.0),
        (SlaTarget(ttft_ms=500, itl_ms=5), 2.0),
        (SlaTarget(ttft_ms=1, itl_ms=1, e2e_ms=545), 2.0),
    ],
)
def test_ttft_itl_and_e2e_misses_are_alike(sla, far) -> None:
    point = measured(agg(), 0.0)
    assert distance(point, sla) == pytest.approx(far)
    nearer = measured(agg(2), 0.0, ttft_ms=60, itl_ms=6)
    found = [(entry(p.sized, capacity=20.0), p) for p in (point, nearer)]
    assert closest(request(sla=sla), found) == [nearer, point]
    assert "target" in shortfall(point, sla)


def test_throughput_of_the_whole_deployment() -> None:
    point = measured(disagg(3, 1, rate=8.0), 1.0, e2e=flat(7.0))
    assert point.sized.replicas == {Role.PREFILL: 3, Role.DECODE: 1}
    assert point.tokens_per_s == pytest.approx(800.0)
    assert point.e2e_ms == 7.0


def test_when_no_budget_serves_the_load_the_closest_serves_most_of_it() -> None:
    small, large = measured(agg(1, 1), 0.0, ttft_ms=900), measured(agg(1, 4), 0.0, ttft_ms=999)
    found = [(entry(p.sized, capacity=1.0), p) for p in (small, large)]
    assert closest(request(), found) == [large, small]
