import numpy as np
import pytest

from contracts.errors import InputError
from simcore.closed_loop import simulate_closed_loop


def run(plan, count: int, concurrency: int, isl: int = 500, osl: int = 40):
    lengths = np.full(count, isl), np.full(count, osl)
    return simulate_closed_loop(plan, isl=lengths[0], osl=lengths[1], concurrency=concurrency).table


def test_exactly_the_concurrency_is_in_flight(make_agg_plan) -> None:
    table = run(make_agg_plan(1), 48, 4)
    assert table.completed.all()
    assert (table.arrival_ns == 0).sum() == 4
    for at_ns in table.arrival_ns[4:]:
        in_flight = (table.arrival_ns <= at_ns) & (table.finish_ns > at_ns)
        assert in_flight.sum() == 4, "a request starts only when another one has ended"
    assert np.isin(table.arrival_ns[4:], table.finish_ns).all()


def test_one_in_flight_has_the_latency_of_an_idle_engine(make_agg_plan) -> None:
    table = run(make_agg_plan(1), 10, 1)
    assert len(set(np.diff(table.arrival_ns).tolist())) == 1
    assert len(set((table.finish_ns - table.arrival_ns).tolist())) == 1


def test_more_in_flight_means_more_throughput_and_slower_tokens(make_agg_plan) -> None:
    few, many = run(make_agg_plan(1), 64, 2), run(make_agg_plan(1), 64, 32)
    assert many.finish_ns.max() < few.finish_ns.max() / 2
    assert np.median(many.itl_ms) > np.median(few.itl_ms)


@pytest.mark.parametrize(("count", "concurrency", "isl"), [(0, 1, 5), (5, 0, 5), (5, 1, 0)])
def test_bad_input_is_refused(make_agg_plan, count, concurrency, isl) -> None:
    with pytest.raises(InputError):
        run(make_agg_plan(1), count, concurrency, isl=isl)
