"""Columns of the Parquet files and the way back to records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.decision import Decision, RoleTarget
from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from contracts.records import RequestTable, TokenGaps
from harness.store.files import replace_file
from harness.store.results import RungRun

_INT_COLUMNS = (
    "arrival_ns",
    "isl",
    "osl",
    "first_token_ns",
    "finish_ns",
    "retries",
    "preemptions",
)
_KEY = [pa.field("rung", pa.string()), pa.field("seed", pa.int64())]
REQUESTS = pa.schema(
    [
        *_KEY,
        pa.field("request_id", pa.int64()),
        *(pa.field(name, pa.int64()) for name in _INT_COLUMNS),
        pa.field("status", pa.string()),
    ]
)
TICKS = pa.schema(
    [
        *_KEY,
        pa.field("now_s", pa.float64()),
        *(pa.field(f"{role.value}_replicas", pa.int64()) for role in Role),
        pa.field("held", pa.bool_()),
        pa.field("reason", pa.string()),
        pa.field("figures", pa.string()),
    ]
)
TOKEN_GAPS = pa.schema(
    [
        *_KEY,
        pa.field("low_ms", pa.float64()),
        pa.field("high_ms", pa.float64()),
        pa.field("gaps", pa.int64()),
    ]
)
WORKERS = pa.schema(
    [
        *_KEY,
        pa.field("since_s", pa.float64()),
        pa.field("worker_id", pa.string()),
        pa.field("role", pa.string()),
        pa.field("state", pa.string()),
    ]
)


def write_table(path: Path, table: Any) -> None:  # noqa: ANN401 - pyarrow has no types
    """Replace a Parquet file."""
    replace_file(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def request_rows(runs: Sequence[RungRun]) -> Any:  # noqa: ANN401
    """All requests of all runs, one row each, in order of arrival within a run."""
    return pa.concat_tables([REQUESTS.empty_table(), *(_requests(run) for run in runs)])


def tick_rows(runs: Sequence[RungRun]) -> Any:  # noqa: ANN401
    """All planner ticks; a replica column is null where the tick left the role alone."""
    rows = [_tick(run, decision) for run in runs for decision in run.decisions]
    return pa.Table.from_pylist(rows, schema=TICKS)


def worker_rows(runs: Sequence[RungRun]) -> Any:  # noqa: ANN401
    """All state changes of all workers."""
    rows = [
        {
            "rung": run.rung,
            "seed": run.seed,
            "since_s": event.since_s,
            "worker_id": event.worker_id,
            "role": event.role.value,
            "state": event.state.value,
        }
        for run in runs
        for event in run.record.worker_events
    ]
    return pa.Table.from_pylist(rows, schema=WORKERS)


def gap_rows(runs: Sequence[RungRun]) -> Any:  # noqa: ANN401
    """Gaps between tokens of the runs that measured them."""
    parts = [TOKEN_GAPS.empty_table()]
    for run in runs:
        gaps = run.record.token_gaps
        if gaps is not None:
            count = len(gaps.gaps)
            key = [[run.rung] * count, np.full(count, run.seed, dtype=np.int64)]
            columns = [*key, gaps.low_ms, gaps.high_ms, gaps.gaps]
            parts.append(pa.table(columns, schema=TOKEN_GAPS))
    return pa.concat_tables(parts)


class RunTables:
    """The Parquet files of one folder, opened for reading."""

    def __init__(self, folder: Path) -> None:
        self._requests = _read(folder / "requests.parquet", REQUESTS)
        self._ticks = _read(folder / "ticks.parquet", TICKS)
        self._workers = _read(folder / "workers.parquet", WORKERS)
        self._gaps = _read(folder / "token_gaps.parquet", TOKEN_GAPS)

    def requests(self, rung: str, seed: int) -> RequestTable:
        """The requests of one run."""
        rows = _select(self._requests, rung, seed)
        columns = {name: _ints(rows.column(name)) for name in _INT_COLUMNS}
        status = np.asarray(rows.column("status").to_pylist(), dtype=np.str_)
        return RequestTable(status=status, **columns)

    def token_gaps(self, rung: str, seed: int) -> TokenGaps | None:
        """Gaps between tokens of one run, ``None`` when it did not measure them."""
        rows = _select(self._gaps, rung, seed)
        if len(rows) == 0:
            return None
        return TokenGaps(
            low_ms=np.asarray(rows.column("low_ms"), dtype=np.float64),
            high_ms=np.asarray(rows.column("high_ms"), dtype=np.float64),
            gaps=_ints(rows.column("gaps")),
        )

    def decisions(self, rung: str, seed: int) -> tuple[Decision, ...]:
        """The planner's decisions of one run."""
        return tuple(_decision(row) for row in _select(self._ticks, rung, seed).to_pylist())

    def worker_events(self, rung: str, seed: int) -> tuple[WorkerView, ...]:
        """The workers' state changes of one run."""
        return tuple(
            WorkerView(
                worker_id=row["worker_id"],
                role=Role(row["role"]),
                state=WorkerState(row["state"]),
                since_s=row["since_s"],
            )
            for row in _select(self._workers, rung, seed).to_pylist()
        )


def _requests(run: RungRun) -> Any:  # noqa: ANN401
    table = run.record.table
    count = len(table)
    columns: dict[str, Any] = {
        "rung": [run.rung] * count,
        "seed": np.full(count, run.seed, dtype=np.int64),
        "request_id": np.arange(count, dtype=np.int64),
        "status": [str(status) for status in table.status],
    }
    columns |= {name: np.asarray(getattr(table, name), dtype=np.int64) for name in _INT_COLUMNS}
    return pa.table([columns[name] for name in REQUESTS.names], schema=REQUESTS)


def _tick(run: RungRun, decision: Decision) -> dict[str, Any]:
    row: dict[str, Any] = {
        "rung": run.rung,
        "seed": run.seed,
        "now_s": decision.now_s,
        "held": decision.held,
        "reason": decision.reason,
        "figures": json.dumps(decision.figures),
    }
    return row | {f"{role.value}_replicas": decision.replicas(role) for role in Role}


def _decision(row: dict[str, Any]) -> Decision:
    targets = tuple(
        RoleTarget(role=role, replicas=row[f"{role.value}_replicas"])
        for role in Role
        if row[f"{role.value}_replicas"] is not None
    )
    return Decision(
        now_s=row["now_s"],
        targets=targets,
        reason=row["reason"],
        held=row["held"],
        figures=json.loads(row["figures"]),
    )


def _read(path: Path, schema: Any) -> Any:  # noqa: ANN401
    return pq.read_table(path, schema=schema) if path.exists() else schema.empty_table()


def _select(table: Any, rung: str, seed: int) -> Any:  # noqa: ANN401
    mask = pc.and_(pc.equal(table.column("rung"), rung), pc.equal(table.column("seed"), seed))
    return table.filter(mask)


def _ints(column: Any) -> np.ndarray[tuple[int], np.dtype[np.int64]]:  # noqa: ANN401
    return np.array(column.to_numpy(), dtype=np.int64)
