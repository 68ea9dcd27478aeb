from types import SimpleNamespace

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.faults import LostRequestPolicy, WorkerCrash
from contracts.plan import Role
from contracts.streams import RandomStreams
from contracts.workload import PromptText, RequestSpec, SessionPlan, Workload
from simcore.closed_loop import ClosedLoopWindow, simulate_closed_loop, simulate_sessions
from simcore.cluster import Cluster
from simcore.simulation import DRAIN_LIMIT_S, PeriodicControl, RunSettings, simulate
from simcore.workload import (
    Conversation,
    Lengths,
    PoissonArrivals,
    ThinkTime,
    synthesize_sessions,
)


def run(plan, count: int, concurrency: int, isl: int = 500, osl: int = 40):
    lengths = np.full(count, isl), np.full(count, osl)
    return simulate_closed_loop(plan, isl=lengths[0], osl=lengths[1], concurrency=concurrency).table


def test_exactly_the_concurrency_is_in_flight(make_agg_plan) -> None:
    table = run(make_agg_plan(1), 48, 4)
    assert table.completed.all()
    assert (table.arrival_ns == 0).sum() == 4
    for at_ns in table.arrival_ns[4:]:
        in_flight = (table.arrival_ns <= at_ns) & (table.finish_ns > at_ns)
        assert in_flight.sum() == 4, "a request starts only when another one has ended"
    assert np.isin(table.arrival_ns[4:], table.finish_ns).all()


def test_one_in_flight_has_the_latency_of_an_idle_engine(make_agg_plan) -> None:
    table = run(make_agg_plan(1), 10, 1)
    assert len(set(np.diff(table.arrival_ns).tolist())) == 1
    assert len(set((table.finish_ns - table.arrival_ns).tolist())) == 1


def test_more_in_flight_means_more_throughput_and_slower_tokens(make_agg_plan) -> None:
    few, many = run(make_agg_plan(1), 64, 2), run(make_agg_plan(1), 64, 32)
    assert many.finish_ns.max() < few.finish_ns.max() / 2
    assert np.median(many.itl_ms) > np.median(few.itl_ms)


@pytest.mark.parametrize(("count", "concurrency", "isl"), [(0, 1, 5), (5, 0, 5), (5, 1, 0)])
def test_bad_input_is_refused(make_agg_plan, count, concurrency, isl) -> None:
    with pytest.raises(InputError):
        run(make_agg_plan(1), count, concurrency, isl=isl)


def test_warm_up_requests_are_sent_but_not_counted(make_agg_plan) -> None:
    plan, lengths = make_agg_plan(1), (np.full(24, 500), np.full(24, 40))
    everything = run(plan, 24, 4)
    counted = simulate_closed_loop(
        plan,
        isl=lengths[0],
        osl=lengths[1],
        concurrency=4,
        window=ClosedLoopWindow(warmup_requests=10),
    ).table
    assert len(counted) == 14
    assert (counted.arrival_ns == everything.arrival_ns[10:]).all()
    assert (counted.finish_ns == everything.finish_ns[10:]).all()


def test_a_duration_ends_sending_and_lengths_are_used_again(make_agg_plan) -> None:
    record = simulate_closed_loop(
        make_agg_plan(1),
        isl=np.array([500, 700, 900]),
        osl=np.full(3, 40),
        concurrency=2,
        window=ClosedLoopWindow(duration_s=5.0),
    )
    table = record.table
    assert table.completed.all()
    assert table.isl.tolist() == ([500, 700, 900] * len(table))[: len(table)]
    assert table.arrival_ns.max() < 5e9 <= table.finish_ns.max()
    assert 5e9 - table.arrival_ns.max() < (table.finish_ns - table.arrival_ns).max()


def test_a_rejected_request_frees_its_place(make_agg_plan) -> None:
    isl = np.array([100, 10**6, 100, 100])
    table = simulate_closed_loop(make_agg_plan(1), isl=isl, osl=np.full(4, 5), concurrency=1).table
    assert table.status.tolist() == ["completed", "rejected", "completed", "completed"]
    assert table.arrival_ns[2] == table.arrival_ns[1]


@pytest.mark.parametrize(
    ("window", "path"),
    [
        (ClosedLoopWindow(warmup_requests=-1), "warmup_requests"),
        (ClosedLoopWindow(warmup_requests=8), "warmup_requests"),
        (ClosedLoopWindow(duration_s=0.0), "duration_s"),
        (ClosedLoopWindow(duration_s=float("nan")), "duration_s"),
    ],
)
def test_impossible_windows_are_refused(make_agg_plan, window, path) -> None:
    lengths = np.full(8, 10)
    with pytest.raises(InputError, match=path):
        simulate_closed_loop(
            make_agg_plan(1), isl=lengths, osl=lengths, concurrency=2, window=window
        )


def sessions(**changes) -> SessionPlan:
    columns = {
        "start_ns": np.array([0, 10**9]),
        "first_turn": np.array([0, 3, 5]),
        "isl": np.array([500, 700, 900, 400, 600]),
        "osl": np.array([40, 41, 42, 43, 44]),
        "think_ns": np.array([0, 7, 9, 0, 11]) * 10**9,
        "texts": tuple(
            PromptText((turn,), (isl,)) for turn, isl in enumerate((500, 700, 900, 400, 600))
        ),
        "priority": np.array([1, 0]),
        "adapters": ("a", ""),
    }
    return SessionPlan(source="test", **(columns | changes))


