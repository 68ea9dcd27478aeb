"""At which lengths and loads an engine is measured (sections 8.5 and 9 of the reference)."""

from __future__ import annotations

REQUESTS_MAX = 2000
SWEEP_POINTS = 6
FIRST_ISL = 100
PREFILL_MARGIN = 512
DECODE_OSL = 500
# Attention ranks: this many prompts for each of them at once, and one in the burst counts so much.
BURST_RATIO = 4
PREFILL_OSL = 5


def request_counts(dp: int, most: int, points: int = SWEEP_POINTS) -> tuple[int, ...]:
    """Requests in flight to be measured, increasing multiples of ``dp``.

    Args:
        dp: attention ranks, which get equally many requests.
        most: requests that fit; above 2000 is not measured.
        points: how many counts there shall be.
    """
    ranks = min(most, REQUESTS_MAX) // dp
    if ranks < 1:
        return ()
    if ranks < points or points == 1:
        return tuple(dp * count for count in range(1, ranks + 1))
    return tuple(dp + int(i * (ranks - 1) / (points - 1)) * dp for i in range(points))


def doubled_counts(dp: int, most: int) -> tuple[int, ...]:
    """Requests in flight from one for each rank, doubling, up to what fits."""
    counts, count = [], dp
    top = min(most, REQUESTS_MAX) // dp * dp
    while count < top:
        counts.append(count)
        count *= 2
    return (*counts, top) if top >= dp else ()


def prefill_lengths(context: int, granularity: int) -> tuple[int, ...]:
    """Prompt lengths of the prefill curve, from 100 to 512 below the context limit."""
    stop = context - PREFILL_MARGIN
    if stop <= FIRST_ISL:
        return ()
    return tuple(range(FIRST_ISL, stop, max(1, (stop - FIRST_ISL) // granularity)))


def decode_lengths(context: int, granularity: int) -> tuple[int, ...]:
    """Prompt lengths of the decode curve, from 100 to 500 below the context limit."""
    stop = context - DECODE_OSL
    if stop <= FIRST_ISL:
        return ()
    return tuple(range(FIRST_ISL, stop, max(1, stop // granularity)))
