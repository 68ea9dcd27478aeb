"""The closed loop of the load client: so many in flight, no more and no less."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from harness_sse_server import answer, serving

from contracts.errors import InputError
from profiler.load import ClosedLoop, LoadTarget, WallClock, run_closed_loop


def loop(requests=6, concurrency=2, salt="", osl=3):
    return ClosedLoop(requests=requests, concurrency=concurrency, isl=4, osl=osl, salt=salt)


def run(wanted, script=answer, speed=1.0):
    async def work():
        async with serving(script) as log:
            target = LoadTarget(base_url=log.base_url, model="m")
            found = await run_closed_loop(
                target, wanted, speed=speed, clock=WallClock(), timeout_s=10.0
            )
            return found, log

    return asyncio.run(work())


def test_a_fixed_number_is_in_flight_on_as_many_connections():
    now, most = 0, 0

    async def counted(request, writer):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        await answer(request, writer)

    found, log = run(loop(requests=7, concurrency=3), counted)
    assert found.table.completed.all()
    assert (most, log.connections) == (3, 3)
    assert sorted(r.index for r in log.requests) == list(range(7))
    assert np.all(found.table.ttft_ms > 0)


def test_every_token_has_its_instant_and_prompts_differ_by_salt():
    found, log = run(loop(requests=2, concurrency=1, salt="7x", osl=5))
    assert [len(times) for times in found.token_ns] == [5, 5]
    assert all(np.all(np.diff(times) >= 0) for times in found.token_ns)
    assert found.token_ns[0][-1] == found.table.finish_ns[0]
    words = [r.body["messages"][0]["content"].split() for r in log.requests]
    assert [w[0] for w in words] == ["r7x0", "r7x1"]
    assert {len(w) for w in words} == {4}


def test_a_failure_frees_its_place():
    async def refusing(request, writer):
        if request.index == 0:
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
            await writer.drain()
            return
        await answer(request, writer)

    found, log = run(loop(requests=4, concurrency=1), refusing)
    assert found.table.completed.tolist() == [False, True, True, True]
    assert found.failures == {"http 503": 1}
    assert len(log.requests) == 4


def test_more_places_than_requests_and_none_at_all():
    found, log = run(loop(requests=2, concurrency=9))
    assert (len(found.table), log.connections) == (2, 2)
    with pytest.raises(InputError, match="requests"):
        run(loop(requests=0))
