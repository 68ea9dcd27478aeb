"""When requests or sessions arrive."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError
from simcore.workload.lengths import positive

FloatArray = npt.NDArray[np.float64]

# More arrivals than this are a slip of the pen, and would fill the memory.
ARRIVALS_MAX = 10**8


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonArrivals:
    """Independent exponential gaps."""

    rate_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GammaArrivals:
    """Gamma-distributed gaps; ``gap_cv`` above 1 clusters, below 1 smooths."""

    rate_per_s: float
    gap_cv: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantArrivals:
    """Equal gaps, the first request at one gap."""

    rate_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstArrivals:
    """Poisson arrivals at a base rate with one window at a peak rate."""

    base_rate_per_s: float
    peak_rate_per_s: float
    start_s: float
    length_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SteppedArrivals:
    """Poisson arrivals whose rate changes in steps; a rate of 0 sends nothing.

    Attributes:
        start_s: first second of each step, increasing, the first is 0.
        rate_per_s: one for each step.
    """

    start_s: tuple[float, ...]
    rate_per_s: tuple[float, ...]


Arrivals = PoissonArrivals | GammaArrivals | ConstantArrivals | BurstArrivals | SteppedArrivals


def diurnal(
    *, mean_per_s: float, peak_per_s: float, period_s: float, duration_s: float
) -> SteppedArrivals:
    """A sine between ``2 mean - peak`` and ``peak`` in 48 steps a period, lowest at time 0.

    Raises:
        InputError: the peak lies below the mean or above twice the mean.
    """
    if not 0 < mean_per_s <= peak_per_s <= 2 * mean_per_s:
        raise InputError(
            "must lie between the mean and twice the mean",
            path="peak_per_s",
            value=str(peak_per_s),
            allowed=f"{mean_per_s} to {2 * mean_per_s}",
        )
    positive("period_s", period_s)
    step_s = period_s / 48
    start_s = np.arange(math.ceil(duration_s / step_s)) * step_s
    phase = 2 * math.pi * (start_s + step_s / 2) / period_s
    rates = mean_per_s - (peak_per_s - mean_per_s) * np.cos(phase)
    return SteppedArrivals(start_s=tuple(start_s.tolist()), rate_per_s=tuple(rates.tolist()))


def arrival_times(arrivals: Arrivals, duration_s: float, rng: np.random.Generator) -> FloatArray:
    """Seconds since the start at which something arrives, increasing, up to ``duration_s``.

    Raises:
        InputError: a rate or the duration is not positive, or nothing arrives.
    """
    positive("duration_s", duration_s)
    times_s = _draw(arrivals, duration_s, rng)
    if len(times_s) == 0:
        raise InputError("no request arrives within the duration", value=f"{duration_s} s")
    return times_s


def _draw(arrivals: Arrivals, duration_s: float, rng: np.random.Generator) -> FloatArray:
    match arrivals:
        case ConstantArrivals(rate_per_s=rate):
            _check_count(rate, duration_s)
            return np.asarray(np.arange(1, int(duration_s * rate) + 1) / rate)
        case GammaArrivals(rate_per_s=rate, gap_cv=gap_cv):
            _check_count(rate, duration_s)
            positive("gap_cv", gap_cv)
            shape = 1.0 / gap_cv**2
            scale = 1.0 / (shape * rate)
            return _renewals(lambda n: rng.gamma(shape, scale, n), rate, duration_s)
        case PoissonArrivals(rate_per_s=rate):
            _check_count(rate, duration_s)
            return _poisson(rng, np.array([0.0, duration_s]), np.array([rate]))
        case BurstArrivals():
            return _burst(arrivals, duration_s, rng)
        case SteppedArrivals():
            return _steps(arrivals, duration_s, rng)


def _burst(arrivals: BurstArrivals, duration_s: float, rng: np.random.Generator) -> FloatArray:
    _check_count(arrivals.base_rate_per_s, duration_s, "base_rate_per_s")
    _check_count(arrivals.peak_rate_per_s, duration_s, "peak_rate_per_s")
    positive("length_s", arrivals.length_s)
    if not 0 <= arrivals.start_s < duration_s:
        raise InputError(
            "the burst must start within the duration",
            path="start_s",
            value=str(arrivals.start_s),
            allowed=f"0 to {duration_s}",
        )
    end_s = min(arrivals.start_s + arrivals.length_s, duration_s)
    edges = np.array([0.0, arrivals.start_s, end_s, duration_s])
    base, peak = arrivals.base_rate_per_s, arrivals.peak_rate_per_s
    return _poisson(rng, edges, np.array([base, peak, base]))


def _steps(arrivals: SteppedArrivals, duration_s: float, rng: np.random.Generator) -> FloatArray:
    starts, rates = np.array(arrivals.start_s), np.array(arrivals.rate_per_s)
    ordered = len(starts) == len(rates) > 0 and starts[0] == 0 and bool(np.all(np.diff(starts) > 0))
    if not ordered or starts[-1] >= duration_s or float(rates.min()) < 0:
        raise InputError(
            "steps must start at 0, increase, lie within the duration and have rates of at least 0",
            path="steps",
            value=str(arrivals.start_s)[:60],
        )
    _check_count(float(rates.max()), duration_s)
    return _poisson(rng, np.append(starts, duration_s), rates)


def _poisson(rng: np.random.Generator, edges_s: FloatArray, rates: FloatArray) -> FloatArray:
    """Poisson process with piecewise-constant rate, by inverting the summed intensity."""
    intensity = np.concatenate([[0.0], np.cumsum(np.diff(edges_s) * rates)])
    unit = _renewals(lambda n: rng.exponential(1.0, n), 1.0, float(intensity[-1]))
    return np.asarray(np.interp(unit, intensity, edges_s))


def _renewals(draw: Callable[[int], FloatArray], rate: float, end: float) -> FloatArray:
    """Cumulated gaps up to ``end``, drawn in portions that do not depend on the outcome."""
    portion = max(16, math.ceil(end * rate * 1.2))
    times = np.cumsum(draw(portion))
    while times[-1] <= end:
        times = np.concatenate([times, times[-1] + np.cumsum(draw(portion))])
    return np.asarray(times[times <= end])


def _check_count(rate_per_s: float, duration_s: float, name: str = "rate_per_s") -> None:
    positive(name, rate_per_s)
    if rate_per_s * duration_s > ARRIVALS_MAX:
        raise InputError(
            "too many arrivals",
            path=name,
            value=f"{rate_per_s} /s for {duration_s} s",
            allowed=f"at most {ARRIVALS_MAX} arrivals",
        )
