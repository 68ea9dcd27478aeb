"""The load generator against a paced server in a process of its own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.units import NS_PER_MS
from contracts.workload import Workload
from harness.load import LoadTarget, WallClock, run_load

TTFT_MS = 60
ITL_MS = 10
HELPERS = Path(__file__).parents[1] / "unit" / "harness"
SERVER = f"""
import asyncio, sys
from harness_sse_server import DONE, FINISH, HEAD, ROLE, chunk, serving, token

async def paced(request, writer):
    loop = asyncio.get_running_loop()
    at_s = loop.time() + {TTFT_MS} / 1000
    writer.write(HEAD + chunk(ROLE))
    for _ in range(request.body["max_tokens"]):
        await asyncio.sleep(at_s - loop.time())
        writer.write(chunk(token()))
        at_s += {ITL_MS} / 1000
    writer.write(chunk(FINISH) + chunk(DONE) + b"0\\r\\n\\r\\n")

async def main():
    async with serving(paced) as log:
        print(log.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def base_url():
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HELPERS)},
    ) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()
        server.wait(timeout=10)


def test_forty_paced_streams_are_measured_as_they_were_sent(base_url):
    count = 40
    workload = Workload(
        arrival_ns=np.arange(count, dtype=np.int64) * 25 * NS_PER_MS,
        isl=np.full(count, 200, dtype=np.int64),
        osl=np.full(count, 21, dtype=np.int64),
        source="test",
    )
    result = asyncio.run(
        run_load(
            LoadTarget(base_url=base_url, model="m"),
            workload,
            speed=1.0,
            clock=WallClock(),
            timeout_s=30.0,
        )
    )
    assert result.failures == {}
    assert result.table.completed.all()
    assert result.tokens_received == count * 21
    # Nothing can be faster than the server; half of a busy machine may make it slower.
    assert result.table.ttft_ms.min() >= TTFT_MS - 1
    assert np.median(result.table.ttft_ms) < TTFT_MS + 30
    assert np.median(result.table.itl_ms) == pytest.approx(ITL_MS, rel=0.15)


def test_a_tenfold_speed_shows_tenfold_times(base_url):
    count = 10
    workload = Workload(
        arrival_ns=np.arange(count, dtype=np.int64) * 500 * NS_PER_MS,
        isl=np.full(count, 5, dtype=np.int64),
        osl=np.full(count, 11, dtype=np.int64),
        source="test",
    )
    result = asyncio.run(
        run_load(
            LoadTarget(base_url=base_url, model="m"),
            workload,
            speed=10.0,
            clock=WallClock(),
            timeout_s=300.0,
        )
    )
    assert result.table.completed.all()
    assert result.table.ttft_ms.min() >= 10 * (TTFT_MS - 1)
    assert np.median(result.table.itl_ms) == pytest.approx(10 * ITL_MS, rel=0.15)
