"""Plots of the sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profiler.dgdr.sweep_plots import DECODE_AXES, PREFILL_AXES, plot_sweep
from profiler.thorough.rows import DecodeRow, PrefillRow


def plot_prefill_rows(path: Path, rows: Sequence[PrefillRow], target_ms: float) -> Path:
    """TTFT against prompt tokens/s for each GPU, one point for each engine."""
    points = [(r.label, [(r.ttft_ms, r.tokens_per_s_per_gpu)]) for r in rows]
    return plot_sweep(path, points, PREFILL_AXES, target_ms)


def plot_decode_rows(path: Path, rows: Sequence[DecodeRow], target_ms: float) -> Path:
    """ITL against output tokens/s for each GPU, one line for each engine."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row.label, []).append((row.itl_ms, row.tokens_per_s_per_gpu))
    return plot_sweep(path, list(lines.items()), DECODE_AXES, target_ms)
