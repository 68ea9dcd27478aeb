"""The recorder that forgets, and the reports of engine steps."""

from __future__ import annotations

import pytest

from contracts.errors import InvariantError
from contracts.records import RequestStatus
from contracts.workload import RequestSpec
from simcore.cluster import Cluster
from simcore.kernel import Kernel
from simcore.observe import Recorder, RollingRecorder


def spec(number: int) -> RequestSpec:
    return RequestSpec(number, number, 10, 5)


def test_it_keeps_the_newest_and_whoever_is_open() -> None:
    recorder, everything = RollingRecorder(10), Recorder()
    old = recorder.arrived(spec(1000))
    everything.arrived(spec(1000))
    for number in range(500):
        for each in (recorder, everything):
            row = each.arrived(spec(number))
            each.assigned(row, 3)
            each.first_token(row, number + 1)
            each.retried(row)
            each.add_preemptions(row, 2)
            each.ended(row, RequestStatus.COMPLETED, number + 2)
    assert recorder.counters() == everything.counters()
    assert 10 <= len(recorder) <= 21
    assert recorder.request_ids[0] == 1000
    assert recorder.request_ids[-1] == 499
    table, whole = recorder.table(), everything.table()
    for name in ("arrival_ns", "first_token_ns", "finish_ns", "retries", "preemptions"):
        assert (getattr(table, name)[1:] == getattr(whole, name)[-len(table) + 1 :]).all(), name
    recorder.first_token(old, 2000)
    recorder.ended(old, RequestStatus.FAILED, 3000)
    assert recorder.open_requests == 0
    with pytest.raises(InvariantError, match="ended twice"):
        recorder.ended(old, RequestStatus.FAILED, 3000)


def run(plan, *, watched: bool):
    kernel, reports = Kernel(), []
    watcher = (lambda worker, report: reports.append(report)) if watched else None
    cluster = Cluster(kernel, plan, on_step=watcher)
    for number in range(8):
        cluster.submit(RequestSpec(number, 0, 3000 + number, 40))
    kernel.run()
    return cluster.record(), reports


@pytest.mark.parametrize("kind", ["agg", "disagg"])
def test_reports_add_up_and_change_nothing(make_agg_plan, make_disagg_plan, kind: str) -> None:
    plan = make_agg_plan(1) if kind == "agg" else make_disagg_plan(1, 1)
    record, reports = run(plan, watched=True)
    silent, _ = run(plan, watched=False)
    assert record.digest == silent.digest
    assert sum(report.prefill_tokens for report in reports) == sum(range(3000, 3008))
    admitted = [request_id for report in reports for request_id, _ in report.admitted]
    assert sorted(admitted) == sorted(list(range(8)) * (1 if kind == "agg" else 2))
    assert all(report.end_ns > report.start_ns for report in reports)
    if kind == "agg":
        decoded = sum(report.decode_requests * report.steps for report in reports)
        assert decoded == 8 * 39
        ends = [report.end_ns for report in reports]
        assert ends == sorted(ends)
        assert ends[-1] == record.table.finish_ns.max()


def test_steps_may_be_reported_for_a_while(make_agg_plan) -> None:
    class Listener:
        steps = 0

        def on_tokens(self, request_id, generated, at_ns):
            self.last = generated

        def on_step(self, worker, at_ns):
            self.steps += 1

        def on_end(self, request_id, status, reason, at_ns):
            self.end_ns = at_ns

    ends = []
    for switches in ((), (100, 200), (0, 10**6)):
        kernel, listener = Kernel(), Listener()
        cluster = Cluster(kernel, make_agg_plan(1), listener=listener)
        cluster.submit(RequestSpec(0, 0, 1000, 100))
        for index, at_ms in enumerate(switches):
            kernel.run_until(at_ms * 1_000_000)
            cluster.report_steps(every_step=index == 0)
        kernel.run()
        ends.append((listener.end_ns, listener.steps))
    assert len({end for end, _ in ends}) == 1
    assert ends[0][1] == 0 < ends[1][1] < ends[2][1]
    assert ends[2][1] == 100
