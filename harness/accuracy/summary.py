"""Errors of replayed points by source, GPU, model and backend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from harness.accuracy.points import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupError:
    """One figure of one group of points.

    Attributes:
        points: how many were compared.
        median_abs_ratio: median of |simulated / measured - 1|.
        p90_abs_ratio: 90th percentile of the same.
        bias_ratio: median of simulated / measured - 1; negative is too fast.
        rank_correlation: Spearman over the points, ``None`` for fewer than three.
    """

    group: tuple[str, str, str, str]
    figure: str
    points: int
    median_abs_ratio: float
    p90_abs_ratio: float
    bias_ratio: float
    rank_correlation: float | None


def summarise_errors(results: Sequence[tuple[Point, dict[str, float]]]) -> list[GroupError]:
    """One entry for each group and figure, and for dense models and mixtures of experts."""
    pairs: dict[tuple[tuple[str, str, str, str], str], list[tuple[float, float]]]
    pairs = defaultdict(list)
    for point, simulated in results:
        group = (point.source, point.gpu_sku, point.model.model_id, point.backend)
        for figure, measured in point.figures.items():
            pair = (measured.value, simulated[figure])
            if np.isfinite(pair[1]) and pair[0] > 0:
                pairs[group, figure].append(pair)
                pairs[("all", point.kind, "", ""), figure].append(pair)
    return [_error(group, figure, found) for (group, figure), found in sorted(pairs.items())]


def _error(
    group: tuple[str, str, str, str], figure: str, pairs: list[tuple[float, float]]
) -> GroupError:
    measured, simulated = (np.array(side) for side in zip(*pairs, strict=True))
    ratio = simulated / measured - 1.0
    rank = None
    if len(pairs) >= 3 and len(set(measured)) > 1 and len(set(simulated)) > 1:
        rank = float(spearmanr(measured, simulated).statistic)
    return GroupError(
        group=group,
        figure=figure,
        points=len(pairs),
        median_abs_ratio=float(np.median(np.abs(ratio))),
        p90_abs_ratio=float(np.percentile(np.abs(ratio), 90)),
        bias_ratio=float(np.median(ratio)),
        rank_correlation=rank,
    )