def test_a_turn_is_sent_its_pause_after_the_end_of_the_one_before(make_agg_plan) -> None:
    run = simulate_sessions(make_agg_plan(2), sessions())
    table = run.record.table
    assert table.completed.all()
    assert run.turns_abandoned == 0
    rows = {int(turn): row for row, turn in enumerate(run.turn_index)}
    assert set(rows) == set(range(5))
    for turn, think_s in ((1, 7), (2, 9), (4, 11)):
        pause_ns = table.arrival_ns[rows[turn]] - table.finish_ns[rows[turn - 1]]
        assert pause_ns == think_s * 10**9
    assert table.arrival_ns[rows[0]] == 0
    assert table.arrival_ns[rows[3]] == 10**9
    assert (np.diff(table.arrival_ns) >= 0).all()


def test_the_realised_turns_are_a_workload_that_replays_the_run(make_agg_plan) -> None:
    plan = make_agg_plan(2)
    run = simulate_sessions(plan, sessions())
    specs = {
        int(turn): spec for turn, spec in zip(run.turn_index, run.workload.requests(), strict=True)
    }
    assert specs[4].adapter == ""
    assert specs[2].adapter == "a"
    assert [specs[turn].priority for turn in range(5)] == [1, 1, 1, 0, 0]
    assert [specs[turn].session for turn in range(5)] == [0, 0, 0, 1, 1]
    assert specs[3].text == PromptText((3,), (400,))
    again = simulate(plan, run.workload)
    assert again.digest == run.record.digest
    assert (again.table.finish_ns == run.record.table.finish_ns).all()


def test_a_session_ends_with_a_turn_that_is_refused(make_agg_plan) -> None:
    isl = np.array([500, 10**6, 900, 400, 600])
    run = simulate_sessions(make_agg_plan(1), sessions(isl=isl, texts=None))
    assert run.turns_abandoned == 1
    by_turn = dict(zip(run.turn_index.tolist(), run.record.table.status.tolist(), strict=True))
    assert by_turn == {
        0: "completed", 1: "rejected", 3: "completed", 4: "completed",
    }  # fmt: skip


def test_sessions_take_faults_and_control(make_agg_plan) -> None:
    seen: list[float] = []

    def act(snapshot):
        seen.append(snapshot.now_s)
        return ()

    settings = RunSettings(
        faults=(WorkerCrash(role=Role.AGG, worker_index=0, at_s=0.1, restart=False),),
        lost_policy=LostRequestPolicy.FAIL,
        control=PeriodicControl(interval_s=5.0, act=act),
    )
    run = simulate_sessions(make_agg_plan(1), sessions(), settings)
    # The first session loses its worker in its first turn, the second finds none.
    assert run.record.table.status.tolist() == ["failed", "unfinished"]
    assert run.turns_abandoned == 3
    assert seen[-1] >= DRAIN_LIMIT_S
    assert seen[-1] < DRAIN_LIMIT_S + 20


def test_synthetic_conversations_run(make_agg_plan) -> None:
    plan = synthesize_sessions(
        Conversation(
            turns=Lengths(mean=4, cv=0.5),
            think=ThinkTime(mean_s=5.0, cv=1.0),
            first_isl=Lengths(mean=500),
            next_isl=Lengths(mean=50),
            osl=Lengths(mean=60),
        ),
        arrivals=PoissonArrivals(rate_per_s=2),
        duration_s=30.0,
        streams=RandomStreams(1),
    )
    one = simulate_sessions(make_agg_plan(2), plan)
    two = simulate_sessions(make_agg_plan(2), plan)
    assert one.record.digest == two.record.digest
    assert len(one.record.table) == plan.turns
    assert one.record.table.completed.all()


def test_texts_reach_the_cluster_and_must_fit(make_agg_plan, monkeypatch) -> None:
    sent: list[RequestSpec] = []
    submit = Cluster.submit

    def spy(self, request: RequestSpec) -> None:
        sent.append(request)
        submit(self, request)

    monkeypatch.setattr(Cluster, "submit", spy)
    lengths = np.array([5, 6])
    texts = (PromptText((1,), (5,)), None)
    window = ClosedLoopWindow(duration_s=0.1)
    simulate_closed_loop(
        make_agg_plan(1), isl=lengths, osl=lengths, concurrency=1, texts=texts, window=window
    )
    assert len(sent) > 2
    assert [request.text for request in sent] == [texts[at % 2] for at in range(len(sent))]
    with pytest.raises(InputError, match="texts and lengths differ"):
        simulate_closed_loop(
            make_agg_plan(1), isl=lengths, osl=lengths, concurrency=1, texts=texts[:1]
        )


def test_an_open_loop_hands_over_everything_a_request_has(make_agg_plan, monkeypatch) -> None:
    sent: list[RequestSpec] = []
    monkeypatch.setattr(Cluster, "submit", lambda self, request: sent.append(request))
    monkeypatch.setattr(Cluster, "record", lambda self: SimpleNamespace(table=sent))
    workload = Workload(
        arrival_ns=np.array([0, 0, 5]),
        isl=np.array([5, 6, 7]),
        osl=np.array([1, 2, 3]),
        source="t",
        texts=(None, PromptText((1,), (6,)), None),
        priority=np.array([2, 0, 1]),
        adapters=("a", "", "b"),
        sessions=np.array([4, -1, 4]),
        timeout_ns=77,
    )
    simulate(make_agg_plan(1), workload)
    assert sent == [
        RequestSpec(0, 0, 5, 1, None, 2, "a", 4, 77),
        RequestSpec(1, 0, 6, 2, PromptText((1,), (6,)), 0, "", -1, 77),
        RequestSpec(2, 5, 7, 3, None, 1, "b", 4, 77),
    ]
