"""The HTTP adapter against a small in-process application, on a clock that jumps."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from planner_samples import config, model, snapshot

from contracts.errors import InputError
from contracts.plan import Role
from planner.adapters.http import Applied, HttpPlannerAdapter, LoopClock, TickReport
from planner.loop import Planner


class JumpClock:
    """Sleeping takes no time but moves the clock."""

    def __init__(self) -> None:
        self.at_s = 1000.0
        self.sleeps: list[float] = []

    def now_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.at_s += seconds
        await asyncio.sleep(0)


class Cluster:
    """Serves what the mocker serves: 8 requests/s in the cluster's time."""

    def __init__(self, clock: JumpClock, speed: float = 1.0) -> None:
        self.app = FastAPI()
        self.orders: list[Any] = []
        self.snapshot_answers: list[Response] = []
        self.scale_answers: list[Response] = []
        self._replicas = {"prefill": 1, "decode": 1}
        start_s = clock.at_s

        @self.app.get("/base/admin/snapshot")
        def _snapshot() -> Response:
            if self.snapshot_answers:
                return self.snapshot_answers.pop(0)
            now_s = (clock.at_s - start_s) * speed
            view = snapshot(now_s, round(8 * now_s), **self._replicas)
            return Response(json.dumps(dataclasses.asdict(view)), media_type="application/json")

        @self.app.post("/base/admin/scale")
        async def _scale(body: dict[str, Any]) -> Response:
            self.orders.append(body)
            if self.scale_answers:
                return self.scale_answers.pop(0)
            self._replicas |= {t["role"]: t["replicas"] for t in body["targets"]}
            return Response()


def play(
    cluster: Cluster,
    clock: JumpClock,
    *,
    ticks: int,
    on_report: Callable[[TickReport], None] = lambda report: None,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Any,
) -> tuple[list[TickReport], HttpPlannerAdapter]:
    reports: list[TickReport] = []

    def collect(report: TickReport) -> None:
        reports.append(report)
        on_report(report)

    async def drive() -> HttpPlannerAdapter:
        wire = transport or httpx.ASGITransport(app=cluster.app)
        async with httpx.AsyncClient(transport=wire) as client:
            adapter = HttpPlannerAdapter(
                Planner(config(), model()), client, "http://mock/base/", clock=clock, **options
            )
            await adapter.run(collect, ticks=ticks)
            return adapter

    return reports, asyncio.run(drive())


def test_baseline_then_decision_then_order():
    clock = JumpClock()
    cluster = Cluster(clock)
    reports, adapter = play(cluster, clock, ticks=3)
    assert [r.applied for r in reports] == [
        Applied.NOTHING_TO_DO,
        Applied.ACCEPTED,
        Applied.ACCEPTED,
    ]
    assert reports[0].decision.held
    order = {"targets": [{"role": "prefill", "replicas": 1}, {"role": "decode", "replicas": 4}]}
    assert cluster.orders == [order, order]
    assert reports[2].decision.figures["decode_position_replicas"] == 4.0
    assert clock.sleeps == [5.0, 5.0]
    assert adapter.planner.decisions == [r.decision for r in reports]


def test_speed_shortens_the_wall_interval_but_not_the_window():
    clock = JumpClock()
    reports, _ = play(Cluster(clock, speed=10.0), clock, ticks=3, speed=10.0)
    assert clock.sleeps == pytest.approx([0.5, 0.5])
    assert reports[1].decision.now_s == pytest.approx(5.0)
    assert reports[1].decision.figures["rate_per_s"] == pytest.approx(8.0)


def test_advisory_never_acts():
    clock = JumpClock()
    cluster = Cluster(clock)
    reports, _ = play(cluster, clock, ticks=2, advisory=True)
    assert reports[1].applied is Applied.ADVISORY
    assert reports[1].decision.replicas(Role.DECODE) == 4
    assert cluster.orders == []


