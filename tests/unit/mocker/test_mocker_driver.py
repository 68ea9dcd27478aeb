import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from contracts.decision import RoleTarget
from contracts.errors import InputError
from contracts.plan import Role
from contracts.records import RequestStatus
from contracts.workload import Workload
from mocker.api.exposition import Families, exposition_of
from mocker.engines.driver import EngineDriver
from mocker.engines.faults import FaultRequest
from mocker.engines.options import DriverOptions
from mocker.engines.port import Outcome, Submitted
from mocker.metrics.tally import Tally
from simcore.simulation import simulate

MS = 1_000_000


class FakeClock:
    def __init__(self) -> None:
        self.wall_ns = 5_000 * MS

    def now_ns(self) -> int:
        return self.wall_ns

    def unix_s(self) -> int:
        return 1_700_000_000

    def alarm(self, ring):
        return SilentAlarm()

    def when_heard(self, call):
        asyncio.get_running_loop().call_soon(call)

    def order(self):
        return None


class SilentAlarm:
    def set(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def clear(self) -> None:
        self.at_ns = None

    def close(self) -> None:
        self.at_ns = None


class Sink:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.tokens: list[tuple[int, int]] = []
        self.end: tuple[RequestStatus, str] | None = None
        self.outcome: Outcome | None = None

    def on_tokens(self, generated: int) -> None:
        self.tokens.append((generated, self.clock.wall_ns))

    def on_end(self, outcome: Outcome) -> None:
        if outcome.generated > (self.tokens[-1][0] if self.tokens else 0):
            self.tokens.append((outcome.generated, self.clock.wall_ns))
        self.outcome = outcome
        self.end = (outcome.status, outcome.reason)


def drive(plan, scenario, **options):
    """Run ``scenario(driver, clock)`` inside an event loop with a clock that stands still."""

    async def body():
        clock = FakeClock()
        driver = EngineDriver(plan, clock=clock, options=DriverOptions(**options))
        try:
            return scenario(driver, clock)
        finally:
            driver.close()

    return asyncio.run(body())


def play(driver: EngineDriver, clock: FakeClock, until_ms: float, step_ms: float = 0.5) -> None:
    while clock.wall_ns < 5_000 * MS + until_ms * MS:
        clock.wall_ns += int(step_ms * MS)
        driver.run_due()


def test_tokens_come_at_the_simulated_instants(make_agg_plan) -> None:
    plan = make_agg_plan(1)
    lone = Workload(arrival_ns=np.array([0]), isl=np.array([1000]), osl=np.array([20]), source="t")
    table = simulate(plan, lone).table

    def scenario(driver, clock):
        sink = Sink(clock)
        driver.submit(Submitted(isl=1000, osl=20), sink)
        driver.run_due()
        play(driver, clock, 400)
        return sink

    sink = drive(plan, scenario)
    assert [count for count, _ in sink.tokens] == list(range(1, 21))
    first_ms, last_ms = (sink.tokens[i][1] / MS - 5_000 for i in (0, -1))
    assert first_ms == pytest.approx(table.first_token_ns[0] / MS, abs=0.5)
    assert last_ms == pytest.approx(table.finish_ns[0] / MS, abs=0.5)
    assert sink.end == (RequestStatus.COMPLETED, "")


@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_speed_stretches_the_wall_clock_and_nothing_else(make_agg_plan, speed) -> None:
    def scenario(driver, clock):
        sink = Sink(clock)
        driver.submit(Submitted(isl=1000, osl=20), sink)
        driver.run_due()
        play(driver, clock, 1000)
        return sink.tokens[-1][1] - 5_000 * MS, driver.record().table.finish_ns[0]

    wall_ns, finish_ns = drive(make_agg_plan(1), scenario, speed=speed)
    same_ns = drive(make_agg_plan(1), scenario, speed=1.0)[1]
    assert finish_ns == same_ns
    assert wall_ns == pytest.approx(finish_ns / speed, abs=0.6 * MS)


def test_a_late_driver_delivers_coalesced_tokens_and_catches_up(make_agg_plan) -> None:
    def scenario(driver, clock):
        sink = Sink(clock)
        driver.submit(Submitted(isl=100, osl=50), sink)
        driver.run_due()
        clock.wall_ns += 10_000 * MS
        driver.run_due()
        return sink, driver.record().table.finish_ns[0]

    sink, finish_ns = drive(make_agg_plan(1), scenario)
    assert sink.tokens[-1][0] == 50
    assert finish_ns < 1_000 * MS, "being late must not change simulated time"


def test_cancel_frees_the_engine(make_agg_plan) -> None:
    def scenario(driver, clock):
        sink = Sink(clock)
        request_id = driver.submit(Submitted(isl=1000, osl=5000), sink)
        driver.run_due()
        play(driver, clock, 100)
        driver.cancel(request_id)
        play(driver, clock, 200)
        return sink, driver.snapshot()

    sink, snapshot = drive(make_agg_plan(1), scenario)
    assert sink.end is not None
    assert sink.end[0] is RequestStatus.CANCELLED
    assert snapshot.loads[0].kv_usage_ratio == 0


def test_requests_that_never_fit_end_at_once(make_agg_plan) -> None:
    def scenario(driver, clock):
        sink = Sink(clock)
        assert "exceed" in driver.refusal(10**9, 5)
        driver.submit(Submitted(isl=10**9, osl=5), sink)
        driver.run_due()
        return sink.end

    status, reason = drive(make_agg_plan(1), scenario)
    assert status is RequestStatus.REJECTED
    assert "exceed" in reason


def crash(**fields):
    return FaultRequest(kind="worker_crash", role=Role.AGG, **fields).to_fault()


def test_scaling_and_faults_reach_the_cluster(make_agg_plan) -> None:
    def scenario(driver, clock):
        driver.scale([RoleTarget(role=Role.AGG, replicas=3)])
        play(driver, clock, 5_100, step_ms=50)
        before = len(driver.snapshot().workers)
        driver.inject(crash(restart=False))
        play(driver, clock, 5_200, step_ms=50)
        with pytest.raises(InputError, match="hits no worker"):
            driver.inject(crash(worker_index=9))
        states = [worker.state.value for worker in driver.snapshot().workers]
        return before, states, driver.record().faults

    before, states, faults = drive(make_agg_plan(1), scenario)
    assert before == 3
    assert sorted(states) == ["failed", "ready", "ready"]
    assert [fault.target for fault in faults] == ["agg-0"]


def test_the_clock_restarts_only_when_idle(make_agg_plan) -> None:
    def scenario(driver, clock):
        play(driver, clock, 1_000, step_ms=100)
        driver.restart_clock()
        assert driver.now_ns() == 0
        driver.submit(Submitted(isl=10, osl=10), Sink(clock))
        with pytest.raises(InputError, match="in flight"):
            driver.restart_clock()
        driver.run_due()
        return driver.snapshot().counters.requests_started

    assert drive(make_agg_plan(1), scenario) == 1


def test_metrics_have_the_names_of_the_engines(make_agg_plan) -> None:
    def scenario(driver, clock):
        driver.submit(Submitted(isl=100, osl=10), Sink(clock))
        driver.run_due()
        play(driver, clock, 500)
        registry = CollectorRegistry(auto_describe=False)
        exposition = exposition_of(driver)
        registry.register(Families(lambda: exposition.families({})))
        return generate_latest(registry).decode()

    text = drive(make_agg_plan(1), scenario)
    labels = '{engine="0",model_name="meta-llama/Llama-3.1-8B"}'
    for line in (
        f"vllm:generation_tokens_total{labels} 10.0",
        f"vllm:time_to_first_token_seconds_count{labels} 1.0",
        f"vllm:inter_token_latency_seconds_count{labels} 9.0",
        'dynamo_frontend_input_sequence_tokens_sum{model="meta-llama/llama-3.1-8b"} 100.0',
    ):  # fmt: skip
        assert line in text, line
    assert "# TYPE mocker_pacing_lag_seconds histogram" in text


def test_one_tally_has_several_sets_of_buckets() -> None:
    tally = Tally((1, 2, 5), (2, 10))
    for value in (0.5, 1.0, 1.5, 9.0):
        tally.observe(value)
    tally.observe_all(np.array([2.0, 20.0]))
    assert tally.buckets((1, 2, 5)) == [("1.0", 2.0), ("2.0", 4.0), ("5.0", 4.0), ("+Inf", 6.0)]
    assert tally.buckets((2, 10)) == [("2.0", 4.0), ("10.0", 5.0), ("+Inf", 6.0)]
    assert tally.total == 34.0
