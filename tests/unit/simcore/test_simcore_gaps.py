import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvariantError
from simcore.engine.gaps import RELATIVE_ERROR, GapHistogram

JUMPS = st.lists(
    st.tuples(
        st.integers(0, 10**14),
        st.integers(0, 10**11),
        st.integers(1, 400),
        st.integers(1, 300),
    ),
    min_size=1,
    max_size=8,
)


def brute_force(jumps) -> GapHistogram:
    histogram = GapHistogram()
    for first_fs, growth_fs, steps, members in jumps:
        for step in range(steps):
            histogram.add(first_fs + step * growth_fs, members)
    return histogram


def nearest_rank(values: np.ndarray, percent: float) -> int:
    return int(np.sort(values)[max(0, int(np.ceil(percent * len(values) / 100)) - 1)])


@given(jumps=JUMPS)
def test_a_series_counts_what_its_steps_count_one_by_one(jumps) -> None:
    series = GapHistogram()
    for jump in jumps:
        series.add_series(*jump)
    single = brute_force(jumps)
    assert series.buckets() == single.buckets()
    for name in ("count", "sum_fs", "min_fs", "max_fs"):
        assert getattr(series, name) == getattr(single, name)


@pytest.mark.slow
@given(jumps=JUMPS, percent=st.sampled_from([0, 1, 50, 90, 99, 99.9, 100]))
def test_percentiles_stay_within_the_stated_error(jumps, percent) -> None:
    histogram = GapHistogram()
    gaps: list[np.ndarray] = []
    for first_fs, growth_fs, steps, members in jumps:
        histogram.add_series(first_fs, growth_fs, steps, members)
        gaps.append(np.repeat(first_fs + growth_fs * np.arange(steps), members))
    values = np.concatenate(gaps)
    exact = nearest_rank(values, percent)
    assert histogram.percentile_fs(percent) == pytest.approx(exact, rel=RELATIVE_ERROR, abs=0)
    assert histogram.mean_fs() == pytest.approx(float(values.mean()), rel=1e-12)


@given(left=JUMPS, right=JUMPS)
def test_merging_equals_counting_everything_in_one(left, right) -> None:
    one, two = brute_force(left[:2]), brute_force(right[:2])
    one.merge(two)
    both = brute_force(left[:2] + right[:2])
    assert one.buckets() == both.buckets()
    assert (one.count, one.sum_fs, one.min_fs, one.max_fs) == (
        both.count, both.sum_fs, both.min_fs, both.max_fs,
    )  # fmt: skip


def test_buckets_are_narrow_adjacent_and_hold_their_gaps() -> None:
    histogram = GapHistogram()
    gaps = sorted({*range(600), *(3**k for k in range(34)), *(2**k for k in range(60))})
    for gap in gaps:
        histogram.add(gap, 1)
    edges = histogram.buckets()
    assert sum(bucket.gaps for bucket in edges) == len(gaps)
    for bucket in edges:
        inside = [gap for gap in gaps if bucket.low_fs <= gap < bucket.high_fs]
        assert len(inside) == bucket.gaps
        assert bucket.high_fs - bucket.low_fs <= max(1, bucket.low_fs / 128)


def test_a_long_jump_touches_few_buckets() -> None:
    histogram = GapHistogram()
    histogram.add_series(8 * 10**12, 10**3, 10**9, 64)
    assert histogram.count == 64 * 10**9
    assert len(histogram.buckets()) < 40


def test_empty_and_impossible() -> None:
    histogram = GapHistogram()
    assert np.isnan(histogram.mean_fs())
    assert np.isnan(histogram.percentile_fs(50))
    full = brute_force([(5, 0, 1, 2)])
    full.merge(histogram)
    assert (full.min_fs, full.max_fs, full.count) == (5, 5, 2)
    for wrong in ((-1, 0, 1, 1), (1, -1, 1, 1), (1, 0, 0, 1), (1, 0, 1, 0)):
        with pytest.raises(InvariantError):
            histogram.add_series(*wrong)
    with pytest.raises(InvariantError):
        histogram.add(-1, 1)
    with pytest.raises(InvariantError):
        histogram.percentile_fs(101)