def test_deadlines_are_absolute_and_missed_ones_are_skipped():
    clock = JumpClock()
    work_s = iter([0.5, 12.0, 1.0, 0.0])

    def work(report: TickReport) -> None:
        clock.at_s += next(work_s)

    _, adapter = play(Cluster(clock), clock, ticks=4, on_report=work)
    # Ticks at 0, 5 (ends at 17: 10 and 15 are missed), 20 (ends at 21), 25.
    assert clock.sleeps == [4.5, 3.0, 4.0]
    assert adapter.ticks_skipped == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response("overloaded", status_code=503), "HTTP 503"),
        (Response("who?", status_code=404), "HTTP 404"),
        (Response("{}"), "malformed"),
        (Response("<html>"), "malformed"),
        (
            Response(json.dumps(dataclasses.asdict(snapshot(0.0, 0)) | {"now_s": "soon"})),
            "malformed: now_s",
        ),
        (
            Response(json.dumps(dataclasses.asdict(snapshot(0.0, 0)) | {"now_s": float("nan")})),
            "malformed: now_s",
        ),
    ],
)
def test_bad_telemetry_is_a_hold_and_the_next_tick_recovers(answer, words):
    clock = JumpClock()
    cluster = Cluster(clock)

    def spoil(report: TickReport) -> None:
        if report.decision.now_s == 5.0 and not report.decision.held:
            cluster.snapshot_answers.append(answer)

    reports, _ = play(cluster, clock, ticks=4, on_report=spoil)
    lost = reports[2]
    assert lost.decision.held
    assert lost.decision.now_s == 10.0
    assert lost.decision.figures["unknown_age_s"] == 5.0
    assert words in (lost.problem or "")
    assert len(cluster.orders) == 2
    assert reports[3].applied is Applied.ACCEPTED
    assert reports[3].decision.figures["rate_per_s"] == 8.0


def test_an_unreachable_cluster_is_a_hold():
    clock = JumpClock()

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    reports, adapter = play(Cluster(clock), clock, ticks=3, transport=httpx.MockTransport(refuse))
    assert all(r.decision.held for r in reports)
    assert "connection refused" in (reports[0].problem or "")
    assert adapter.planner.counts.held == 3


@pytest.mark.parametrize(
    ("status", "applied"),
    [
        (400, Applied.REJECTED),
        (409, Applied.REJECTED),
        (429, Applied.UNKNOWN),
        (503, Applied.UNKNOWN),
    ],
)
def test_a_failed_order_is_reported_and_repeated(status, applied):
    clock = JumpClock()
    cluster = Cluster(clock)
    cluster.scale_answers.append(Response("no", status_code=status))
    reports, _ = play(cluster, clock, ticks=3)
    assert reports[1].applied is applied
    assert str(status) in (reports[1].problem or "")
    assert reports[2].applied is Applied.ACCEPTED
    assert cluster.orders[0] == cluster.orders[1]


def test_cancellation_stops_the_run():
    clock = JumpClock()
    reports: list[TickReport] = []

    async def drive() -> None:
        transport = httpx.ASGITransport(app=Cluster(clock).app)
        async with httpx.AsyncClient(transport=transport) as client:
            adapter = HttpPlannerAdapter(
                Planner(config(), model()), client, "http://mock/base", clock=clock
            )
            started = asyncio.Event()

            def collect(report: TickReport) -> None:
                reports.append(report)
                started.set()

            task = asyncio.create_task(adapter.run(collect))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(drive())
    assert reports


def test_the_loop_clock_is_the_loops_own():
    async def look() -> tuple[float, float, float]:
        clock = LoopClock()
        before_s = asyncio.get_running_loop().time()
        await clock.sleep(0.0)
        return before_s, clock.now_s(), asyncio.get_running_loop().time()

    before_s, now_s, after_s = asyncio.run(look())
    assert before_s <= now_s <= after_s


@pytest.mark.parametrize("endpoint", ["localhost:8000", "ftp://host", "http://", "", "http://a:b"])
def test_an_endpoint_must_be_a_base_address(endpoint):
    with pytest.raises(InputError, match="endpoint"):
        HttpPlannerAdapter(Planner(config(), model()), httpx.AsyncClient(), endpoint)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_speed_must_be_positive(speed):
    with pytest.raises(InputError, match="speed"):
        HttpPlannerAdapter(
            Planner(config(), model()), httpx.AsyncClient(), "http://mock", speed=speed
        )
