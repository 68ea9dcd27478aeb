"""Workloads of the benchmark: rate and lengths over time, drawn from named random streams.

Training workloads were used to tune the policies; the others were not looked at for that.
Rates are for an engine that serves about one request a second (:mod:`harness.bench.fleet`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.sla import SlaTarget
from contracts.streams import RandomStreams
from contracts.units import NS_PER_S
from contracts.workload import IntArray, PromptText, Workload
from harness.bench.fleet import AGG, DISAGG, BenchFleet
from simcore.workload.lengths import Lengths, draw_lengths

FloatArray = npt.NDArray[np.float64]

# Policies were tuned on training workloads with these seeds, and are judged on the other
# workloads with those. Neither is changed after looking at a judgement.
TRAINING_SEEDS = (1, 101, 102)
JUDGED_SEEDS = tuple(range(11, 21))

DURATION_S = 7200.0
TARGET = SlaTarget(ttft_ms=3000.0, itl_ms=60.0)
_GRID_S = 10.0
_HIT_GROUPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Lengths of one part of a workload.

    Attributes:
        cv: coefficient of variation of both lengths.
        hit_ratio: share of the mean prompt that is one of a few shared beginnings.
    """

    isl: float = 4000.0
    osl: float = 400.0
    cv: float = 0.5
    hit_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A synthetic workload.

    Attributes:
        rate: arrivals a second at a time in seconds.
        gradual: rates change over minutes, so attainment of 99 % is asked for, else 95 %.
        training: it was used to tune policies.
        mixes: from which time on which lengths, in order of time.
        jump_s: when the rate jumps up without warning, if ever.
        fleet: what serves it.
    """

    name: str
    rate: Callable[[float], float]
    gradual: bool = True
    training: bool = False
    mixes: tuple[tuple[float, Mix], ...] = ((0.0, Mix()),)
    duration_s: float = DURATION_S
    jump_s: float | None = None
    fleet: BenchFleet = AGG


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchWorkload:
    """One realised workload and what the clairvoyant oracle may know about it.

    Attributes:
        attainment_target: share of requests that have to be within the SLA (0-1).
        hit_ratio: prefix hits at a time in seconds.
        jump_s: when the rate jumps up without warning, if ever.
        fleet: what serves it.
    """

    name: str
    workload: Workload
    sla: SlaTarget
    attainment_target: float
    training: bool
    duration_s: float
    hit_ratio: Callable[[float], float]
    jump_s: float | None = None
    fleet: BenchFleet = AGG


def _wave(low: float, high: float, period_s: float, phase: float = 0.0) -> Callable[[float], float]:
    middle, swing = (high + low) / 2.0, (high - low) / 2.0
    return lambda t: middle - swing * math.cos(2.0 * math.pi * (t / period_s + phase))


def _between(low: float, high: float, start_s: float, end_s: float) -> Callable[[float], float]:
    return lambda t: high if start_s <= t < end_s else low


def _line(low: float, high: float, start_s: float, end_s: float) -> Callable[[float], float]:
    return lambda t: low + (high - low) * min(1.0, max(0.0, (t - start_s) / (end_s - start_s)))


def _peak(t: float) -> float:
    """One peak that is climbed in a quarter of an hour."""
    return 2.0 + 5.0 * math.exp(-(((t - 3600.0) / 800.0) ** 2))


def _morning_and_afternoon(t: float) -> float:
    """A day with two peaks, the second one steeper."""
    day = t / DURATION_S
    morning, afternoon = (
        math.exp(-(((day - at) / w) ** 2)) for at, w in ((0.3, 0.11), (0.68, 0.09))
    )
    return 1.8 + 3.0 * morning + 5.0 * afternoon


def _two_jumps(t: float) -> float:
    """A doubling that stays for half an hour and a short burst of two and a half times."""
    if 1500.0 <= t < 3300.0:
        return 5.5
    return 6.5 if 5000.0 <= t < 5400.0 else 2.6


def _gusts(t: float) -> float:
    """Real traffic varies more than counts do: gusts of half a minute to three minutes."""
    swing = sum(math.sin(2.0 * math.pi * t / period_s) for period_s in (29.0, 67.0, 173.0))
    return 2.0 * math.exp(0.3 * swing)


def _noon_and_evening(t: float) -> float:
    """A day of 7200 s: low at night, a peak at noon and a higher one in the evening."""
    day = t / DURATION_S
    noon, evening = (math.exp(-(((day - at) / 0.1) ** 2)) for at in (0.4, 0.72))
    return 1.5 + 4.0 * noon + 6.0 * evening


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="train-wave", rate=_wave(2.0, 8.0, 5400.0), training=True),
        Shape(name="train-ramp", rate=_line(7.0, 2.0, 1800.0, 5400.0), training=True),
        Shape(
            name="train-step",
            rate=_between(3.0, 5.0, 2000.0, 6000.0),
            gradual=False,
            training=True,
        ),
        Shape(name="train-peak", rate=_peak, training=True),
        Shape(name="train-day", rate=_morning_and_afternoon, training=True),
        Shape(name="train-jumps", rate=_two_jumps, gradual=False, training=True),
        Shape(
            name="train-mix",
            rate=lambda _: 5.0,
            gradual=False,
            training=True,
            mixes=(
                (0.0, Mix(isl=3000.0, osl=600.0)),
                (3000.0, Mix(isl=4500.0, osl=300.0, hit_ratio=0.5)),
                (5200.0, Mix(isl=4500.0, osl=300.0)),
            ),
        ),
        Shape(name="train-gusts", rate=_gusts, gradual=False, training=True),
        Shape(
            name="train-heavy",
            rate=_wave(2.0, 4.5, 3600.0),
            gradual=False,
            training=True,
            mixes=((0.0, Mix(isl=2500.0, osl=250.0, cv=1.2)),),
        ),
        Shape(name="train-day-disagg", rate=_morning_and_afternoon, training=True, fleet=DISAGG),
        Shape(
            name="train-mix-disagg",
            rate=lambda _: 5.0,
            gradual=False,
            training=True,
            mixes=(
                (0.0, Mix(isl=3000.0, osl=600.0)),
                (2600.0, Mix(isl=4500.0, osl=300.0)),
                (4800.0, Mix(isl=2500.0, osl=700.0)),
            ),
            fleet=DISAGG,
        ),
        Shape(
            name="quick",
            rate=_between(1.5, 3.0, 240.0, 600.0),
            gradual=False,
            training=True,
            duration_s=900.0,
        ),
        Shape(name="diurnal", rate=_noon_and_evening),
        Shape(
            name="step",
            rate=_between(3.0, 6.0, 2400.0, 5400.0),
            gradual=False,
            jump_s=2400.0,
        ),
        Shape(
            name="burst",
            rate=_between(3.0, 9.0, 3600.0, 3900.0),
            gradual=False,
            jump_s=3600.0,
        ),
        Shape(name="ramp", rate=_line(2.0, 8.0, 1800.0, 5400.0)),
        Shape(
            name="mix-shift",
            rate=lambda _: 4.0,
            gradual=False,
            mixes=((0.0, Mix()), (3600.0, Mix(isl=2000.0, osl=800.0))),
        ),
        Shape(
            name="prefix-shift",
            rate=lambda _: 4.0,
            gradual=False,
            mixes=((0.0, Mix(hit_ratio=0.6)), (3600.0, Mix())),
        ),
        Shape(name="diurnal-disagg", rate=_noon_and_evening, fleet=DISAGG),
        Shape(
            name="mix-shift-disagg",
            rate=lambda _: 4.0,
            gradual=False,
            mixes=((0.0, Mix()), (3600.0, Mix(isl=2000.0, osl=800.0))),
            fleet=DISAGG,
        ),
    )
}


def synthetic(shape: Shape, seed: int) -> BenchWorkload:
    """Draw one workload: Poisson arrivals of a changing rate, lognormal lengths.

    Streams: ``bench.arrivals``, ``bench.isl``, ``bench.osl`` and ``bench.prefix``.
    """
    streams = RandomStreams(seed)
    times_s = _arrivals(shape, streams.stream("bench.arrivals"))
    starts = np.array([start_s for start_s, _ in shape.mixes])
    part = np.searchsorted(starts, times_s, side="right") - 1
    isl = np.ones(len(times_s), dtype=np.int64)
    osl = np.ones(len(times_s), dtype=np.int64)
    for index, (_, mix) in enumerate(shape.mixes):
        rows, label = part == index, f"{index}"
        count = int(rows.sum())
        bounds = Lengths(mean=mix.isl, cv=mix.cv, max_tokens=12_000)
        isl[rows] = draw_lengths("isl", bounds, count, streams.stream(f"bench.isl.{label}"))
        bounds = Lengths(mean=mix.osl, cv=mix.cv, max_tokens=4000)
        osl[rows] = draw_lengths("osl", bounds, count, streams.stream(f"bench.osl.{label}"))
    shared = np.array([round(mix.isl * mix.hit_ratio) for _, mix in shape.mixes])[part]
    texts, isl = _texts(shared, isl, streams.stream("bench.prefix"))
    hits = [mix.hit_ratio for _, mix in shape.mixes]
    return BenchWorkload(
        name=shape.name,
        workload=Workload(
            arrival_ns=np.round(times_s * NS_PER_S).astype(np.int64),
            isl=isl,
            osl=osl,
            source=shape.name,
            texts=texts,
        ),
        sla=TARGET,
        attainment_target=0.99 if shape.gradual else 0.95,
        training=shape.training,
        duration_s=shape.duration_s,
        hit_ratio=lambda t: hits[int(np.searchsorted(starts, t, side="right")) - 1],
        jump_s=shape.jump_s,
        fleet=shape.fleet,
    )


def _arrivals(shape: Shape, rng: np.random.Generator) -> FloatArray:
    """Invert the summed intensity at the times of a Poisson process of rate one."""
    edges = np.arange(0.0, shape.duration_s + _GRID_S / 2, _GRID_S)
    rates = np.array([shape.rate(float(edge) + _GRID_S / 2) for edge in edges[:-1]])
    summed = np.concatenate([[0.0], np.cumsum(rates * _GRID_S)])
    count = int(summed[-1] + 10.0 * math.sqrt(summed[-1]) + 10.0)
    unit = np.cumsum(rng.exponential(1.0, count))
    return np.asarray(np.interp(unit[unit < summed[-1]], summed, edges))


def _texts(
    shared: IntArray, isl: IntArray, rng: np.random.Generator
) -> tuple[tuple[PromptText | None, ...] | None, IntArray]:
    """Prompts that begin with one of a few texts of ``shared`` tokens."""
    if not shared.any():
        return None, isl
    isl = np.where(shared > 0, np.maximum(isl, shared + 1), isl)
    groups = rng.integers(_HIT_GROUPS, size=len(isl)).tolist()
    texts = tuple(
        PromptText((group, _HIT_GROUPS + row), (begin, tokens)) if begin else None
        for row, (group, begin, tokens) in enumerate(
            zip(groups, shared.tolist(), isl.tolist(), strict=True)
        )
    )
    return texts, isl
