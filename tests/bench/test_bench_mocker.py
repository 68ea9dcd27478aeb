"""Speed and punctuality of the mocker over loopback, in CPU-seconds and wall time.

``make bench`` runs it. Server and load client are processes of their own. Targets on two
idle cores: 120,000 streamed tokens a second at 64 and 256 connections, 10,000 whole answers a
second, 500 streams at 10 ms with a median lateness of 0.6 ms and 3 ms at the 99th percentile,
1,000 streams with 30 ms, and 150 MB. Beside punctuality and whole answers stands what a Python
server reaches in the same minute that does nothing but write. Nothing here asserts on wall time,
because the machine may be shared; lost tokens, failures, stalls and memory are asserted.

``server_waited_s`` and ``client_waited_s`` are the seconds that a process was ready to run and
had no core, ``stolen_s`` those that the host of a virtual machine gave to others: where they are
not near zero, lateness and rates are those of the machine.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.engine import EngineLimits, SglangScheduling
from tests.bench.mocker_load.served import ITL_MS, Mocker, Process, Sampler

pytestmark = pytest.mark.bench


@pytest.fixture
def serve(tmp_path: Path, make_agg_plan, make_engine_spec) -> Iterator[Callable[..., Mocker]]:
    started: list[Mocker] = []

    def start(speed: float, replicas: int = 1, plan: object = None) -> Mocker:
        if plan is None:
            limits = EngineLimits(max_num_seqs=4096, kv_blocks_total=200_000)
            plan = make_agg_plan(replicas, engine=make_engine_spec(limits=limits))
        started.append(Mocker(tmp_path, plan, speed))
        return started[-1]

    yield start
    for served in started:
        served.stop()


def show(title: str, found: dict[str, float]) -> None:
    words = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
    sys.stdout.write(f"\n{title}: {words}\n")


@pytest.mark.parametrize(("connections", "speed"), [(64, 50.0), (256, 12.5)])
def test_saturated_streams(benchmark, serve, connections: int, speed: float) -> None:
    served = serve(speed)
    options = ("--connections", str(connections), "--seconds", "3")
    found = benchmark.pedantic(served.load, args=options, rounds=1)
    found["server_us_per_token"] = found["server_cpu_s"] / found["tokens"] * 1e6
    show(f"{connections} connections, 100-token streams", found)
    assert found["failures"] == 0
    assert found["tokens"] > 0


def test_whole_answers(benchmark, serve) -> None:
    served = serve(10_000.0)
    options = ("--connections", "64", "--seconds", "3", "--whole", "--tokens", "1")
    found = benchmark.pedantic(served.load, args=options, rounds=1)
    found["server_us_per_request"] = found["server_cpu_s"] / found["requests"] * 1e6
    bare = Process("tests.bench.mocker_load.bare")
    try:
        least = bare.load(*options)
    finally:
        bare.stop()
    found["bare_requests_per_s"] = least["requests_per_s"]
    found["bare_us_per_request"] = least["server_cpu_s"] / least["requests"] * 1e6
    show("whole answers of one token, beside a server that does nothing", found)
    assert found["failures"] == 0


@pytest.mark.parametrize("streams", [500, 1000])
def test_punctuality(benchmark, serve, streams: int) -> None:
    """Eight engines, as their phases differ; each stream has 500 tokens."""
    served = serve(1.0, replicas=8)
    # The very first request takes milliseconds, in which engines would begin together.
    served.load("--connections", "16", "--pace-ms", str(ITL_MS), "--tokens", "50")
    options = ("--connections", str(streams), "--pace-ms", str(ITL_MS), "--tokens", "500")
    found = benchmark.pedantic(served.load, args=options, rounds=1)
    found["server_us_per_token"] = found["server_cpu_s"] / found["tokens"] * 1e6
    found |= lag(served)
    served.stop()
    found |= least(options)
    show(f"{streams} streams every {ITL_MS} ms, beside a server that only writes", found)
    assert (found["failures"], found["unfinished"]) == (0, 0)
    assert found["tokens"] == streams * 500
    assert found["rss_mb"] < 150


def least(options: tuple[str, ...]) -> dict[str, float]:
    """What the machine allows in this minute: fixed chunks, written when they are due."""
    bare = Process("tests.bench.mocker_load.ticker", str(ITL_MS))
    try:
        found = bare.load(*options)
    finally:
        bare.stop()
    return {
        **{f"bare_{key}": found[key] for key in ("late_ms_p50", "late_ms_p99", "stolen_s")},
        "bare_us_per_token": found["server_cpu_s"] / found["tokens"] * 1e6,
    }


def lag(served: Process) -> dict[str, float]:
    """The server's own lateness, the client left out: upper bounds of its histogram, in ms."""
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    mark = 'mocker_pacing_lag_seconds_bucket{le="'
    rows = [line.removeprefix(mark).split('"} ') for line in lines if line.startswith(mark)]
    counts = [(float(bound), float(count)) for bound, count in rows]
    total = counts[-1][1]
    return {
        f"server_lag_ms_p{share:.0%}".rstrip("%"): 1e3
        * next(bound for bound, count in counts if count >= share * total)
        for share in (0.5, 0.99)
    }


