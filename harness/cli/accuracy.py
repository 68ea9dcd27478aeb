"""``harness accuracy``: the simulator against measured points."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InfeasibleError
from harness.accuracy import GroupError, read_points, replay, summarise_errors
from harness.cli.console import progress_bars
from harness.cli.options import AsJson


def accuracy(
    data: Annotated[Path, typer.Argument(help="Folder with measured points (CSV).")],
    as_json: AsJson = False,
) -> None:
    """Replay measured points and print how far off the simulator is."""
    points, skipped = read_points(data)
    results = []
    with progress_bars(quiet=as_json) as progress:
        for number, point in enumerate(points, start=1):
            try:
                results.append((point, replay(point)))
            except InfeasibleError:
                skipped["does not fit on the GPU as simulated"] += 1
            progress("replaying", number, len(points))
    errors = summarise_errors(results)
    if as_json:
        print(json.dumps({"errors": [asdict(e) for e in errors], "skipped": skipped}, indent=2))
        return
    for error in errors:
        print(_error_line(error))
    for reason, count in skipped.most_common():
        print(f"not replayed: {count} ({reason})")


def _error_line(error: GroupError) -> str:
    rank = "   -" if error.rank_correlation is None else f"{error.rank_correlation:4.2f}"
    return (
        f"{' '.join(part for part in error.group if part):<78} {error.figure:<8}"
        f"{error.points:>5}  median {error.median_abs_ratio:6.1%}  p90 {error.p90_abs_ratio:6.1%}"
        f"  bias {error.bias_ratio:+6.1%}  rank {rank}"
    )
