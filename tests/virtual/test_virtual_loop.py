"""The virtual loop: time jumps, turns come in order, and nobody waits for nothing."""

from __future__ import annotations

import asyncio

import pytest

from contracts.errors import InvariantError
from mocker.virtual import PollClock, Turn, VirtualClock, VirtualLoop
from simcore.kernel import EventOrder, Kernel

S = 1_000_000_000


def run(main):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def loop() -> VirtualLoop:
    found = asyncio.get_running_loop()
    assert isinstance(found, VirtualLoop)
    return found


def test_an_hour_passes_at_once():
    async def main():
        await asyncio.sleep(3600)
        return loop().now_ns, loop().time()

    assert run(main) == (3600 * S, 3600.0)


def test_odd_nanoseconds_are_kept():
    async def main():
        clock = VirtualClock(loop())
        await clock.sleep_until_ns(1_000_000_000_001)
        await clock.sleep(0.000000002)
        return clock.now_ns()

    assert run(main) == 1_000_000_000_003


def test_turns_of_an_instant_come_in_order_and_one_ends_before_the_next_begins():
    heard = []

    async def act(turn: Turn) -> None:
        await VirtualClock(loop(), turn).sleep_until_ns(S)
        for _ in range(5):
            await asyncio.sleep(0)
        heard.append(turn)

    async def main():
        await asyncio.gather(*(act(turn) for turn in reversed(Turn)))

    run(main)
    assert heard == list(Turn)


def test_a_turn_of_the_present_instant_is_waited_for_unless_it_is_over():
    async def main():
        early, late = VirtualClock(loop(), Turn.FAULT), VirtualClock(loop(), Turn.TICK)
        await late.sleep_until_ns(0)
        assert (loop().now_ns, loop().turn) == (0, Turn.TICK)
        await early.sleep_until_ns(0)
        assert loop().turn is Turn.TICK

    run(main)


def test_polls_after_the_first_have_a_later_turn():
    async def main():
        clock, turns = PollClock(loop()), []
        for second in (1, 2, 3):
            await clock.sleep_until_ns(second * S)
            turns.append((loop().turn, clock.order()))
        return turns

    assert run(main) == [
        (Turn.FIRST_POLL, EventOrder.CONTROL),
        (Turn.POLL, EventOrder.TRANSFER),
        (Turn.POLL, EventOrder.TRANSFER),
    ]


def test_a_cancelled_timer_does_not_move_time():
    async def main():
        loop().call_later(5, pytest.fail)
        loop().call_later(7, pytest.fail).cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        return loop().now_ns

    assert run(main) == 2 * S


def test_waiting_for_nothing_is_a_bug_and_not_a_hang():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(InvariantError, match="stands still"):
        run(main)


def test_nobody_outside_can_be_reached():
    async def main():
        await loop().create_connection(asyncio.Protocol, "127.0.0.1", 80)

    with pytest.raises(ConnectionRefusedError):
        run(main)


def test_what_is_written_is_read_at_the_same_instant():
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data.upper())

    class Client(asyncio.Protocol):
        def __init__(self):
            self.heard = asyncio.get_running_loop().create_future()

        def data_received(self, data):
            self.heard.set_result((loop().now_ns, data))

    async def main():
        loop().listen("10.0.0.1", 1, Echo)
        await asyncio.sleep(1)
        transport, client = await loop().create_connection(Client, "10.0.0.1", 1)
        transport.write(b"hello")
        heard = await client.heard
        transport.close()
        await asyncio.sleep(0.1)
        return heard

    assert run(main) == (S, b"HELLO")


def test_the_kernel_stops_within_an_instant():
    kernel, heard = Kernel(), []
    kernel.call_at(5, EventOrder.TRANSFER, lambda: heard.append("transfer"))
    kernel.call_at(5, EventOrder.CONTROL, lambda: heard.append("control"))
    kernel.wake_at(5, EventOrder.ENGINE, lambda at_ns: heard.append(at_ns))
    kernel.run_until(5, EventOrder.CONTROL)
    assert (heard, kernel.now_ns) == ([5], 5)
    kernel.run_until(5, EventOrder.TRANSFER)
    assert heard == [5, "control"]
    kernel.run_until(5)
    assert heard == [5, "control", "transfer"]
