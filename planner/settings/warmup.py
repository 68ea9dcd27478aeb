"""Rates that are known before the planner starts, from a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.units import NS_PER_S
from simcore.workload import parse_mooncake


def warmup_rates(path: Path, interval_s: float) -> tuple[float, ...]:
    """Arrivals a second in each whole interval of a Mooncake trace, oldest first.

    Raises:
        InputError: the file cannot be read, is no such trace, or is shorter than one interval.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read: {error}", path="load_predictor_warmup_trace", value=str(path)
        ) from error
    arrival_s = parse_mooncake(text.splitlines(), source=str(path)).arrival_ns / NS_PER_S
    whole = int(arrival_s[-1] // interval_s)
    if whole < 1:
        raise InputError(
            "is shorter than one interval", path="load_predictor_warmup_trace", value=str(path)
        )
    counts = np.bincount((arrival_s // interval_s).astype(np.int64), minlength=whole)[:whole]
    return tuple(float(count) / interval_s for count in counts)
