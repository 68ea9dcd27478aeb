"""Synthetic workloads: how requests arrive, and how long they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.units import NS_PER_S
from contracts.workload import IntArray, Workload

FloatArray = npt.NDArray[np.float64]


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


Arrivals = PoissonArrivals | GammaArrivals | ConstantArrivals | BurstArrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Lognormal token counts with a mean and a coefficient of variation; 0 is fixed."""

    mean: float
    cv: float = 0.0
    min_tokens: int = 1
    max_tokens: int | None = None


def synthesize(
    arrivals: Arrivals,
    *,
    duration_s: float,
    isl: Lengths,
    osl: Lengths,
    streams: RandomStreams,
) -> Workload:
    """Draw a workload from the streams ``workload.arrivals``, ``workload.isl`` and ``.osl``.

    Raises:
        InputError: a rate, duration or length is not positive, or nothing arrives.
    """
    _positive("duration_s", duration_s)
    times_s = _arrival_times(arrivals, duration_s, streams.stream("workload.arrivals"))
    count = len(times_s)
    if count == 0:
        raise InputError("no request arrives within the duration", value=f"{duration_s} s")
    return Workload(
        arrival_ns=np.round(times_s * NS_PER_S).astype(np.int64),
        isl=_lengths("isl", isl, count, streams.stream("workload.isl")),
        osl=_lengths("osl", osl, count, streams.stream("workload.osl")),
        source="synthetic",
    )


def _arrival_times(arrivals: Arrivals, duration_s: float, rng: np.random.Generator) -> FloatArray:
    match arrivals:
        case ConstantArrivals(rate_per_s=rate):
            _positive("rate_per_s", rate)
            return np.asarray(np.arange(1, int(duration_s * rate) + 1) / rate)
        case GammaArrivals(rate_per_s=rate, gap_cv=gap_cv):
            _positive("rate_per_s", rate)
            _positive("gap_cv", gap_cv)
            shape = 1.0 / gap_cv**2
            scale = 1.0 / (shape * rate)
            return _renewals(lambda n: rng.gamma(shape, scale, n), rate, duration_s)
        case PoissonArrivals(rate_per_s=rate):
            _positive("rate_per_s", rate)
            return _poisson(rng, np.array([0.0, duration_s]), np.array([rate]))
        case BurstArrivals():
            return _burst(arrivals, duration_s, rng)


def _burst(arrivals: BurstArrivals, duration_s: float, rng: np.random.Generator) -> FloatArray:
    _positive("base_rate_per_s", arrivals.base_rate_per_s)
    _positive("peak_rate_per_s", arrivals.peak_rate_per_s)
    _positive("length_s", arrivals.length_s)
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


def _lengths(name: str, lengths: Lengths, count: int, rng: np.random.Generator) -> IntArray:
    _positive(f"{name}.mean", lengths.mean)
    if lengths.cv < 0:
        raise InputError("must not be negative", path=f"{name}.cv", value=str(lengths.cv))
    if lengths.cv == 0:
        drawn = np.full(count, lengths.mean)
    else:
        variance = math.log(1.0 + lengths.cv**2)
        mu = math.log(lengths.mean) - variance / 2
        drawn = rng.lognormal(mu, math.sqrt(variance), count)
    top = lengths.max_tokens if lengths.max_tokens is not None else np.iinfo(np.int64).max
    rounded = np.round(drawn).astype(np.int64)
    return np.asarray(np.clip(rounded, max(1, lengths.min_tokens), top))


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise InputError("must be a positive number", path=name, value=str(value))
