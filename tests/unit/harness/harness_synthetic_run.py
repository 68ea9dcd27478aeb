"""A made-up run with two rungs, a burst, a crash and a planner, for tests of store and report."""

from __future__ import annotations

import numpy as np

from contracts.decision import Decision, RoleTarget
from contracts.engine import EngineLimits
from contracts.hardware import Efficiencies, Evidence, GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.observation import WorkerState, WorkerView
from contracts.plan import (
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    KvLink,
    PoolPlan,
    Role,
    RouterPolicy,
)
from contracts.records import FaultRecord, RequestTable, RunRecord
from contracts.sla import SlaTarget
from contracts.streams import RandomStreams
from contracts.units import NS_PER_MS, NS_PER_S
from harness.store import (
    Bound,
    Check,
    LoadCheck,
    Manifest,
    Outcome,
    RungRun,
    RunSetup,
    Verdict,
)

SCENARIO_TEXT = "version: 1\nname: quickstart\n"
SLA = SlaTarget(ttft_ms=900.0, itl_ms=30.0)


def manifest(**changes):
    values = {
        "scenario": "quickstart",
        "scenario_text": SCENARIO_TEXT,
        "rungs": ("sim", "mock"),
        "seeds": (1,),
        "command_line": ("harness", "run", "scenarios/quickstart.yaml"),
        "rerun_line": "harness run scenarios/quickstart.yaml --seed 1",
        "versions": {"python": "3.11.9", "commit": "0123abcd"},
        "platform": {"system": "Linux", "cpus": "2"},
        "started": "20260102T030405Z",
    }
    return Manifest(**(values | changes))


def engine():
    return EngineSpec(
        model=ModelArchitecture(
            model_id="example/Model-70B",
            layers=80,
            hidden=8192,
            intermediate=28672,
            heads=64,
            kv_heads=8,
            head_dim=128,
            vocab=128256,
            max_position=131072,
        ),
        gpu=GpuSpec(
            sku="h200_sxm",
            memory_gib=131.0,
            memory_tbytes_per_s=4.8,
            bf16_tflops=989.0,
            fp8_tflops=1979.0,
            intra_node_gbytes_per_s=450.0,
            inter_node_gbytes_per_s=50.0,
            gpus_per_node=8,
            evidence=Evidence.ESTIMATED,
            error_ratio=0.3,
            efficiencies=Efficiencies(
                gemm_compute_ratio=0.7,
                fp8_compute_ratio=0.7,
                gemm_memory_ratio=0.8,
                attention_compute_ratio=0.5,
                attention_memory_ratio=0.7,
                link_ratio=0.8,
                kernel_us=2.0,
                attention_kernel_us=5.0,
                allreduce_us=8.0,
                allreduce_peer_us=1.0,
            ),
        ),
        tp=2,
        weight_dtype=Dtype.FP8,
        kv_dtype=Dtype.FP8,
        limits=EngineLimits(kv_blocks_total=30000),
    )


def plan():
    return DeploymentPlan(
        name="example",
        topology=DisaggPlan(
            prefill=PoolPlan(role=Role.PREFILL, engine=engine(), replicas=1),
            decode=PoolPlan(role=Role.DECODE, engine=engine(), replicas=1),
            link=KvLink(gbytes_per_s=50.0, latency_us=20.0),
        ),
        router=RouterPolicy.LEAST_LOADED,
        startup_s=10.0,
        gpu_budget=8,
        sla=SLA,
    )


def setup(**changes):
    values = {
        "plan": plan(),
        "facts": {"DGDR": "dgdr/example.yaml", "Picked": "disagg tp2 + tp2"},
        "ttft_ratio_tolerance": 0.05,
        "itl_ratio_tolerance": 0.05,
    }
    return RunSetup(**(values | changes))


def requests(seed=1, count=600, factor=1.0):
    rng = RandomStreams(seed).stream("test.requests")
    arrival_s = np.sort(rng.uniform(0, 120, count))
    crowd = np.exp(-(((arrival_s - 60) / 15) ** 2))
    ttft_ms = (300 + 500 * crowd) * rng.lognormal(0, 0.25, count) * factor
    itl_ms = (15 + 12 * crowd) * rng.lognormal(0, 0.1, count) * factor
    osl = rng.integers(1, 200, count)
    status = np.full(count, "completed", dtype="<U10")
    status[10] = "failed"
    status[20] = "unfinished"
    arrival_ns = (arrival_s * NS_PER_S).astype(np.int64)
    first_ns = arrival_ns + (ttft_ms * NS_PER_MS).astype(np.int64)
    finish_ns = first_ns + (itl_ms * (osl - 1) * NS_PER_MS).astype(np.int64)
    first_ns[10] = -1
    finish_ns[[10, 20]] = -1
    return RequestTable(
        arrival_ns=arrival_ns,
        isl=rng.integers(100, 8000, count),
        osl=osl,
        first_token_ns=first_ns,
        finish_ns=finish_ns,
        status=status,
        retries=np.zeros(count, dtype=np.int64),
        preemptions=np.full(count, -1, dtype=np.int64),
    )


def view(worker_id, role, state, since_s):
    return WorkerView(worker_id=worker_id, role=role, state=state, since_s=since_s)


