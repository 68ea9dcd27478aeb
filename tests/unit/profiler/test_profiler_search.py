"""The stages of the search together, against a scripted simulator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from search_samples import Scripted, Toy, quiet, request

from contracts.engine import Backend
from contracts.errors import InfeasibleError
from contracts.model import Dtype
from contracts.sla import OptimizationType, SlaTarget
from profiler.core.explain import backend_notes, explain, explain_screened, objective
from profiler.core.pick import meets
from profiler.core.request import (
    ConcurrencyLoad,
    PickMode,
    Precision,
    RateLoad,
    WhenInfeasible,
)
from profiler.core.search import search

FAIL = {"when_infeasible": WhenInfeasible.FAIL}
ALL = dict.fromkeys(Backend, (8192, 2048))


def run(simulator: Scripted, **changes):
    return search(request(**changes), Toy(), simulator, quiet)


def test_replicas_are_added_before_a_candidate_is_given_up() -> None:
    simulator = Scripted(set(), good_gpus=8)
    result = run(simulator)
    first = simulator.asked[0][0]
    gpus = [gpus for label, gpus, _ in simulator.asked if label == first]
    assert gpus == sorted(gpus)
    assert gpus[0] < gpus[-1] == 8
    assert result.picked.sized.gpus == 8
    assert result.sla_met
    assert explain(result, result.picked).startswith("picked")


def test_the_others_are_told_what_they_miss() -> None:
    good = "agg-vllm-tp1-chunk8192"
    result = run(Scripted({good}))
    assert result.picked.sized.candidate.label == good
    others = [point for point in result.points if point is not result.picked]
    assert others
    assert all(explain(result, point).startswith("misses the SLA") for point in others)


def test_replicas_are_taken_away_while_a_higher_load_is_served() -> None:
    simulator = Scripted(set())
    result = run(simulator)
    assert result.picked.sized.gpus == min(point.sized.gpus for point in result.points)
    stressed = [rate for _, _, rate in simulator.asked if rate > 10.0]
    assert all(rate == pytest.approx(12.1) for rate in stressed)
    assert result.picked.sized.rate_per_s == 10.0


def test_a_load_keeps_its_form() -> None:
    result = run(Scripted(set()), load=ConcurrencyLoad(requests=8))
    assert result.picked.sized.concurrency == 8


def test_without_a_load_the_rate_is_climbed() -> None:
    simulator = Scripted(set())
    result = run(simulator, load=None, mode=PickMode.DEFAULT)
    entry = next(s for s in result.screened if s.sized.candidate == result.picked.sized.candidate)
    assert result.picked.sized.rate_per_s == pytest.approx(1.1**3 * entry.sized.rate_per_s)
    latency = run(
        Scripted(set()), load=None, mode=PickMode.DEFAULT, preference=OptimizationType.LATENCY
    )
    assert "half of the load" in objective(latency)
    assert latency.picked.sized.rate_per_s < result.picked.sized.rate_per_s


def test_a_planner_gets_single_replicas_without_a_load() -> None:
    result = run(Scripted(set()), load=None, mode=PickMode.AUTOSCALE)
    assert set(result.picked.sized.replicas.values()) == {1}


def test_backends_are_compared_and_the_reason_said() -> None:
    result = run(Scripted(set()), step_tokens=ALL)
    kinds = {(p.sized.candidate.backend, p.sized.candidate.topology) for p in result.points}
    assert len(kinds) == 6, "the best of each backend and topology is simulated"
    notes = backend_notes(result)
    assert [note.split(":")[0] for note in notes] == ["vllm", "sglang", "trtllm"]
    assert sum(note.endswith("; picked") for note in notes) == 1
    labels = {point.sized.candidate.label for point in result.points}
    for entry in result.screened:
        if entry.sized.candidate.label not in labels:
            assert explain_screened(result, entry)


@pytest.mark.parametrize(
    ("changes", "binding"),
    [
        ({"load": RateLoad(requests_per_s=5000.0)}, "GPU budget: needs"),
        ({"sla": SlaTarget(ttft_ms=500, itl_ms=0.5)}, "ITL: "),
        ({"sla": SlaTarget(ttft_ms=5, itl_ms=50)}, "TTFT: "),
    ],
)
def test_nothing_fits(changes, binding) -> None:
    with pytest.raises(InfeasibleError) as caught:
        run(Scripted({"none"}), **changes, **FAIL)
    assert caught.value.binding_constraint.startswith(binding)
    assert caught.value.closest
    result = run(Scripted({"none"}), **changes)
    assert not result.sla_met
    assert result.binding.startswith(binding)
    assert 0 < result.picked.sized.gpus <= 8
    assert not meets(result.picked)
    assert explain(result, result.picked).startswith("closest, misses the SLA")


def test_what_the_simulation_misses_is_named() -> None:
    with pytest.raises(InfeasibleError) as caught:
        run(Scripted({"none"}), **FAIL)
    assert caught.value.binding_constraint.startswith("TTFT: p90 600 ms under load")
    assert "50% of requests within the targets" in caught.value.closest[0]


@pytest.mark.parametrize("policy", list(WhenInfeasible))
def test_a_model_that_fits_nowhere_always_fails(policy) -> None:
    with pytest.raises(InfeasibleError) as caught:
        run(Scripted(set()), isl=10**6, when_infeasible=policy)
    assert "one request needs 1000100" in caught.value.binding_constraint


def test_other_precisions_of_the_pick_are_estimated_but_not_picked() -> None:
    small = Precision(weights=Dtype.FP8)
    result = run(Scripted(set()), alternatives=(small,))
    assert [each.sized.candidate.engines for each in result.alternatives]
    assert "fp8" in result.alternatives[0].sized.candidate.label
    assert "fp8" not in result.picked.sized.candidate.label
    searched = run(Scripted(set()), variants=(small,))
    assert any("fp8" in s.sized.candidate.label for s in searched.screened)


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    search(request(), Toy(), Scripted(set()), lambda *step: seen.append(step))
    assert seen[-1][1] == seen[-1][2] > 1
    assert {phase for phase, _, _ in seen} == {"screening", "simulating"}


def test_a_candidate_that_is_too_close_to_tell_is_not_said_to_miss() -> None:
    result = run(Scripted(set()))
    near = replace(result.points[-1], attainment_ratio=0.93, attainment_error=0.031)
    assert not meets(near)
    assert explain(result, near).startswith(
        "may miss the SLA: 93.0% of requests within the targets, give or take 3.1%"
    )
