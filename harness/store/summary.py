"""Percentiles, attainment and rung differences: one definition for judge and report.

Latencies are of requests, as in aiperf: TTFT over requests that got a first token,
ITL and E2E over requests that completed. Attainment and goodput are over all offered
requests, so a lost request always counts against them. Percentiles interpolate
linearly between order statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.records import RequestStatus, RequestTable
from contracts.sla import SlaTarget
from contracts.units import NS_PER_S

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_NO_INTS = np.empty(0, dtype=np.int64)
_NO_STATUS = np.empty(0, dtype="<U1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Three percentiles of ``count`` values, in the unit of the values."""

    p50: float
    p95: float
    p99: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSummary:
    """One rung in figures; ``None`` where there was nothing to measure.

    Attributes:
        output_tokens_per_s: tokens of completed requests over ``duration_s``.
        attainment_ratio: completed within the SLA over offered (0-1).
        goodput_rps: requests completed within the SLA, a second.
        completed_ratio: completed over offered (0-1).
        duration_s: first arrival to last finish.
    """

    offered: int
    completed: int
    failed: int
    rejected: int
    unfinished: int
    ttft_ms: Quantiles | None
    itl_ms: Quantiles | None
    e2e_ms: Quantiles | None
    output_tokens_per_s: float | None
    attainment_ratio: float | None
    goodput_rps: float | None
    completed_ratio: float | None
    duration_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungDifference:
    """One figure on two rungs.

    Attributes:
        metric: ``ttft_ms``, ``itl_ms`` or ``e2e_ms``.
        quantile: ``p50`` or ``p95``.
        ratio: (other - reference) / reference, signed.
        tolerance_ratio: ``None`` when the difference is not judged.
        ok: ``None`` when not judged or not known.
    """

    metric: str
    quantile: str
    reference: float | None
    other: float | None
    ratio: float | None
    tolerance_ratio: float | None
    ok: bool | None


def quantiles(values: FloatArray) -> Quantiles | None:
    """Percentiles of the values that are not NaN; ``None`` when there are none."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return None
    p50, p95, p99 = (float(value) for value in np.percentile(known, (50, 95, 99)))
    return Quantiles(p50=p50, p95=p95, p99=p99, count=len(known))


def attained(table: RequestTable, sla: SlaTarget) -> BoolArray:
    """Rows that completed within the SLA.

    A single-token request has no ITL and is judged by its TTFT alone. An ``e2e_ms``
    target replaces the other two.
    """
    if sla.e2e_ms is not None:
        return table.completed & (table.e2e_ms <= sla.e2e_ms)
    itl_ms = table.itl_ms
    itl_ok = (itl_ms <= sla.itl_ms) | (table.osl <= 1)
    return table.completed & (table.ttft_ms <= sla.ttft_ms) & itl_ok


def summarise(table: RequestTable, sla: SlaTarget) -> RungSummary:
    """Return the figures of one rung with one seed."""
    return summarise_runs([table], sla)


def summarise_runs(tables: Sequence[RequestTable], sla: SlaTarget) -> RungSummary:
    """Return the figures of one rung over several seeds.

    Latencies and ratios are over the requests of all seeds together; rates divide by
    the sum of the durations.
    """
    table = merge_tables(tables)
    durations_s = [duration for each in tables if (duration := _duration_s(each)) is not None]
    duration_s = sum(durations_s) if durations_s else None
    offered, completed = len(table), int(np.count_nonzero(table.completed))
    good = int(np.count_nonzero(attained(table, sla)))
    return RungSummary(
        offered=offered,
        completed=completed,
        failed=_count(table, RequestStatus.FAILED),
        rejected=_count(table, RequestStatus.REJECTED),
        unfinished=_count(table, RequestStatus.UNFINISHED),
        ttft_ms=quantiles(table.ttft_ms),
        itl_ms=quantiles(table.itl_ms),
        e2e_ms=quantiles(table.e2e_ms),
        output_tokens_per_s=_ratio(float(table.osl[table.completed].sum()), duration_s),
        attainment_ratio=_ratio(good, offered),
        goodput_rps=_ratio(good, duration_s),
        completed_ratio=_ratio(completed, offered),
        duration_s=duration_s,
    )


def merge_tables(tables: Sequence[RequestTable]) -> RequestTable:
    """All rows of several tables in one, table after table."""
    names = RequestTable.__dataclass_fields__
    columns: dict[str, Any] = {
        name: np.concatenate([_NO_STATUS if name == "status" else _NO_INTS, *parts])
        for name, parts in ((n, [getattr(table, n) for table in tables]) for n in names)
    }
    return RequestTable(**columns)


def compare(
    reference: RungSummary,
    other: RungSummary,
    *,
    ttft_ratio_tolerance: float | None,
    itl_ratio_tolerance: float | None,
) -> tuple[RungDifference, ...]:
    """Differences of medians and 95th percentiles; tolerances apply to the medians."""
    tolerances = {"ttft_ms": ttft_ratio_tolerance, "itl_ms": itl_ratio_tolerance, "e2e_ms": None}
    return tuple(
        _difference(
            metric,
            quantile,
            (getattr(reference, metric), getattr(other, metric)),
            tolerance if quantile == "p50" else None,
        )
        for metric, tolerance in tolerances.items()
        for quantile in ("p50", "p95")
    )


def _difference(
    metric: str,
    quantile: str,
    pair: tuple[Quantiles | None, Quantiles | None],
    tolerance_ratio: float | None,
) -> RungDifference:
    reference, other = (None if side is None else float(getattr(side, quantile)) for side in pair)
    ratio = None
    if reference is not None and other is not None and reference > 0:
        ratio = (other - reference) / reference
    ok = None if ratio is None or tolerance_ratio is None else abs(ratio) <= tolerance_ratio
    return RungDifference(
        metric=metric,
        quantile=quantile,
        reference=reference,
        other=other,
        ratio=ratio,
        tolerance_ratio=tolerance_ratio,
        ok=ok,
    )


def _duration_s(table: RequestTable) -> float | None:
    finished = table.finish_ns[table.finish_ns >= 0]
    if len(finished) == 0:
        return None
    return float(finished.max() - table.arrival_ns.min()) / NS_PER_S


def _count(table: RequestTable, status: RequestStatus) -> int:
    return int(np.count_nonzero(table.status == status.value))


def _ratio(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None
