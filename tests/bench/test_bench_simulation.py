"""Speed of whole simulations in CPU-seconds; definitions follow docs/benchmarks.md.

Nothing here asserts on time. ``make bench`` prints CPU-seconds (process time) and the
peak memory of each run.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import pytest

from contracts.engine import EngineLimits
from contracts.streams import RandomStreams
from contracts.workload import Workload
from simcore.simulation import simulate

pytestmark = pytest.mark.bench

LIMITS = EngineLimits(
    max_num_seqs=256, max_num_batched_tokens=8192, block_size_tokens=64, kv_blocks_total=16_384
)


def workload(count: int, isl: int, osl: int, rate_per_s: float, *, poisson: bool) -> Workload:
    if poisson:
        rng = RandomStreams(1).stream("bench.arrivals")
        arrival_ns = np.cumsum(rng.exponential(1e9 / rate_per_s, count)).astype(np.int64)
    else:
        arrival_ns = np.round(np.arange(count) * 1e9 / rate_per_s).astype(np.int64)
    lengths = np.full(count, isl, dtype=np.int64), np.full(count, osl, dtype=np.int64)
    return Workload(arrival_ns=arrival_ns, isl=lengths[0], osl=lengths[1], source="bench")


def measure(benchmark, plan, load: Workload, rounds: int = 3) -> None:
    record = benchmark.pedantic(simulate, args=(plan, load), rounds=rounds, iterations=1)
    assert record.table.completed.all()
    assert len(record.table) == len(load)
    tokens = int(load.osl.sum())
    cpu_s = benchmark.stats.stats.median
    benchmark.extra_info["output_tokens_per_cpu_s"] = round(tokens / cpu_s)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    benchmark.extra_info["peak_rss_mb"] = round(peak_mb)
    line = f"\n{benchmark.name}: {cpu_s:.2f} CPU-s, {tokens / cpu_s / 1e6:.1f} M output tokens "
    sys.stderr.write(f"{line}per CPU-s, peak {peak_mb:.0f} MB\n")


@pytest.mark.benchmark(timer=time.process_time)
def test_b_10k_requests_2048_512_8_workers(benchmark, make_agg_plan, make_engine_spec) -> None:
    plan = make_agg_plan(8, engine=make_engine_spec(limits=LIMITS))
    measure(benchmark, plan, workload(10_000, 2048, 512, 20.0, poisson=False))


@pytest.mark.benchmark(timer=time.process_time)
def test_c_10k_requests_4000_1000_4_prefill_8_decode(
    benchmark, make_disagg_plan, make_engine_spec
) -> None:
    plan = make_disagg_plan(4, 8, engine=make_engine_spec(limits=LIMITS))
    measure(benchmark, plan, workload(10_000, 4000, 1000, 20.0, poisson=False))


@pytest.mark.benchmark(timer=time.process_time)
def test_d_100k_requests_1024_128_8_workers_poisson(
    benchmark, make_agg_plan, make_engine_spec
) -> None:
    plan = make_agg_plan(8, engine=make_engine_spec(limits=LIMITS))
    measure(benchmark, plan, workload(100_000, 1024, 128, 100.0, poisson=True))
