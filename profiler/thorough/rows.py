"""Rows of measurements and the arithmetic on them (section 8.4 of the DGDR reference).

A prefill row is a lone burst, a decode row a full batch, an aggregated row a closed loop. A
prefill and a decode row together make a pair, whose rate is the smaller one of 0.9 of what its
prefill workers and 0.92 of what its decode workers can do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.sla import SlaTarget

PREFILL_SHARE, DECODE_SHARE = 0.9, 0.92
# Workers of one kind in a pair whose rates are matched.
_WORKERS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillRow:
    """TTFT of an engine at the declared prompt length, milliseconds."""

    label: str
    gpus: int
    dp: int
    isl: int
    ttft_ms: float

    @property
    def seq_per_s(self) -> float:
        """Prompts a second of one replica."""
        return 1000.0 / self.ttft_ms * self.dp

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Prompt tokens a second for each GPU."""
        return self.isl * self.seq_per_s / self.gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRow:
    """ITL of an engine with a number of requests in flight, milliseconds."""

    label: str
    gpus: int
    osl: int
    concurrency: int
    itl_ms: float
    tokens_per_s_per_gpu: float

    @property
    def seq_per_s(self) -> float:
        """Answers a second of one replica."""
        return self.tokens_per_s_per_gpu * self.gpus / self.osl


@dataclass(frozen=True, slots=True, kw_only=True)
class AggRow:
    """An aggregated engine under a closed loop, milliseconds and tokens a second."""

    label: str
    gpus: int
    osl: int
    concurrency: int
    ttft_ms: float
    itl_ms: float
    tokens_per_s_per_gpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A unit that can be deployed any number of times, and what it does.

    Attributes:
        label: injective name.
        key: rows with equal keys are one configuration at different loads.
        parts: row label of each role, ``prefill`` and ``decode`` or ``agg``.
        workers: replicas of each role in one unit.
        gpus: of one unit.
        concurrency: requests in flight in one unit.
        seq_per_s: requests a second of one unit.
    """

    label: str
    key: str
    parts: dict[str, str]
    workers: dict[str, int]
    gpus: int
    osl: int
    ttft_ms: float
    itl_ms: float
    concurrency: float
    seq_per_s: float

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second of one unit."""
        return self.seq_per_s * self.osl

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Output tokens a second for each GPU."""
        return self.tokens_per_s / self.gpus

    @property
    def tokens_per_s_per_user(self) -> float:
        """Speed that one reader sees."""
        return 1000.0 / self.itl_ms

    @property
    def latency_ms(self) -> float:
        """First to last token of one request, with its prefill."""
        return self.ttft_ms + self.itl_ms * max(self.osl - 1, 0)

    @property
    def figures(self) -> tuple[float, ...]:
        """What must be finite."""
        return self.ttft_ms, self.itl_ms, self.seq_per_s


def agg_option(row: AggRow) -> Option:
    """An aggregated worker as a unit."""
    return Option(
        label=f"agg-{row.label}",
        key=f"agg-{row.label}",
        parts={"agg": row.label},
        workers={"agg": 1},
        gpus=row.gpus,
        osl=row.osl,
        ttft_ms=row.ttft_ms,
        itl_ms=row.itl_ms,
        concurrency=row.concurrency,
        seq_per_s=row.tokens_per_s_per_gpu * row.gpus / row.osl,
    )


def pair_option(
    prefill: PrefillRow, decode: DecodeRow, workers: tuple[int, int] = (1, 1)
) -> Option:
    """Prefill and decode workers as a unit."""
    rate = min(
        PREFILL_SHARE * prefill.seq_per_s * workers[0], DECODE_SHARE * decode.seq_per_s * workers[1]
    )
    return Option(
        label=f"disagg-prefill-{prefill.label}-decode-{decode.label}",
        key=f"disagg-{prefill.label}-{decode.label}-{workers[0]}-{workers[1]}",
        parts={"prefill": prefill.label, "decode": decode.label},
        workers={"prefill": workers[0], "decode": workers[1]},
        gpus=workers[0] * prefill.gpus + workers[1] * decode.gpus,
        osl=decode.osl,
        ttft_ms=prefill.ttft_ms,
        itl_ms=decode.itl_ms,
        concurrency=decode.concurrency * workers[1],
        seq_per_s=rate,
    )


def options(
    prefill: Iterable[PrefillRow],
    decode: Iterable[DecodeRow],
    agg: Iterable[AggRow],
    total_gpus: int,
    *,
    matched: bool = True,
) -> list[Option]:
    """All units within the budget whose figures are finite.

    Args:
        prefill: rows of prefill engines.
        decode: rows of decode engines, one for each load.
        agg: rows of aggregated engines, one for each load.
        total_gpus: larger units are left out.
        matched: besides one worker of each kind also numbers that match their rates.
    """
    decode_rows = list(decode)
    found = [agg_option(row) for row in agg]
    for first in prefill:
        for second in decode_rows:
            counts = _worker_counts(first, second) if matched else [(1, 1)]
            found += [pair_option(first, second, workers) for workers in counts]
    return [
        option
        for option in found
        if option.gpus <= total_gpus and all(0 < x < math.inf for x in option.figures)
    ]


def _worker_counts(prefill: PrefillRow, decode: DecodeRow) -> list[tuple[int, int]]:
    ours, theirs = PREFILL_SHARE * prefill.seq_per_s, DECODE_SHARE * decode.seq_per_s
    if not (0 < ours < math.inf and 0 < theirs < math.inf):
        return []
    counts = {(1, 1)}
    counts.add((1, min(_WORKERS_MAX, max(1, math.ceil(ours / theirs)))))
    counts.add((min(_WORKERS_MAX, max(1, math.ceil(theirs / ours))), 1))
    return sorted(counts)


def within(option: Option, sla: SlaTarget) -> bool:
    """Whether all targets hold; TTFT counts in every mode."""
    if sla.e2e_ms is not None:
        return option.latency_ms <= sla.e2e_ms
    return option.ttft_ms <= sla.ttft_ms and option.itl_ms <= sla.itl_ms


def excess(option: Option, sla: SlaTarget) -> float:
    """The worst figure by its target; above 1 misses it."""
    if sla.e2e_ms is not None:
        return option.latency_ms / sla.e2e_ms
    return max(option.ttft_ms / sla.ttft_ms, option.itl_ms / sla.itl_ms)


def shortfall(option: Option, sla: SlaTarget) -> str:
    """The figures beside their targets, in words."""
    if sla.e2e_ms is not None:
        return f"E2E {option.latency_ms:.0f} ms (target {sla.e2e_ms:g})"
    return (
        f"TTFT {option.ttft_ms:.0f} ms (target {sla.ttft_ms:g}), "
        f"ITL {option.itl_ms:.1f} ms (target {sla.itl_ms:g})"
    )


def pareto(found: Sequence[Option]) -> list[bool]:
    """Which no other one beats in throughput per GPU, TTFT and ITL together."""
    keys = [(-o.tokens_per_s_per_gpu, o.ttft_ms, o.itl_ms) for o in found]
    return [
        not any(
            other != key and all(o <= k for o, k in zip(other, key, strict=True)) for other in keys
        )
        for key in keys
    ]
