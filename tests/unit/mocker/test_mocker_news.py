"""Tokens that are counted by cohorts are those that the engine says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from contracts.engine import EngineLimits
from contracts.records import RequestStatus
from contracts.workload import RequestSpec
from mocker.engines.live import LiveAnswer
from mocker.engines.news import News
from mocker.engines.port import Outcome, Submitted
from mocker.metrics.server import ServerMetrics
from simcore.cluster import Cluster
from simcore.cluster.worker import Worker
from simcore.kernel import Kernel


class Sink:
    def on_tokens(self, generated: int) -> None:
        raise AssertionError("told by the driver only")

    def on_end(self, outcome: object) -> None:
        raise AssertionError("told by the driver only")


class Listener:
    """Hears like the driver, and asks the engine about every step besides."""

    def __init__(self) -> None:
        self.live: dict[int, LiveAnswer] = {}
        self.metrics = ServerMetrics()
        self.noted = 0
        self.news = News(self.live, self.metrics, self._note)
        self.said: dict[int, int] = {}
        self.gaps: Counter[int] = Counter()
        self.latest: dict[int, int] = {}
        self.cohort_steps = 0

    def _note(self, at_ns: int, tokens: int) -> None:
        self.noted += tokens

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        self._heard(request_id, generated, at_ns)
        live = self.live[request_id]
        if generated > live.generated:
            self.news.on_tokens(live, generated, at_ns)

    def on_step(self, worker: Worker, at_ns: int) -> None:
        kept = self.news._cohorts.get(worker.worker_id)
        before = None if kept is None else kept.step
        self.news.on_step(worker, at_ns)
        self.cohort_steps += kept is not None and kept.step != before
        for request_id, generated in worker.engine.progress():
            if request_id in self.live:
                self._heard(request_id, generated, at_ns)
                live, together = self.live[request_id], self.live[request_id].cohort
                also = 0 if together is None else together.tokens
                assert live.generated + also == generated
                latest = live.last_ns if together is None else together.at_ns
                assert latest == self.latest[request_id]

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        live = self.live.pop(request_id)
        self.news.settle(live)
        assert live.cohort is None

    def _heard(self, request_id: int, generated: int, at_ns: int) -> None:
        new = generated - self.said.get(request_id, 0)
        if new and request_id in self.latest:
            self.gaps[(at_ns - self.latest[request_id]) // new] += new
        if new:
            self.said[request_id] = generated
            self.latest[request_id] = at_ns


@pytest.mark.parametrize("blocks", [40, 4000], ids=["preempting", "roomy"])
@pytest.mark.parametrize("seed", range(4))
def test_cohorts_count_what_the_engine_says(
    make_agg_plan, make_engine_spec, seed: int, blocks: int
) -> None:
    draw, listener, kernel = random.Random(seed), Listener(), Kernel()
    limits = EngineLimits(kv_blocks_total=blocks, max_model_len=512)
    plan = make_agg_plan(2, engine=make_engine_spec(limits=limits))
    cluster = Cluster(kernel, plan, listener=listener, step_events=True)
    at_ns = 0
    for number in range(30):
        at_ns += draw.randrange(60_000_000)
        kernel.run_until(at_ns)
        asked = Submitted(isl=100, osl=50)
        listener.live[number] = LiveAnswer(asked, Sink(), at_ns)
        spec = RequestSpec(number, at_ns, draw.randrange(1, 200), draw.randrange(1, 120))
        cluster.submit(spec)
        if draw.random() < 0.2 and listener.live:
            cluster.cancel(draw.choice(sorted(listener.live)))
    kernel.run()
    assert not listener.live
    assert listener.cohort_steps > 200
    assert listener.metrics.generation_tokens == sum(listener.said.values())
    # The lag of the last token of an answer is not looked at.
    assert 0 <= listener.metrics.generation_tokens - listener.noted <= 30
    assert sum(listener.gaps.values()) == sum(listener.said.values()) - len(listener.said)
    assert listener.metrics.itl_s.count == sum(listener.gaps.values())
    assert listener.metrics.itl_s.total == pytest.approx(
        sum(gap * tokens for gap, tokens in listener.gaps.items()) / 1e9, rel=1e-6
    )


class Telltale:
    """Notes what it is told, and does something once."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.ends = 0
        self.once: Callable[[], None] | None = None

    def on_tokens(self, generated: int) -> None:
        assert self.ends == 0
        self.told.append(generated)
        once, self.once = self.once, None
        if once is not None:
            once()

    def on_end(self, outcome: Outcome) -> None:
        self.ends += 1
        self.told.append(outcome.generated)


def test_a_sink_that_ends_another_request_while_all_are_told() -> None:
    """The first of three learns of its tokens and cancels the third, as a client may."""
    live: dict[int, LiveAnswer] = {}
    news = News(live, ServerMetrics(), lambda at_ns, tokens: None)
    sinks = [Telltale() for _ in range(3)]
    for number, sink in enumerate(sinks):
        live[number] = LiveAnswer(Submitted(isl=1, osl=9), sink, 0)
        live[number].generated, live[number].last_ns = 4, 40
    worker = FakeWorker(live)
    news.on_step(worker, 50)  # type: ignore[arg-type]
    news.tell()
    news.on_step(worker, 60)  # type: ignore[arg-type]

    def cancel() -> None:
        gone = live.pop(2)
        news.settle(gone)
        gone.status = RequestStatus.CANCELLED
        news.hold(gone)

    sinks[0].once = cancel
    news.tell()
    assert [sink.told[-1] for sink in sinks] == [6, 6, 6]
    assert [sink.ends for sink in sinks] == [0, 0, 1]
    assert {each.generated for each in live.values()} == {6}
    assert {each.last_ns for each in live.values()} == {60}
    assert not news


class FakeWorker:
    """A worker whose engine gives one token to each at every look."""

    worker_id = "worker"

    def __init__(self, live: dict[int, LiveAnswer]) -> None:
        self.engine = self
        self._generated = {number: each.generated for number, each in live.items()}
        self._step = 0

    def decode_mark(self) -> tuple[int, int]:
        self._step += 1
        self._generated = {number: each + 1 for number, each in self._generated.items()}
        return 1, self._step

    def progress(self) -> list[tuple[int, int]]:
        return list(self._generated.items())
