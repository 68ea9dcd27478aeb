"""Driver aiperf: the trace it is given, and its rows as the table of a run."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import PermanentError, UnsupportedError
from contracts.workload import Workload
from harness.load import AiperfRow, LoadTarget
from harness.run import aiperf
from harness.run.aiperf import load_result, run_aiperf_load, trace_text
from harness.run.backends import check_capabilities
from harness.scenario import LoadDriver, MockSettings, Rung, load_scenario
from profiler.load.aiperf import read_rows

SMOKE = Path(__file__).parents[3] / "scenarios" / "smoke.yaml"
MS = 1_000_000
WORKLOAD = Workload(
    arrival_ns=np.array([0, 100, 200, 300], dtype=np.int64) * MS,
    isl=np.array([10, 11, 12, 13], dtype=np.int64),
    osl=np.array([5, 5, 5, 5], dtype=np.int64),
    source="test",
)


def row(index: int, start_ms: float, osl: int = 5, error: str = "") -> AiperfRow:
    return AiperfRow(
        request_id=f"r{index}", session=f"load-{index}", start_ns=round(start_ms * MS),
        end_ns=round((start_ms + 50) * MS), ttft_ns=20 * MS, latency_ns=40 * MS, isl=10, osl=osl,
        error=error,
    )  # fmt: skip


def test_the_trace_has_wall_times_and_lengths() -> None:
    lines = [json.loads(line) for line in trace_text(WORKLOAD, 2.0).splitlines()]
    assert [line["timestamp"] for line in lines] == [0, 50, 100, 150]
    assert [line["input_length"] for line in lines] == [10, 11, 12, 13]
    assert lines[3] == {
        "timestamp": 150.0, "input_length": 13, "output_length": 5, "session_id": "load-3"
    }  # fmt: skip


def test_latency_counts_from_the_scheduled_instant_in_undilated_time() -> None:
    rows = [row(1, 1052), row(0, 1000), row(2, 1100, osl=4), row(3, 1150, error="503")]
    found = load_result(WORKLOAD, rows, 2.0)
    assert found.table.first_token_ns.tolist() == [40 * MS, 144 * MS, 240 * MS, 340 * MS]
    assert found.table.finish_ns.tolist()[:2] == [80 * MS, 184 * MS]
    assert found.table.status.tolist() == ["completed", "completed", "failed", "failed"]
    assert found.dispatch_delay_ns.tolist() == [0, 2 * MS, 0, 0]
    assert found.failures == {"aiperf": 1, "too few tokens": 1}


def test_requests_without_a_row_stay_unfinished() -> None:
    found = load_result(WORKLOAD, [row(0, 0)], 1.0)
    assert found.table.status.tolist()[1:] == ["unfinished"] * 3
    for rows, words in (([], "no request"), ([row(7, 0)], "not given: load-7")):
        with pytest.raises(PermanentError, match=words):
            load_result(WORKLOAD, rows, 1.0)


def test_rows_are_read_from_what_aiperf_leaves(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="left no rows"):
        read_rows(tmp_path)
    about = {
        "x_request_id": "a", "conversation_id": "load-0", "request_start_ns": 5,
        "request_end_ns": 9, "was_cancelled": False,
    }  # fmt: skip
    metrics = {
        "time_to_first_token": {"value": 12.5, "unit": "ms"},
        "request_latency": {"value": 52.5, "unit": "ms"},
        "output_sequence_length": {"value": 5, "unit": "tokens"},
    }
    path = tmp_path / "profile_export.jsonl"
    failed = {"metadata": {**about, "request_start_ns": 1}, "error": {"code": 503}}
    warmup = {"metadata": {**about, "benchmark_phase": "warmup"}, "metrics": metrics}
    lines = [warmup, {"metadata": about, "metrics": metrics}, failed]
    path.write_text("\n".join(map(json.dumps, lines)))
    second, first = read_rows(tmp_path)
    assert (second.ttft_ns, second.itl_ns) == (None, None)
    assert second.error == '{"code": 503}'
    assert (first.ttft_ns, first.osl, first.itl_ns) == (12_500_000, 5, 10_000_000)
    path.write_text('{"metadata": {}}')
    with pytest.raises(PermanentError, match="has not the fields"):
        read_rows(tmp_path)


def test_what_a_trace_cannot_say_is_refused(tmp_path: Path) -> None:
    special = replace(WORKLOAD, priority=np.zeros(4, dtype=np.int64), timeout_ns=5)
    target = LoadTarget(base_url="http://127.0.0.1:1", model="m")
    with pytest.raises(UnsupportedError, match="not priorities, clients that give up"):
        asyncio.run(run_aiperf_load(target, special, tmp_path, speed=1.0, timeout_s=1.0))


def test_a_run_that_fails_shows_its_words(tmp_path: Path, monkeypatch) -> None:
    script = tmp_path / "aiperf.sh"
    script.write_text("#!/bin/sh\necho no route to host\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(aiperf, "environment", lambda: {"AIPERF_BIN": str(script)})
    target = LoadTarget(base_url="http://127.0.0.1:1", model="m")
    with pytest.raises(PermanentError, match="aiperf ended with 3: no route to host"):
        asyncio.run(run_aiperf_load(target, WORKLOAD, tmp_path, speed=1.0, timeout_s=1.0))


def test_the_plan_refuses_it_where_it_is_missing(monkeypatch) -> None:
    scenario = load_scenario(SMOKE)
    scenario = replace(scenario, mock=MockSettings(speed=1.0, driver=LoadDriver.AIPERF))
    monkeypatch.setattr(aiperf, "environment", lambda: {"AIPERF_BIN": "/no/such/command"})
    check_capabilities(scenario, (Rung.SIM,))
    with pytest.raises(UnsupportedError, match=r"no command /no/such/command.*AIPERF_BIN"):
        check_capabilities(scenario, (Rung.SIM, Rung.MOCK))
    monkeypatch.setattr(aiperf, "environment", lambda: {"AIPERF_BIN": sys.executable})
    check_capabilities(scenario, (Rung.MOCK,))
    planned = replace(scenario, planner=replace(scenario.planner, enabled=True))
    with pytest.raises(UnsupportedError, match="a planner with the driver aiperf"):
        check_capabilities(planned, (Rung.MOCK,))
