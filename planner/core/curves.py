"""Reads the profiler's curves: linear between points, clamped outside of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.curves import DecodeCurves, FloatArray, PrefillCurves


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsageLine:
    """Decode at one context length, by KV usage.

    Attributes:
        kv_usage: shape (n,), increasing, 0-1.
        itl_ms: shape (n,).
        tokens_per_s_per_gpu: shape (n,), output tokens.
    """

    kv_usage: FloatArray
    itl_ms: FloatArray
    tokens_per_s_per_gpu: FloatArray

    def at(self, kv_usage: FloatArray) -> UsageLine:
        """The line sampled at other usages, clamped to its ends."""
        return UsageLine(
            kv_usage=kv_usage,
            itl_ms=np.interp(kv_usage, self.kv_usage, self.itl_ms),
            tokens_per_s_per_gpu=np.interp(kv_usage, self.kv_usage, self.tokens_per_s_per_gpu),
        )

    def refined(self, parts: int) -> UsageLine:
        """The same line with every segment cut into ``parts``."""
        old = np.arange(len(self.kv_usage), dtype=np.float64)
        new = np.linspace(0.0, old[-1], (len(old) - 1) * parts + 1)
        return self.at(np.interp(new, old, self.kv_usage))


def prefill_ttft_ms(curves: PrefillCurves, isl: float) -> float:
    """TTFT of one prompt in an empty engine."""
    order = np.argsort(curves.prefill_isl, kind="stable")
    return float(np.interp(isl, curves.prefill_isl[order], curves.prefill_ttft[order]))


def decode_line(curves: DecodeCurves, context_tokens: float) -> UsageLine:
    """Decode at a context length, blended linearly from the two neighbouring columns.

    The points form columns of equal ``y_context_length``. Within a column everything
    is linear in KV usage; points at the same usage are averaged. Two columns are
    blended at equal usage, on the union of their usages.
    """
    contexts = np.unique(curves.y_context_length)
    right = min(int(np.searchsorted(contexts, context_tokens)), len(contexts) - 1)
    left = max(right - 1, 0) if contexts[right] > context_tokens else right
    low = _column(curves, float(contexts[left]))
    if left == right:
        return low
    high = _column(curves, float(contexts[right]))
    share = (context_tokens - float(contexts[left])) / float(contexts[right] - contexts[left])
    usage = np.union1d(low.kv_usage, high.kv_usage)
    low, high = low.at(usage), high.at(usage)
    return UsageLine(
        kv_usage=usage,
        itl_ms=(1 - share) * low.itl_ms + share * high.itl_ms,
        tokens_per_s_per_gpu=(1 - share) * low.tokens_per_s_per_gpu
        + share * high.tokens_per_s_per_gpu,
    )


def _column(curves: DecodeCurves, context_tokens: float) -> UsageLine:
    rows = curves.y_context_length == context_tokens
    usage, group = np.unique(curves.x_kv_usage[rows], return_inverse=True)
    count = np.bincount(group)
    return UsageLine(
        kv_usage=usage,
        itl_ms=np.bincount(group, curves.z_itl[rows]) / count,
        tokens_per_s_per_gpu=np.bincount(group, curves.z_thpt_per_gpu[rows]) / count,
    )
