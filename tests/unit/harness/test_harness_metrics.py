import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.errors import InputError
from contracts.records import RequestTable, RunRecord
from contracts.sla import SlaTarget
from contracts.workload import Workload
from harness.store import write_gaps, write_metrics
from simcore.simulation import simulate

SLA = SlaTarget(ttft_ms=500.0, itl_ms=50.0)
MS = 1_000_000


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def record() -> RunRecord:
    table = RequestTable(
        arrival_ns=ints(0, 10 * MS, 20 * MS, 30 * MS),
        isl=ints(100, 100, 10**7, 100),
        osl=ints(11, 11, 5, 1),
        first_token_ns=ints(100 * MS, 700 * MS, -1, 130 * MS),
        finish_ns=ints(200 * MS, 800 * MS, 20 * MS, 130 * MS),
        status=np.array(["completed", "completed", "rejected", "completed"]),
        retries=ints(0, 1, 0, 0),
        preemptions=ints(0, 0, 0, 2),
    )
    return RunRecord(table=table, worker_events=(), faults=(), digest=None, duration_s=1.0)


def test_rows_carry_latencies_and_the_goodput_flag(tmp_path) -> None:
    path = tmp_path / "new" / "metrics.parquet"
    write_metrics(path, record(), SLA)
    rows = pq.read_table(path).to_pylist()
    assert [row["request_id"] for row in rows] == [0, 1, 2, 3]
    assert [row["ttft_ms"] for row in rows] == [100.0, 690.0, None, 100.0]
    assert [row["itl_ms"] for row in rows] == [10.0, 10.0, None, None]
    assert [row["e2e_ms"] for row in rows] == [200.0, 790.0, None, 100.0]
    assert [row["good"] for row in rows] == [True, False, False, True]
    assert [row["status"] for row in rows] == ["completed", "completed", "rejected", "completed"]
    assert [row["preemptions"] for row in rows] == [0, 0, 0, 2]
    assert "priority" not in rows[0]


def test_a_workload_adds_what_it_knows(tmp_path) -> None:
    table = record().table
    workload = Workload(
        arrival_ns=table.arrival_ns,
        isl=table.isl,
        osl=table.osl,
        source="t",
        priority=ints(3, 2, 1, 0),
        adapters=("a", "", "b", "a"),
        reasoning_tokens=ints(5, 0, 0, 1),
    )
    path = tmp_path / "metrics.parquet"
    write_metrics(path, record(), SLA, workload=workload)
    found = pq.read_table(path)
    assert found.column("priority").to_pylist() == [3, 2, 1, 0]
    assert found.column("adapter").to_pylist() == ["a", "", "b", "a"]
    assert found.column("reasoning_tokens").to_pylist() == [5, 0, 0, 1]
    assert "session" not in found.column_names


def test_a_foreign_workload_leaves_no_file(tmp_path, make_workload) -> None:
    path = tmp_path / "metrics.parquet"
    with pytest.raises(InputError, match="3 requests"):
        write_metrics(path, record(), SLA, workload=make_workload(3, MS))
    assert list(tmp_path.iterdir()) == []


def test_a_simulation_fits_the_file(tmp_path, make_agg_plan, make_workload) -> None:
    workload = make_workload(50, 20 * MS)
    run = simulate(make_agg_plan(2), workload)
    path = tmp_path / "metrics.parquet"
    write_metrics(path, run, SLA, workload=workload)
    found = pq.read_table(path)
    assert np.allclose(found.column("ttft_ms").to_numpy(), run.table.ttft_ms)
    assert all(found.column("good").to_pylist())


def test_gaps_become_rows(tmp_path, make_agg_plan, make_workload) -> None:
    run = simulate(make_agg_plan(2), make_workload(50, 20 * MS))
    assert run.token_gaps is not None
    path = tmp_path / "gaps.parquet"
    write_gaps(path, run.token_gaps)
    found = pq.read_table(path)
    counts = found.column("gaps").to_numpy()
    assert counts.sum() == (run.table.osl - 1).sum()
    middle_ms = (found.column("low_ms").to_numpy() + found.column("high_ms").to_numpy()) / 2
    mean_ms = float((middle_ms * counts).sum() / counts.sum())
    whole_ms = ((run.table.finish_ns - run.table.first_token_ns) / MS).sum()
    assert mean_ms == pytest.approx(whole_ms / counts.sum(), rel=0.005)
    assert run.token_gaps.percentile_ms(0) <= mean_ms <= run.token_gaps.percentile_ms(100)
