"""What a planner may see. Unknown is a value of its own, never zero."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contracts.plan import Role


class WorkerState(StrEnum):
    """Life of a worker, from order to removal."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker and since when (seconds on the observer's clock) it is in its state."""

    worker_id: str
    role: Role
    state: WorkerState
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLoad:
    """Load of one pool at an instant; ``kv_usage_ratio`` is the mean over ready workers."""

    role: Role
    running_requests: int
    waiting_requests: int
    waiting_prefill_tokens: int
    kv_usage_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Monotone totals since the start; the difference of two gives a window.

    ``ttft_ms_sum`` and ``ttft_count`` count requests whose first token was delivered;
    ``itl_ms_sum`` and ``itl_count`` count completed requests with two tokens or more.
    ``isl_count`` is the number of requests in ``isl_tokens_started`` where that is not
    ``requests_started``, because lengths are known later than arrivals.
    """

    requests_started: int = 0
    requests_completed: int = 0
    requests_failed: int = 0
    isl_tokens_started: int = 0
    osl_tokens_completed: int = 0
    ttft_ms_sum: float = 0.0
    ttft_count: int = 0
    itl_ms_sum: float = 0.0
    itl_count: int = 0
    isl_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSnapshot:
    """Everything a rung shows its planner at one instant."""

    now_s: float
    counters: Counters
    workers: tuple[WorkerView, ...]
    loads: tuple[PoolLoad, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Traffic of one window. Means are ``None`` when nothing was counted.

    Attributes:
        requests_started: arrivals in the window, finished or not.
        rate_per_s: arrivals a second.
        isl_mean: mean prompt tokens of the arrivals.
        osl_mean: mean output tokens of the completions.
        ttft_ms_mean: mean over first tokens in the window.
        itl_ms_mean: mean over completions in the window.
    """

    requests_started: int
    rate_per_s: float
    isl_mean: float | None
    osl_mean: float | None
    ttft_ms_mean: float | None
    itl_ms_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A signal that could not be read, why, and how long ago it last could."""

    reason: str
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Input of one planner tick."""

    now_s: float
    window_s: float
    traffic: Traffic | Unknown
    workers: tuple[WorkerView, ...]
    loads: tuple[PoolLoad, ...]


def observe(previous: ClusterSnapshot | None, current: ClusterSnapshot) -> Observation:
    """Turn two snapshots into the observation of the window between them.

    Without an earlier snapshot, or when counters ran backwards (a restart), the
    traffic is unknown rather than zero.
    """
    if previous is None:
        return _unknown(current, "no earlier snapshot", 0.0)
    window_s = current.now_s - previous.now_s
    before, after = previous.counters, current.counters
    started = after.requests_started - before.requests_started
    if window_s <= 0 or started < 0:
        return _unknown(current, "counters ran backwards", max(window_s, 0.0))
    completed = after.requests_completed - before.requests_completed
    lengths = started
    if before.isl_count is not None and after.isl_count is not None:
        lengths = after.isl_count - before.isl_count
    traffic = Traffic(
        requests_started=started,
        rate_per_s=started / window_s,
        isl_mean=_mean(after.isl_tokens_started - before.isl_tokens_started, lengths),
        osl_mean=_mean(after.osl_tokens_completed - before.osl_tokens_completed, completed),
        ttft_ms_mean=_mean(
            after.ttft_ms_sum - before.ttft_ms_sum, after.ttft_count - before.ttft_count
        ),
        itl_ms_mean=_mean(after.itl_ms_sum - before.itl_ms_sum, after.itl_count - before.itl_count),
    )
    return Observation(
        now_s=current.now_s,
        window_s=window_s,
        traffic=traffic,
        workers=current.workers,
        loads=current.loads,
    )


def _unknown(current: ClusterSnapshot, reason: str, age_s: float) -> Observation:
    return Observation(
        now_s=current.now_s,
        window_s=0.0,
        traffic=Unknown(reason=reason, age_s=age_s),
        workers=current.workers,
        loads=current.loads,
    )


def _mean(total: float, count: int) -> float | None:
    return total / count if count > 0 else None
