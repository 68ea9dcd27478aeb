import itertools
import math

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.workload import PromptText, SessionPlan, Workload
from simcore.workload import (
    AdapterMix,
    ConstantArrivals,
    Conversation,
    Lengths,
    PoissonArrivals,
    SharedPrefixes,
    Thinking,
    ThinkTime,
    TrafficMix,
    synthesize,
    synthesize_sessions,
)

STREAMS = RandomStreams(3)
ISL, OSL = Lengths(mean=1000, cv=0.4), Lengths(mean=100)


def draw(mix: TrafficMix | None = None, count: int = 4000, isl: Lengths = ISL, osl: Lengths = OSL):
    return synthesize(
        ConstantArrivals(rate_per_s=10),
        duration_s=count / 10,
        isl=isl,
        osl=osl,
        streams=STREAMS,
        mix=mix,
    )


def test_prefix_groups_share_exactly_their_beginning() -> None:
    workload = draw(TrafficMix(prefixes=SharedPrefixes(groups=50, shared_ratio=0.5)))
    assert workload.texts is not None
    groups = np.array([text.ids[0] for text in workload.texts])
    assert set(groups.tolist()) == set(range(50))
    assert np.bincount(groups).max() < 2 * 4000 / 50, "groups are about equally popular"
    assert {text.ends[0] for text in workload.texts} == {500}
    own = [text.ids[1] for text in workload.texts]
    assert len(set(own)) == len(own)
    assert not set(own) & set(range(50))
    assert [text.ends[1] for text in workload.texts] == workload.isl.tolist()
    assert workload.isl.min() == 501


def test_popular_groups_follow_zipf() -> None:
    prefixes = SharedPrefixes(groups=4, shared_ratio=0.5, zipf_exponent=1.0)
    texts = draw(TrafficMix(prefixes=prefixes), count=20_000).texts
    counts = np.bincount([text.ids[0] for text in texts])
    assert counts / 20_000 == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.015)


def test_a_share_of_the_requests_thinks() -> None:
    thinking = Thinking(request_ratio=0.3, tokens=Lengths(mean=2000, cv=0.5))
    workload = draw(TrafficMix(thinking=thinking), osl=Lengths(mean=200))
    thought = workload.reasoning_tokens
    thinks = thought > 0
    assert thinks.mean() == pytest.approx(0.3, abs=0.03)
    assert thought[thinks].mean() == pytest.approx(2000, rel=0.05)
    assert (workload.osl - thought == 200).all()


def test_adapters_priorities_and_time_outs() -> None:
    mix = TrafficMix(
        adapters=AdapterMix(names=("a", "b", "c"), zipf_exponent=1.0, base_ratio=0.45),
        priority_ratios=(0.2, 0.0, 0.8),
        timeout_s=2.5,
    )
    workload = draw(mix, count=20_000)
    shares = {name: workload.adapters.count(name) / 20_000 for name in ("a", "b", "c", "")}
    assert shares == pytest.approx({"a": 0.3, "b": 0.15, "c": 0.1, "": 0.45}, abs=0.015)
    counts = np.bincount(workload.priority) / 20_000
    assert counts == pytest.approx([0.2, 0, 0.8], abs=0.015)
    request = workload.request(7)
    assert request.timeout_ns == 2_500_000_000
    assert request.priority == workload.priority[7]
    assert request.adapter == workload.adapters[7]


def test_a_mix_does_not_disturb_what_it_does_not_concern() -> None:
    plain = draw()
    mixed = draw(
        TrafficMix(
            adapters=AdapterMix(names=("a",)),
            thinking=Thinking(request_ratio=1, tokens=Lengths(mean=9, cv=1)),
        )
    )
    assert (plain.arrival_ns == mixed.arrival_ns).all()
    assert (plain.isl == mixed.isl).all()
    assert plain.texts is None
    assert plain.reasoning_tokens is None


def test_the_same_seed_gives_the_same_workload_and_requests_come_in_portions() -> None:
    mix = TrafficMix(
        prefixes=SharedPrefixes(groups=5, shared_ratio=0.2), priority_ratios=(0.5, 0.5)
    )
    one, two = draw(mix, count=9000), draw(mix, count=9000)
    assert list(one.requests()) == list(two.requests())
    every_1000th = [one.request(at) for at in range(0, 9000, 1000)]
    assert list(one.requests())[::1000] == every_1000th


