"""Every request of one simulation with its latencies, as one Parquet file.

Run folders keep times and derive latencies when read; this file is for people and tools
that want the latencies themselves, also from runs of a million requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.errors import InputError
from contracts.records import RequestStatus, RequestTable, RunRecord, TokenGaps
from contracts.sla import SlaTarget
from contracts.workload import Workload
from harness.store.summary import attained
from harness.store.tables import write_table

_TIMES = ("arrival_ns", "isl", "osl", "first_token_ns", "finish_ns", "retries", "preemptions")
_LATENCIES = ("ttft_ms", "itl_ms", "e2e_ms")


def write_metrics(
    path: Path, record: RunRecord, sla: SlaTarget, *, workload: Workload | None = None
) -> None:
    """Replace ``path`` by one row for each offered request, in order of arrival.

    Columns: ``request_id``, the columns of :class:`contracts.records.RequestTable`,
    ``ttft_ms``, ``itl_ms`` (mean gap between the request's tokens), ``e2e_ms`` (null where
    there is none) and ``good``: completed within the SLA. A workload adds those of
    ``priority``, ``adapter``, ``session`` and ``reasoning_tokens`` that it has.

    Raises:
        InputError: the workload has another number of requests.
    """
    table = record.table
    if workload is not None and len(workload) != len(table):
        raise InputError(
            "the workload does not belong to the record",
            path="workload",
            value=f"{len(workload)} requests",
            allowed=f"{len(table)} requests",
        )
    columns: dict[str, Any] = {"request_id": np.arange(len(table), dtype=np.int64)}
    columns |= {name: getattr(table, name) for name in _TIMES}
    columns["status"] = _status(table)
    columns |= {name: pa.array(getattr(table, name), from_pandas=True) for name in _LATENCIES}
    columns["good"] = attained(table, sla)
    if workload is not None:
        columns |= _of_workload(workload)
    write_table(path, pa.table(columns))


def write_gaps(path: Path, gaps: TokenGaps) -> None:
    """Replace ``path`` by the histogram of token gaps: ``low_ms``, ``high_ms`` and ``gaps``."""
    columns = {"low_ms": gaps.low_ms, "high_ms": gaps.high_ms, "gaps": gaps.gaps}
    write_table(path, pa.table(columns))


def _status(table: RequestTable) -> Any:  # noqa: ANN401 - pyarrow has no types
    names = [status.value for status in RequestStatus]
    codes = np.zeros(len(table), dtype=np.int8)
    for code, name in enumerate(names):
        codes[table.status == name] = code
    return pa.DictionaryArray.from_arrays(codes, names)


def _of_workload(workload: Workload) -> dict[str, Any]:
    columns = {
        "priority": workload.priority,
        "adapter": None if workload.adapters is None else pa.array(workload.adapters),
        "session": workload.sessions,
        "reasoning_tokens": workload.reasoning_tokens,
    }
    return {name: column for name, column in columns.items() if column is not None}