def test_prompts_in_blocks_of_one_token(
    benchmark, serve, make_disagg_plan, make_engine_spec
) -> None:
    """SGLang's blocks, 500 prompts of 600 words that begin differently, all at once."""
    limits = EngineLimits(
        max_num_seqs=2048, kv_blocks_total=600_000, block_size_tokens=1, max_model_len=8192
    )
    engine = make_engine_spec(limits=limits)
    plan = make_disagg_plan(1, 1, engine=replace(engine, scheduling=SglangScheduling()))
    served = serve(10.0, plan=plan)
    options = ("--connections", "500", "--tokens", "24", "--prompt-words", "600", "--burst")
    served.load(*options, "1")
    found = benchmark.pedantic(served.load, args=(*options, "3"), rounds=1)
    found["server_us_per_request"] = found["server_cpu_s"] / found["requests"] * 1e6
    show("500 prompts of 600 words, answers of 24 tokens", found)
    assert (found["failures"], found["tokens"]) == (0, 3 * 500 * 24)


def test_memory_stays_flat(benchmark, serve) -> None:
    """A thousand streams all the time; ``BENCH_MOCKER_S`` makes it longer, 600 is ten minutes."""
    seconds = float(os.environ.get("BENCH_MOCKER_S", "10"))
    served = serve(0.2)
    options = ("--connections", "1000", "--tokens", "50", "--seconds")
    served.load(*options, "8")
    with Sampler(served) as memory:
        found = benchmark.pedantic(served.load, args=(*options, str(seconds)), rounds=1)
    parts = [memory.rss_mb[at * len(memory.rss_mb) // 6] for at in range(6)]
    found |= {f"rss_mb_{number}": each for number, each in enumerate(parts)}
    show("1000 streams, memory at six instants", found)
    assert found["failures"] == 0
    assert max(memory.rss_mb) < 150
    # The record of requests and the answers that prompts may repeat are bounded and fill up first.
    assert max(memory.rss_mb) < parts[3] + 5


def test_memory_does_not_grow_with_the_requests_served(benchmark, serve) -> None:
    """Rows of requests are bounded; the second half has room for what the first one made."""
    served = serve(10_000.0)
    seconds = os.environ.get("BENCH_MOCKER_S", "8")
    options = ("--connections", "64", "--whole", "--tokens", "1", "--seconds")
    warm = served.load(*options, seconds)
    found = benchmark.pedantic(served.load, args=(*options, seconds), rounds=1)
    show("memory after more requests", {"before_mb": warm["rss_mb"], **found})
    assert found["rss_mb"] < warm["rss_mb"] + 10
