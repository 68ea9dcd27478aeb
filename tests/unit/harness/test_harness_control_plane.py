"""Faults between planner and cluster, in both shapes; and shifts of the traffic."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest
from pydantic import TypeAdapter

from contracts.errors import InputError
from contracts.observation import ClusterSnapshot, Counters
from contracts.units import NS_PER_S
from contracts.workload import PromptText, Workload
from harness.faults import ControlPlane, FaultyTransport, Pace
from harness.run.workload import shifted
from harness.scenario import ApiErrors, ClockSkew, MetricsGap, StaleMetrics, TrafficShift

SNAPSHOT = TypeAdapter(ClusterSnapshot)


def snapshot(now_s: float, started: int = 0) -> ClusterSnapshot:
    counters = Counters(requests_started=started)
    return ClusterSnapshot(now_s=now_s, counters=counters, workers=(), loads=())


def test_a_gap_hides_everything_within_its_window() -> None:
    plane = ControlPlane([MetricsGap(at_s=10.0, duration_s=5.0)])
    assert plane.view(snapshot(9.9)) == snapshot(9.9)
    assert plane.view(snapshot(10.0)) is None
    assert plane.view(snapshot(15.0)) == snapshot(15.0)
    (record,) = plane.records()
    assert (record.kind, record.target) == ("metrics_gap", "planner, 1 tick")
    assert record.recovered_at_s == 15.0


def test_stale_figures_stand_still_while_time_goes_on() -> None:
    plane = ControlPlane([StaleMetrics(at_s=10.0, duration_s=5.0)])
    assert plane.view(snapshot(10.0, started=7)) == snapshot(10.0, started=7)
    assert plane.view(snapshot(12.0, started=20)) == snapshot(12.0, started=7)
    assert plane.view(snapshot(16.0, started=30)) == snapshot(16.0, started=30)


def test_a_skewed_clock_shows_another_time() -> None:
    plane = ControlPlane([ClockSkew(at_s=0.0, duration_s=5.0, skew_s=-2.5)])
    assert plane.view(snapshot(4.0)) == snapshot(1.5)


def test_a_fault_that_hits_no_tick_is_an_error() -> None:
    plane = ControlPlane([ApiErrors(at_s=1.0, duration_s=1.0)])
    assert not plane.refuses_order(5.0)
    with pytest.raises(InputError, match="hits no tick of the planner"):
        plane.records()


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def now_ns(self) -> int:
        return round(self.now_s * NS_PER_S)

    async def sleep_until_ns(self, at_ns: int) -> None:
        self.now_s = at_ns / NS_PER_S


def test_over_http_the_same_faults_are_answers() -> None:
    orders: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/admin/scale":
            orders.append(request.url.path)
            return httpx.Response(200, json={})
        return httpx.Response(200, content=SNAPSHOT.dump_json(snapshot(12.0, started=3)))

    async def talk() -> list[int]:
        faults = [MetricsGap(at_s=11.0, duration_s=2.0), ApiErrors(at_s=11.0, duration_s=2.0)]
        plane, clock = ControlPlane(faults), Clock(6.0)
        # Speed 2: six seconds of the clock are twelve of the cluster.
        pace = Pace(clock=clock, start_ns=0, speed=2.0)
        transport = FaultyTransport(httpx.MockTransport(answer), plane, pace)
        async with httpx.AsyncClient(transport=transport, base_url="http://planner") as client:
            first = await client.get("/admin/snapshot")
            second = await client.post("/admin/scale")
            clock.now_s = 7.0
            third = await client.post("/admin/scale")
        assert [record.kind for record in plane.records()] == ["metrics_gap", "api_errors"]
        return [first.status_code, second.status_code, third.status_code]

    assert asyncio.run(talk()) == [503, 503, 200]
    assert orders == ["/admin/scale"]


def workload() -> Workload:
    tokens = np.full(4, 100, dtype=np.int64)
    return Workload(
        arrival_ns=np.arange(4, dtype=np.int64) * NS_PER_S,
        isl=tokens,
        osl=tokens,
        source="test",
        texts=tuple(PromptText((n,), (100,)) for n in range(4)),
    )


def test_a_shift_changes_the_requests_of_its_window_only() -> None:
    shift = TrafficShift(at_s=1.0, duration_s=2.0, isl_factor=3.0, osl_factor=0.001)
    changed, record = shifted(workload(), shift)
    assert changed.isl.tolist() == [100, 300, 300, 100]
    assert changed.osl.tolist() == [100, 1, 1, 100]
    assert changed.texts is not None
    assert [text is None for text in changed.texts] == [False, True, True, False]
    assert (record.target, record.recovered_at_s) == ("2 requests", 3.0)
    with pytest.raises(InputError, match="hits no request"):
        shifted(workload(), TrafficShift(at_s=10.0, duration_s=1.0))
