"""Gaps between tokens over all workers of a run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from contracts.records import TokenGaps
from contracts.units import FS_PER_NS, NS_PER_MS
from simcore.cluster.pool import Pool
from simcore.engine import GapHistogram

_FS_PER_MS = FS_PER_NS * NS_PER_MS


def token_gaps(pools: Iterable[Pool]) -> TokenGaps:
    """One histogram of all pools, in milliseconds."""
    gaps = GapHistogram()
    for pool in pools:
        gaps.merge(pool.token_gaps())
    buckets = gaps.buckets()
    return TokenGaps(
        low_ms=np.array([bucket.low_fs for bucket in buckets], dtype=np.float64) / _FS_PER_MS,
        high_ms=np.array([bucket.high_fs for bucket in buckets], dtype=np.float64) / _FS_PER_MS,
        gaps=np.array([bucket.gaps for bucket in buckets], dtype=np.int64),
    )
