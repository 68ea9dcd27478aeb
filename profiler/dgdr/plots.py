"""Plots of the Pareto set and of the curves, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.sla import SlaTarget
from profiler.dgdr.figures import BLUE, GREY, RED, label_axes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What pareto.json says of the simulated candidates.

    Attributes:
        rows: one for each, with the keys of pareto.json.
        picked: the row of the pick.
        sla: the targets.
    """

    rows: Sequence[Mapping[str, Any]]
    picked: Mapping[str, Any]
    sla: SlaTarget


def plot_pareto(path: Path, shown: Candidates) -> Path:
    """Throughput per GPU against TTFT and ITL of all simulated candidates."""
    return save_figure(_candidates(shown, "tokens_per_s_per_gpu", "output tokens/s per GPU"), path)


def plot_cost(path: Path, shown: Candidates) -> Path:
    """Cost of a million output tokens against TTFT and ITL of all simulated candidates."""
    name, label = "cost_per_million_tokens", "cost per million output tokens"
    return save_figure(_candidates(shown, name, label), path)


def _candidates(shown: Candidates, key: str, label: str) -> Figure:
    """Two panels; filled points are within the targets, ringed ones on the Pareto set."""
    figure, axes = new_figure(2)
    sla = shown.sla
    top = max(row[key] or 0.0 for row in shown.rows)
    for axis, name, target in (
        (axes[0], "ttft_ms", sla.ttft_ms),
        (axes[1], "itl_ms", sla.itl_ms),
    ):
        for row in shown.rows:
            axis.scatter(
                row[name], row[key] or 0.0, s=28,
                color=BLUE if row["feasible"] else GREY,
                edgecolors="black" if row["pareto"] else "none",
            )  # fmt: skip
        best = shown.picked
        axis.scatter(
            best[name], best[key] or 0.0, s=150, facecolors="none", edgecolors=RED,
            linewidths=1.8, label=f"picked: {best['label']}",
        )  # fmt: skip
        if sla.e2e_ms is None:
            axis.axvline(target, color=RED, linestyle="--", linewidth=1, label="target")
        label_axes(axis, f"median {name.removesuffix('_ms').upper()} (ms)", label)
        axis.set_xlim(left=0)
        axis.set_ylim(0, 1.15 * top)
    axes[0].legend(fontsize=8, loc="lower right")
    return figure


def plot_prefill(folder: Path, curves: PrefillCurves) -> list[Path]:
    """TTFT and throughput of the picked prefill engine."""
    paths = []
    for name, values, label in (
        ("prefill_ttft_interpolation.png", curves.prefill_ttft, "TTFT (ms)"),
        (
            "prefill_throughput_interpolation.png",
            curves.prefill_thpt_per_gpu,
            "prompt tokens/s per GPU",
        ),
    ):
        figure, axes = new_figure(1)
        axes[0].plot(curves.prefill_isl, values, color=BLUE, marker="o", markersize=4)
        label_axes(axes[0], "ISL (tokens)", label)
        axes[0].set_ylim(bottom=0)
        paths.append(save_figure(figure, folder / name))
    return paths


def plot_decode(folder: Path, curves: DecodeCurves) -> list[Path]:
    """ITL and throughput of the picked decode engine, one line for each context."""
    paths = []
    for name, values, label in (
        ("decode_itl_interpolation.png", curves.z_itl, "ITL (ms)"),
        ("decode_throughput_interpolation.png", curves.z_thpt_per_gpu, "output tokens/s per GPU"),
    ):
        figure, axes = new_figure(1)
        for context in sorted(set(curves.y_context_length.tolist())):
            column = curves.y_context_length == context
            axes[0].plot(
                curves.x_kv_usage[column], values[column], marker="o", markersize=3,
                label=f"{context:.0f} tokens",
            )  # fmt: skip
        axes[0].legend(fontsize=7, title="context")
        label_axes(axes[0], "KV usage (0-1)", label)
        axes[0].set_ylim(bottom=0)
        paths.append(save_figure(figure, folder / name))
    return paths
