"""The planner as an object: windows between snapshots, decision log, counts."""

from __future__ import annotations

from planner_samples import config, model, snapshot

from contracts.observation import ClusterSnapshot
from contracts.plan import Role
from planner.loop import Planner


def planner() -> Planner:
    return Planner(config(), model())


def test_the_first_snapshot_is_the_baseline_and_holds():
    decision = planner().on_snapshot(snapshot(0.0, 100))
    assert decision.held
    assert "no earlier snapshot" in decision.reason


def test_the_second_snapshot_decides_on_the_difference():
    loop = planner()
    loop.on_snapshot(snapshot(0.0, 100))
    decision = loop.on_snapshot(snapshot(5.0, 140))
    assert decision.figures["rate_per_s"] == 8.0
    assert decision.figures["ttft_ms_mean"] == 150.0
    assert decision.figures["itl_ms_mean"] == 20.0
    assert decision.replicas(Role.DECODE) == 4


def test_log_and_counts():
    loop = planner()
    steps = [snapshot(0.0, 0), snapshot(5.0, 40), snapshot(10.0, 80, decode=4)]
    steps += [snapshot(10.0 + 5.0 * i, 80, decode=4) for i in (1, 2, 3)]
    made = [loop.on_snapshot(step) for step in steps]
    assert loop.decisions == made
    assert [d.replicas(Role.DECODE) for d in made] == [None, 4, 4, 4, 4, 1]
    counts = loop.counts
    assert (counts.ticks, counts.held, counts.scaled_up, counts.scaled_down) == (6, 1, 1, 1)


def test_lost_telemetry_holds_and_the_next_window_spans_the_gap():
    loop = planner()
    loop.on_snapshot(snapshot(0.0, 0))
    lost = loop.on_telemetry_lost(5.0, "connection refused")
    assert lost.held
    assert lost.targets == ()
    assert lost.figures["unknown_age_s"] == 5.0
    assert "connection refused" in lost.reason
    after = loop.on_snapshot(snapshot(10.0, 80))
    assert after.figures["rate_per_s"] == 8.0


def test_lost_telemetry_before_the_first_snapshot_holds():
    assert planner().on_telemetry_lost(0.0, "down").held


def test_restarted_counters_hold_and_then_recover():
    loop = planner()
    loop.on_snapshot(snapshot(0.0, 100))
    assert loop.on_snapshot(snapshot(5.0, 10)).held
    assert not loop.on_snapshot(snapshot(10.0, 20)).held


def test_equal_snapshots_give_equal_decisions():
    def decisions() -> list[object]:
        loop = planner()
        steps: list[ClusterSnapshot] = [snapshot(5.0 * i, i * i * 3) for i in range(12)]
        return [loop.on_snapshot(step) for step in steps]

    first = decisions()
    assert len(first) == 12
    assert first == decisions()