NAN, INF = math.nan, math.inf
PREFIXES = SharedPrefixes(groups=5, shared_ratio=0.5)


@pytest.mark.parametrize(
    ("mix", "path"),
    [
        (TrafficMix(prefixes=SharedPrefixes(groups=0, shared_ratio=0.5)), "prefixes.groups"),
        (TrafficMix(prefixes=SharedPrefixes(groups=1, shared_ratio=1.0)), "prefixes.shared_ratio"),
        (TrafficMix(prefixes=SharedPrefixes(groups=1, shared_ratio=NAN)), "prefixes.shared_ratio"),
        (
            TrafficMix(prefixes=SharedPrefixes(groups=1, shared_ratio=0.5, zipf_exponent=-1)),
            "prefixes.zipf_exponent",
        ),
        (TrafficMix(thinking=Thinking(request_ratio=1.5, tokens=OSL)), "thinking.request_ratio"),
        (
            TrafficMix(thinking=Thinking(request_ratio=1, tokens=Lengths(mean=0))),
            "thinking.tokens.mean",
        ),
        (TrafficMix(adapters=AdapterMix(names=())), "adapters.names"),
        (TrafficMix(adapters=AdapterMix(names=("a", "a"))), "adapters.names"),
        (TrafficMix(adapters=AdapterMix(names=("a",), base_ratio=-0.1)), "adapters.base_ratio"),
        (TrafficMix(priority_ratios=(0.5, 0.4)), "priority_ratios"),
        (TrafficMix(priority_ratios=(1.5, -0.5)), "priority_ratios"),
        (TrafficMix(timeout_s=INF), "timeout_s"),
        (TrafficMix(timeout_s=-1), "timeout_s"),
    ],
)
def test_an_impossible_mix_names_the_field(mix, path) -> None:
    with pytest.raises(InputError, match=path):
        draw(mix, count=10)


@pytest.mark.parametrize(
    ("isl", "path"),
    [
        (Lengths(mean=NAN), r"isl\.mean"),
        (Lengths(mean=INF), r"isl\.mean"),
        (Lengths(mean=-5), r"isl\.mean"),
        (Lengths(mean=5, cv=NAN), r"isl\.cv"),
        (Lengths(mean=5, min_tokens=9, max_tokens=8), r"isl\.max_tokens"),
        (Lengths(mean=5, max_tokens=0), r"isl\.max_tokens"),
    ],
)
def test_impossible_lengths_name_the_field(isl, path) -> None:
    with pytest.raises(InputError, match=path):
        draw(count=10, isl=isl)


@pytest.mark.parametrize("rate", [NAN, INF, -1.0, 0.0, 1e12])
@pytest.mark.parametrize("kind", [ConstantArrivals, PoissonArrivals])
def test_impossible_rates_are_refused(kind, rate) -> None:
    with pytest.raises(InputError, match="rate_per_s"):
        synthesize(kind(rate_per_s=rate), duration_s=1e3, isl=ISL, osl=OSL, streams=STREAMS)


@pytest.mark.parametrize("duration_s", [NAN, INF, 0.0])
def test_impossible_durations_are_refused(duration_s) -> None:
    with pytest.raises(InputError, match="duration_s"):
        synthesize(
            PoissonArrivals(rate_per_s=1), duration_s=duration_s, isl=ISL, osl=OSL, streams=STREAMS
        )


def talk(
    mix: TrafficMix | None = None, turns: Lengths | None = None, think: ThinkTime | None = None
):
    conversation = Conversation(
        turns=turns or Lengths(mean=4, cv=0.5),
        think=think or ThinkTime(mean_s=20.0, cv=1.0),
        first_isl=Lengths(mean=800, cv=0.3),
        next_isl=Lengths(mean=60, cv=0.5),
        osl=Lengths(mean=150, cv=0.5),
    )
    return synthesize_sessions(
        conversation,
        arrivals=PoissonArrivals(rate_per_s=2),
        duration_s=300.0,
        streams=STREAMS,
        mix=mix,
    )