WORKER_EVENTS = (
    view("prefill-0", Role.PREFILL, WorkerState.STARTING, 0.0),
    view("prefill-0", Role.PREFILL, WorkerState.READY, 0.0),
    view("decode-0", Role.DECODE, WorkerState.STARTING, 0.0),
    view("decode-0", Role.DECODE, WorkerState.READY, 0.0),
    view("decode-1", Role.DECODE, WorkerState.STARTING, 30.0),
    view("decode-1", Role.DECODE, WorkerState.READY, 40.0),
    view("decode-0", Role.DECODE, WorkerState.FAILED, 70.0),
    view("decode-2", Role.DECODE, WorkerState.STARTING, 70.0),
    view("decode-2", Role.DECODE, WorkerState.READY, 80.0),
    view("decode-1", Role.DECODE, WorkerState.DRAINING, 110.0),
    view("decode-1", Role.DECODE, WorkerState.STOPPED, 114.0),
)
FAULT = FaultRecord(
    kind="worker_crash",
    target="decode-0",
    at_s=70.0,
    requests_hit=9,
    requests_retried=8,
    requests_failed=1,
    recovered_at_s=80.0,
)


def decisions(count=24):
    ticks = []
    for number in range(1, count + 1):
        now_s = 5.0 * number
        if number == 1:
            ticks.append(Decision(now_s=now_s, targets=(), reason="no earlier snapshot", held=True))
            continue
        wanted = 2 if 30.0 <= now_s < 110.0 else 1
        ticks.append(
            Decision(
                now_s=now_s,
                targets=(
                    RoleTarget(role=Role.PREFILL, replicas=1),
                    RoleTarget(role=Role.DECODE, replicas=wanted),
                ),
                reason=f"decode needs {wanted} for {5.0 + number / 10:.1f} requests/s",
                figures={"rate_per_s": 5.0 + number / 10, "itl_ms_expected": 21.5},
            )
        )
    return tuple(ticks)


def rung_run(rung="sim", seed=1, **changes):
    table = changes.pop("table", None)
    if table is None:
        table = requests(seed, factor=1.0 if rung == "sim" else 1.03)
    record = RunRecord(
        table=table,
        worker_events=changes.pop("worker_events", WORKER_EVENTS),
        faults=changes.pop("faults", (FAULT,)),
        digest="abc123" if rung == "sim" else None,
        duration_s=124.0,
    )
    load = LoadCheck(
        dispatch_delay_ms_p99=1.4, limit_ms=22.0, saturated=False, failures={"timeout": 1}
    )
    values = {
        "rung": rung,
        "seed": seed,
        "record": record,
        "decisions": decisions(),
        "load": None if rung == "sim" else load,
    }
    return RungRun(**(values | changes))


def check(**changes):
    values = {
        "name": "attainment_min",
        "rung": "sim",
        "seed": None,
        "bound": Bound.AT_LEAST,
        "asked": 0.95,
        "measured": 0.9733,
        "unit": "",
        "outcome": Outcome.PASS,
    }
    return Check(**(values | changes))


def verdict(outcome=Outcome.FAIL):
    return Verdict(
        outcome=outcome,
        checks=(
            check(),
            check(
                name="ttft_ms_p95_max",
                bound=Bound.AT_MOST,
                asked=900.0,
                measured=1012.348,
                unit="ms",
                outcome=Outcome.FAIL,
            ),
            check(
                name="recovery_s_max",
                rung="mock",
                bound=Bound.AT_MOST,
                asked=30.0,
                measured=None,
                unit="s",
                outcome=Outcome.INCONCLUSIVE,
                note="the pool never recovered",
            ),
        ),
        reasons=("TTFT p95 on sim was 1012 ms, 900 ms were asked",),
    )


PARETO = """{
  "objective": "max tokens/s/GPU within the SLA",
  "picked": "disagg tp2+tp2",
  "points": [
    {"label": "agg tp2", "mode": "agg", "tokens_per_s_per_gpu": 310.5, "ttft_ms": 640.0,
     "itl_ms": 24.0, "gpus": 4, "replicas": 2, "feasible": true, "reason": "", "pareto": true},
    {"label": "disagg tp2+tp2", "mode": "disagg", "tokens_per_s_per_gpu": 365.0, "ttft_ms": 410.0,
     "itl_ms": 27.5, "gpus": 4, "replicas": 1, "feasible": true, "reason": "best", "pareto": true},
    {"label": "agg tp4", "mode": "agg", "tokens_per_s_per_gpu": 220.0, "ttft_ms": 380.0,
     "itl_ms": 16.0, "gpus": 4, "replicas": 1, "feasible": true, "reason": "", "pareto": true},
    {"label": "agg tp8", "mode": "agg", "tokens_per_s_per_gpu": 120.0, "ttft_ms": 250.0,
     "itl_ms": 14.9, "gpus": 8, "replicas": 1, "feasible": true, "reason": "", "pareto": false},
    {"label": "agg tp1", "mode": "agg", "tokens_per_s_per_gpu": null, "ttft_ms": null,
     "itl_ms": null, "gpus": 1, "replicas": 1, "feasible": false,
     "reason": "weights need 12.3 GiB more", "pareto": false}
  ]
}
"""
