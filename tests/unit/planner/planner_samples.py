"""Hand-made curves, configurations and observations with easy numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.observation import (
    ClusterSnapshot,
    Counters,
    Observation,
    PoolLoad,
    Traffic,
    WorkerState,
    WorkerView,
)
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import AggFleet, CapacityModel, DisaggFleet, PlannerConfig, PolicyName, PoolConfig

AGG = AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=1))
DISAGG = DisaggFleet(
    prefill=PoolConfig(role=Role.PREFILL, gpus_per_replica=1),
    decode=PoolConfig(role=Role.DECODE, gpus_per_replica=1),
)


def prefill_curves() -> PrefillCurves:
    """TTFT is 100 ms for each 1000 tokens between 1000 and 2000."""
    return PrefillCurves(
        prefill_isl=np.array([1000.0, 2000.0]),
        prefill_ttft=np.array([100.0, 200.0]),
        prefill_thpt_per_gpu=np.array([10_000.0, 10_000.0]),
    )


def decode_curves() -> DecodeCurves:
    """Two columns, at context 1000 and 2000."""
    return DecodeCurves(
        x_kv_usage=np.array([0.1, 0.5, 0.9, 0.1, 0.5]),
        y_context_length=np.array([1000.0, 1000.0, 1000.0, 2000.0, 2000.0]),
        z_itl=np.array([10.0, 20.0, 40.0, 20.0, 40.0]),
        z_thpt_per_gpu=np.array([100.0, 400.0, 500.0, 100.0, 200.0]),
        max_kv_tokens=100_000,
    )


def model() -> CapacityModel:
    return CapacityModel(prefill=prefill_curves(), decode=decode_curves())


def config(**changes: Any) -> PlannerConfig:
    """Interval 5 s, start-up 20 s, utilisation 0.8, hold 10 s, 16 GPUs, policy headroom."""
    values: dict[str, Any] = {
        "fleet": DISAGG,
        "sla": SlaTarget(ttft_ms=10_000.0, itl_ms=40.0),
        "interval_s": 5.0,
        "startup_s": 20.0,
        "gpu_budget": 16,
        "policy": PolicyName.HEADROOM,
        "utilisation_target_ratio": 0.8,
        "scale_down_hold_s": 10.0,
        "stale_after_s": 15.0,
        "backlog_drain_s": 10.0,
        "trend_history_s": 30.0,
    }
    return PlannerConfig(**(values | changes))


def workers(role: Role, ready: int, starting: int = 0, draining: int = 0) -> list[WorkerView]:
    states = (
        [WorkerState.READY] * ready
        + [WorkerState.STARTING] * starting
        + [WorkerState.DRAINING] * draining
    )
    return [
        WorkerView(worker_id=f"{role.value}-{i}", role=role, state=state, since_s=0.0)
        for i, state in enumerate(states)
    ]


def load(role: Role, **changes: Any) -> PoolLoad:
    values: dict[str, Any] = {
        "running_requests": 0,
        "waiting_requests": 0,
        "waiting_prefill_tokens": 0,
        "kv_usage_ratio": 0.0,
    }
    return PoolLoad(role=role, **(values | changes))


def seen(
    now_s: float,
    rate_per_s: float,
    *,
    prefill: int = 1,
    decode: int = 1,
    lengths: tuple[float, float] | None = (900.0, 200.0),
    **changes: Any,
) -> Observation:
    """Five seconds of traffic in a disaggregated fleet; lengths give context 1000."""
    isl, osl = lengths if lengths is not None else (None, None)
    values: dict[str, Any] = {
        "now_s": now_s,
        "window_s": 5.0,
        "traffic": Traffic(
            requests_started=round(rate_per_s * 5),
            rate_per_s=rate_per_s,
            isl_mean=isl,
            osl_mean=osl,
            ttft_ms_mean=None,
            itl_ms_mean=None,
        ),
        "workers": (*workers(Role.PREFILL, prefill), *workers(Role.DECODE, decode)),
        "loads": (load(Role.PREFILL), load(Role.DECODE)),
    }
    return Observation(**(values | changes))


def snapshot(now_s: float, started: int, *, prefill: int = 1, decode: int = 1) -> ClusterSnapshot:
    """Everything that was started has also completed, with lengths 900 and 200."""
    return ClusterSnapshot(
        now_s=now_s,
        counters=Counters(
            requests_started=started,
            requests_completed=started,
            isl_tokens_started=900 * started,
            osl_tokens_completed=200 * started,
            ttft_ms_sum=150.0 * started,
            ttft_count=started,
            itl_ms_sum=20.0 * started,
            itl_count=started,
        ),
        workers=(*workers(Role.PREFILL, prefill), *workers(Role.DECODE, decode)),
        loads=(load(Role.PREFILL), load(Role.DECODE)),
    )
