"""How much lengths differ, and what that does to the ITL of single requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planner_samples import AGG, model

from contracts.sla import SlaTarget
from planner.core.capacity import Lengths
from planner.core.sizing import size_pool
from planner.core.spread import Spread, SpreadSeen, itl_noise

HEAVY = Spread(isl=1.4, osl=1.4)
TARGET = SlaTarget(ttft_ms=2000.0, itl_ms=60.0)


def lognormal(rng: np.random.Generator, mean: float, cv: float, size: int) -> np.ndarray:
    sigma2 = np.log1p(cv * cv)
    return rng.lognormal(np.log(mean) - sigma2 / 2.0, np.sqrt(sigma2), size)


def learnt(cv: float, *, windows: int = 400, drift: float = 0.0) -> Spread:
    rng, seen = np.random.default_rng(3), SpreadSeen()
    for index in range(windows):
        count = int(rng.integers(20, 60))
        mean = 1000.0 * (1.0 + drift * index)
        seen = seen.with_window(
            count,
            float(lognormal(rng, mean, cv, count).mean()),
            float(lognormal(rng, 200.0, cv, count).mean()),
        )
    return seen.spread


@pytest.mark.parametrize("cv", [0.5, 1.0])
def test_the_spread_of_lengths_is_learnt_from_window_means(cv):
    found = learnt(cv)
    assert found.isl == pytest.approx(cv * cv, rel=0.45)
    assert found.osl == pytest.approx(cv * cv, rel=0.45)


def test_a_mean_that_moves_is_no_spread():
    assert learnt(0.5, drift=0.005).isl < 0.4


def test_windows_without_lengths_change_nothing():
    seen = SpreadSeen().with_window(30, 1000.0, 200.0)
    assert seen.with_window(0, None, None) == seen
    assert seen.with_window(30, 1000.0, None) == seen
    assert SpreadSeen().with_window(30, 1000.0, 200.0).spread == Spread()


def test_a_shift_of_the_mix_alone_makes_no_noise():
    seen = SpreadSeen()
    for index in range(40):
        isl = 4000.0 if index < 20 else 2000.0
        seen = seen.with_window(40, isl * (1.0 + 0.05 * (-1) ** index), 400.0)
    assert noise(seen.spread) == ()


def noise(spread: Spread) -> tuple[float, ...]:
    return itl_noise(spread, osl=200.0, prefill_s=0.3, prefill_share=0.4, itl_s=0.06)


def test_lengths_that_spread_as_usual_make_no_more_noise():
    assert noise(Spread()) == ()
    assert noise(Spread(isl=0.5, osl=0.5)) == ()


def test_short_outputs_suffer_most_and_the_more_the_longer_prompts_may_be():
    found = noise(HEAVY)
    assert found[0] > found[2] > 0.0
    assert noise(Spread(isl=3.0, osl=1.4))[2] > found[2]


def test_more_room_is_wanted_where_lengths_spread_widely():
    lengths = Lengths(isl=900.0, osl=200.0)
    usual = size_pool(model(), AGG.pool, lengths, TARGET)
    heavy = size_pool(model(), AGG.pool, lengths, TARGET, spread=HEAVY)
    assert usual.noise == ()
    assert heavy.plain == usual.plain
    rate = 0.75 * 4 * usual.plain.requests_per_s_max
    assert heavy.missing(4, rate) > usual.missing(4, rate)
    assert replace(heavy, noise=()) == usual
    assert heavy.missing(4, 100.0 * rate) == 1.0
