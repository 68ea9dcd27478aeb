"""Speed of whole simulations in CPU-seconds; definitions follow docs/benchmarks.md.

Nothing here asserts on time. ``make bench`` prints CPU-seconds (process time) of the
simulation and of writing its Parquet file, and the peak memory of the process during
each run, imports and test runner included.

``BENCH_MILLION_REQUESTS`` sets the size of the largest run.
"""

from __future__ import annotations

import gc
import gzip
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contracts.engine import EngineLimits
from contracts.plan import DeploymentPlan, RouterPolicy
from contracts.streams import RandomStreams
from contracts.workload import Workload
from harness.store import write_metrics
from simcore.simulation import simulate
from simcore.workload import (
    Arrivals,
    ConstantArrivals,
    Lengths,
    PoissonArrivals,
    SharedPrefixes,
    TrafficMix,
    parse_mooncake,
    synthesize,
)

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(timer=time.process_time)]

LIMITS = EngineLimits(
    max_num_seqs=256, max_num_batched_tokens=8192, block_size_tokens=64, kv_blocks_total=16_384
)
MILLION = int(os.environ.get("BENCH_MILLION_REQUESTS", "1000000"))
KV_AWARE = RouterPolicy.KV_AWARE
MOONCAKE = Path(__file__).parents[3] / "shared/data/traces/mooncake_fast25_conversation.jsonl.gz"


PROCESS = Path("/proc/self")


def peak_rss_mb() -> float:
    """Most memory that the process has held since the peak was last cleared."""
    status = PROCESS.joinpath("status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def workload(
    arrivals: Arrivals, count: int, isl: Lengths, osl: Lengths, mix: TrafficMix | None = None
) -> Workload:
    return synthesize(
        arrivals,
        duration_s=count / arrivals.rate_per_s,
        isl=isl,
        osl=osl,
        streams=RandomStreams(1),
        mix=mix,
    )


def constant(count: int, rate_per_s: float, isl: int, osl: int) -> Workload:
    arrivals = ConstantArrivals(rate_per_s=rate_per_s)
    return workload(arrivals, count, Lengths(mean=isl), Lengths(mean=osl))


@pytest.fixture
def measure(benchmark, tmp_path) -> Callable[..., None]:
    """Simulates, writes Parquet, and prints what both cost."""

    def run(plan: DeploymentPlan, load: Workload, rounds: int = 3) -> None:
        gc.collect()
        PROCESS.joinpath("clear_refs").write_text("5")  # the peak starts anew
        record = benchmark.pedantic(simulate, args=(plan, load), rounds=rounds, iterations=1)
        cpu_s = benchmark.stats.stats.median
        path = tmp_path / "metrics.parquet"
        before_s = time.process_time()
        write_metrics(path, record, plan.sla, workload=load)
        write_s = time.process_time() - before_s
        table = record.table
        assert pq.read_metadata(path).num_rows == len(table) == len(load)
        assert set(table.status.tolist()) <= {"completed", "rejected"}
        assert table.completed.mean() > 0.99
        tokens = int(table.osl[table.completed].sum())
        good = pq.read_table(path, columns=["good"]).column("good").to_numpy().mean()
        peak_mb = peak_rss_mb()
        benchmark.extra_info["output_tokens_per_cpu_s"] = round(tokens / cpu_s)
        benchmark.extra_info["parquet_cpu_s"] = round(write_s, 3)
        benchmark.extra_info["peak_rss_mb"] = round(peak_mb)
        sys.stderr.write(
            f"\n{benchmark.name}: {cpu_s:.2f} CPU-s, {tokens / cpu_s / 1e6:.1f} M output tokens "
            f"per CPU-s, Parquet {write_s:.2f} CPU-s {path.stat().st_size / 1e6:.1f} MB, "
            f"peak {peak_mb:.0f} MB, mean TTFT {table.ttft_ms[table.completed].mean():.1f} ms, "
            f"within the SLA {good:.3f}\n"
        )

    return run


def test_b_10k_requests_2048_512_8_workers(measure, make_agg_plan, make_engine_spec) -> None:
    engine = make_engine_spec(limits=LIMITS)
    plan = make_agg_plan(8, engine=engine, router=RouterPolicy.ROUND_ROBIN)
    measure(plan, constant(10_000, 20.0, 2048, 512))


def test_c_10k_requests_4000_1000_4_prefill_8_decode(
    measure, make_disagg_plan, make_engine_spec
) -> None:
    engine = make_engine_spec(limits=LIMITS)
    plan = make_disagg_plan(4, 8, engine=engine, router=RouterPolicy.ROUND_ROBIN)
    measure(plan, constant(10_000, 20.0, 4000, 1000))


def test_d_100k_requests_1024_128_8_workers(measure, make_agg_plan, make_engine_spec) -> None:
    engine = make_engine_spec(limits=LIMITS)
    plan = make_agg_plan(8, engine=engine, router=RouterPolicy.ROUND_ROBIN)
    measure(plan, constant(100_000, 100.0, 1024, 128))


def test_d_poisson_least_loaded(measure, make_agg_plan, make_engine_spec) -> None:
    plan = make_agg_plan(8, engine=make_engine_spec(limits=LIMITS))
    arrivals = PoissonArrivals(rate_per_s=100.0)
    measure(plan, workload(arrivals, 100_000, Lengths(mean=1024), Lengths(mean=128)))


@pytest.mark.parametrize("router", [RouterPolicy.ROUND_ROBIN, KV_AWARE], ids=["rr", "kv"])
def test_e_10k_requests_2048_256_50_prefix_groups(
    measure, make_agg_plan, make_engine_spec, router
) -> None:
    plan = make_agg_plan(8, engine=make_engine_spec(limits=LIMITS), router=router)
    mix = TrafficMix(prefixes=SharedPrefixes(groups=50, shared_ratio=0.5))
    arrivals = ConstantArrivals(rate_per_s=20.0)
    measure(plan, workload(arrivals, 10_000, Lengths(mean=2048), Lengths(mean=256), mix))


@pytest.mark.skipif(not MOONCAKE.exists(), reason=f"no trace at {MOONCAKE}")
def test_f_mooncake_conversation_8_workers_kv_aware(
    measure, make_agg_plan, make_engine_spec
) -> None:
    limits = EngineLimits(block_size_tokens=16, kv_blocks_total=65_536, prefix_caching=True)
    plan = make_agg_plan(8, engine=make_engine_spec(limits=limits), router=KV_AWARE)
    with gzip.open(MOONCAKE, "rt", encoding="utf-8") as lines:
        load = parse_mooncake(lines, source=MOONCAKE.name)
    measure(plan, load, rounds=2)


def test_million_requests_64_workers_least_loaded(measure, make_agg_plan, make_engine_spec) -> None:
    plan = make_agg_plan(64, engine=make_engine_spec(limits=LIMITS), gpu_budget=64)
    arrivals = PoissonArrivals(rate_per_s=800.0)
    load = workload(arrivals, MILLION, Lengths(mean=1024, cv=0.5), Lengths(mean=128, cv=0.5))
    measure(plan, load, rounds=1)