def test_every_turn_builds_on_the_one_before() -> None:
    plan = talk(TrafficMix(prefixes=PREFIXES))
    assert plan.turns / len(plan) == pytest.approx(4, rel=0.1)
    own_ids = set()
    for session in range(len(plan)):
        turns = range(int(plan.first_turn[session]), int(plan.first_turn[session + 1]))
        assert plan.think_ns[turns[0]] == 0
        assert plan.texts[turns[0]].ids[0] in range(5)
        assert plan.texts[turns[0]].ends[0] == 400
        for before, after in itertools.pairwise(turns):
            old, new = plan.texts[before], plan.texts[after]
            assert new.ids[:-1] == (*old.ids, old.output_id)
            assert new.ends[:-1] == (*old.ends, int(plan.isl[before] + plan.osl[before]))
            assert plan.isl[after] > plan.isl[before] + plan.osl[before]
        own_ids.update(text_id for t in turns for text_id in plan.texts[t].ids[1:])
    assert not own_ids & set(range(5))
    thoughts_s = plan.think_ns[np.setdiff1d(np.arange(plan.turns), plan.first_turn)] / 1e9
    assert thoughts_s.mean() == pytest.approx(20, rel=0.15)


def test_thinking_leaves_the_history() -> None:
    thinking = Thinking(request_ratio=1.0, tokens=Lengths(mean=500))
    plan = talk(TrafficMix(thinking=thinking), turns=Lengths(mean=3))
    first, second = plan.texts[0], plan.texts[1]
    assert first.output_id == -1
    assert second.ids[:-1] == first.ids
    answer = int(plan.osl[0] - plan.reasoning_tokens[0])
    assert 1 <= int(plan.isl[1]) - int(plan.isl[0]) - answer < 500
    assert (plan.reasoning_tokens == 500).all()


def test_adapters_and_priorities_belong_to_sessions() -> None:
    mix = TrafficMix(adapters=AdapterMix(names=("a", "b")), priority_ratios=(0.5, 0.5))
    plan = talk(mix)
    assert len(plan.adapters) == len(plan.priority) == len(plan)


@pytest.mark.parametrize(
    ("think", "path"),
    [
        (ThinkTime(mean_s=-1), r"think\.mean_s"),
        (ThinkTime(mean_s=NAN), r"think\.mean_s"),
        (ThinkTime(mean_s=1, cv=-1), r"think\.cv"),
    ],
)
def test_impossible_pauses_are_refused(think, path) -> None:
    with pytest.raises(InputError, match=path):
        talk(think=think)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


GOOD_PLAN = {
    "start_ns": ints(0, 5),
    "first_turn": ints(0, 2, 3),
    "isl": ints(5, 20, 5),
    "osl": ints(5, 5, 5),
    "think_ns": ints(0, 9, 0),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_ns": ints()}, "no sessions"),
        ({"start_ns": ints(5, 0)}, "not decrease"),
        ({"first_turn": ints(0, 3)}, "first_turn has a wrong number"),
        ({"first_turn": ints(0, 0, 3)}, "at least one turn"),
        ({"first_turn": ints(0, 2, 2)}, "at least one turn"),
        ({"isl": ints(5, 0, 5)}, "request 1 isl"),
        ({"think_ns": ints(0, -1, 0)}, "must not be negative"),
        ({"osl": ints(5, 5)}, "osl has a wrong number"),
        ({"texts": (None, PromptText((1,), (9,)), None)}, "request 1 text"),
        ({"reasoning_tokens": ints(0, 0, 6)}, "request 2 reasoning_tokens"),
        ({"priority": ints(0)}, "priority has a wrong number"),
    ],
)
def test_a_session_plan_checks_itself(change, message) -> None:
    SessionPlan(source="s", **GOOD_PLAN)
    with pytest.raises(InputError, match=message):
        SessionPlan(source="s", **(GOOD_PLAN | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": (PromptText((1,), (4,)),)}, "request 0 text"),
        ({"texts": ()}, "texts and arrivals differ"),
        ({"reasoning_tokens": ints(-1)}, "request 0 reasoning_tokens"),
        ({"timeout_ns": -1}, "timeout_ns"),
        ({"arrival_ns": ints(-1)}, "not decrease"),
    ],
)
def test_a_workload_checks_itself(change, message) -> None:
    good = {"arrival_ns": ints(0), "isl": ints(5), "osl": ints(5)}
    Workload(source="w", **good)
    with pytest.raises(InputError, match=message):
        Workload(source="w", **(good | change))
