"""From instants of tokens to the figures of a burst; virtual and real clients share it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import IntArray
from profiler.thorough.ports import Burst, Measurement, PointError

# Tokens that each request needs inside the window in which all are decoding.
_WINDOW_TOKENS_MIN = 3
# The first tokens of a burst may be late, where many of them are sent at one instant.
_SETTLING_TOKENS = 3


def steady_burst(arrival_ns: IntArray, tokens_ns: Sequence[IntArray]) -> Measurement:
    """Figures of a batch that decodes, counted while all requests of it do.

    The window reaches from the first tokens of the slowest request to the last token of the
    fastest. Where there is none, whole requests count and ``batch_full`` is False.

    Args:
        arrival_ns: shape (n,), when each request was sent.
        tokens_ns: n arrays, when its tokens came; at least two each.
    """
    first = np.array([times[0] for times in tokens_ns], dtype=np.int64)
    last = np.array([times[-1] for times in tokens_ns], dtype=np.int64)
    begin = max(int(times[min(_SETTLING_TOKENS, len(times) // 8)]) for times in tokens_ns)
    end = int(last.min())
    inside = [times[(times >= begin) & (times <= end)] for times in tokens_ns]
    full = end > begin and min(len(times) for times in inside) >= _WINDOW_TOKENS_MIN
    counted = inside if full else list(tokens_ns)
    gaps_ms = [(t[-1] - t[0]) / (len(t) - 1) / NS_PER_MS for t in counted]
    itl_ms = float(np.mean(gaps_ms))
    if full:
        tokens_per_s = len(counted) * 1000.0 / itl_ms
    else:
        span_ns = int(last.max()) - int(arrival_ns.min())
        tokens_per_s = sum(len(t) for t in tokens_ns) * NS_PER_S / max(1, span_ns)
    ttft_ms = (first - arrival_ns) / NS_PER_MS
    return Measurement(
        ttft_ms=float(ttft_ms.mean()),
        ttft_ms_max=float(ttft_ms.max()),
        itl_ms=itl_ms,
        tokens_per_s=tokens_per_s,
        batch_full=full,
    )


def whole_requests(
    burst: Burst, arrival_ns: IntArray, first_ns: IntArray, finish_ns: IntArray
) -> Measurement:
    """Figures of whole requests, as AIPerf defines them.

    In a closed loop the requests that start together at its beginning, and those at its end
    that are served beside ever fewer others, are left out when there are others. The
    throughput follows from Little's law.

    Args:
        burst: what was sent.
        arrival_ns: shape (n,), when each request was sent.
        first_ns: shape (n,), when its first token came.
        finish_ns: shape (n,), when its last token came.
    """
    count, width = burst.requests, burst.concurrency
    keep = slice(width, count - width) if count >= 3 * width else slice(None)
    first, arrival, finish = (x[keep] for x in (first_ns, arrival_ns, finish_ns))
    ttft_ms = (first - arrival) / NS_PER_MS
    itl_ms = (finish - first) / max(burst.osl - 1, 1) / NS_PER_MS
    e2e_s = float(((finish - arrival) / NS_PER_S).mean())
    return Measurement(
        ttft_ms=float(ttft_ms.mean()),
        ttft_ms_max=float(ttft_ms.max()),
        itl_ms=float(itl_ms.mean()),
        tokens_per_s=min(width, count) * burst.osl / e2e_s,
    )


def middle(found: Sequence[Measurement]) -> Measurement:
    """Medians over repetitions.

    Raises:
        PointError: there is none.
    """
    if not found:
        raise PointError("nothing was measured")
    return Measurement(
        ttft_ms=median(m.ttft_ms for m in found),
        ttft_ms_max=median(m.ttft_ms_max for m in found),
        itl_ms=median(m.itl_ms for m in found),
        tokens_per_s=median(m.tokens_per_s for m in found),
        batch_full=all(m.batch_full for m in found),
    )
