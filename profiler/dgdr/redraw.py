"""Plots of the curves of a profile, at once or when somebody wants to see them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from contracts.curves import DecodeCurves, PrefillCurves
from profiler.dgdr.outputs import written_curves
from profiler.dgdr.plots import plot_decode, plot_prefill

_PREFILL, _DECODE = "selected_prefill_interpolation", "selected_decode_interpolation"


def draw_curves(folder: Path, prefill: PrefillCurves, decode: DecodeCurves) -> list[Path]:
    """Draw the curves into the folders in which their numbers are."""
    return [*plot_prefill(folder / _PREFILL, prefill), *plot_decode(folder / _DECODE, decode)]


def draw_missing(folder: Path) -> None:
    """Draw the curves of a profile that has their numbers and not their plots."""
    curves = written_curves(folder)
    if curves is not None and not list((folder / _DECODE).glob("*.png")):
        draw_curves(folder, *curves)


def named(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their names within a folder."""
    return {str(path.relative_to(folder)): path for path in paths}
