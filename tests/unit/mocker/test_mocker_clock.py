"""Alarms of the event loop and of the kernel."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mocker.clock import Alarm, KernelAlarm, LoopAlarm, WallClock

MS = 1_000_000
KINDS = ["loop"] + (["kernel"] if sys.platform == "linux" else [])


def with_alarm(kind: str, act) -> list[int]:
    """Run ``act(alarm, clock)``; returns by how many nanoseconds each ring came after 0."""

    async def body() -> list[int]:
        clock, rings = WallClock(), []
        start_ns = clock.now_ns()

        def ring() -> None:
            rings.append(clock.now_ns() - start_ns)

        loop = asyncio.get_running_loop()
        alarm: Alarm = KernelAlarm(loop, ring) if kind == "kernel" else LoopAlarm(loop, clock, ring)
        try:
            await act(alarm, start_ns, rings)
        finally:
            alarm.close()
        return rings

    return asyncio.run(body())


async def until(check) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", KINDS)
def test_it_rings_once_and_never_before_its_time(kind: str) -> None:
    async def act(alarm, start_ns, rings):
        alarm.set(start_ns + 50 * MS)
        alarm.set(start_ns + 5 * MS)
        await until(lambda: rings)
        await asyncio.sleep(0.01)

    rings = with_alarm(kind, act)
    assert len(rings) == 1
    assert rings[0] >= 4.9 * MS


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_due_rings_at_once_and_what_is_cleared_does_not(kind: str) -> None:
    async def act(alarm, start_ns, rings):
        alarm.set(start_ns - 5)
        alarm.clear()
        await asyncio.sleep(0.005)
        assert rings == []
        alarm.set(start_ns - 5)
        alarm.set(start_ns + 3_600_000 * MS)
        await asyncio.sleep(0.005)
        assert rings == []
        alarm.set(start_ns)
        await until(lambda: rings)

    assert len(with_alarm(kind, act)) == 1


def test_the_clock_chooses_an_alarm() -> None:
    async def body() -> type:
        alarm = WallClock().alarm(lambda: None)
        alarm.close()
        alarm.close()
        return type(alarm)

    assert asyncio.run(body()) in (KernelAlarm, LoopAlarm)
