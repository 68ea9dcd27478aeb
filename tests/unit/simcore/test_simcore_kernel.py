import pytest

from contracts.errors import InvariantError
from simcore.kernel import EventOrder, Kernel


def test_same_instant_runs_in_documented_order_then_in_order_of_scheduling() -> None:
    kernel, seen = Kernel(), []
    for order in reversed(EventOrder):
        for turn in (1, 2):
            kernel.call_at(7, order, lambda o=order, t=turn: seen.append((o, t)))
    kernel.run()
    assert seen == [(order, turn) for order in EventOrder for turn in (1, 2)]
    assert kernel.now_ns == 7


def test_run_until_includes_the_instant_and_moves_the_clock() -> None:
    kernel, seen = Kernel(), []
    for at in (5, 10, 11):
        kernel.call_at(at, EventOrder.ENGINE, lambda at=at: seen.append((at, kernel.now_ns)))
    kernel.run_until(10)
    assert (seen, kernel.now_ns, kernel.peek_ns()) == ([(5, 5), (10, 10)], 10, 11)


def test_time_stays_an_integer_beyond_float_precision() -> None:
    kernel, seen = Kernel(), []
    far = (1 << 60) + 1
    kernel.call_at(far, EventOrder.ENGINE, lambda: seen.append(kernel.now_ns))
    kernel.run()
    assert seen == [far]


def test_cancelled_call_does_not_run() -> None:
    kernel, seen = Kernel(), []
    call = kernel.call_at(3, EventOrder.ENGINE, lambda: seen.append("never"))
    call.cancel()
    kernel.run()
    assert seen == []


def test_the_past_is_refused() -> None:
    kernel = Kernel()
    kernel.run_until(10)
    with pytest.raises(InvariantError, match="event at 9 ns"):
        kernel.call_at(9, EventOrder.ENGINE, lambda: None)
