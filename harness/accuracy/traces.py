"""Runs of real engines that were recorded request by request: one point for each load stage.

The client of these runs made a number of prompts once and sent them in turn, over and over:
the recorded lengths repeat with a short period. The server's prefix cache then holds nearly
every prompt, so the replay gives prompts with the same place in the period the same text.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from contracts.errors import InputError
from contracts.model import Dtype
from contracts.units import NS_PER_S
from contracts.workload import IntArray, PromptText, Workload
from harness.accuracy.points import Figure, Point
from harness.accuracy.sources import Spread
from simcore.perf import architecture

_FOLDER = Path("traces") / "blis_training_h100"
# More failed requests than this and nobody knows what the client did.
_FAILED_RATIO_MAX = 0.01
# A period is one when so many lengths are equal to those one period before.
_REPEATED_RATIO = 0.9
_PERIOD_MAX = 1000
_OPTIONS = {
    "max_num_seqs": "max_num_seqs",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "kv_blocks_total_gpu": "kv_blocks_total",
}


def read_traces(folder: Path) -> tuple[list[Point], Counter[str]]:
    """One point for each stage of each recorded run, and how many runs are left out.

    Raises:
        InputError: a run has no description or the other way round.
    """
    points: list[Point] = []
    skipped: Counter[str] = Counter()
    for path in sorted((folder / _FOLDER).glob("*.meta.json")):
        meta = json.loads(path.read_text(encoding="utf-8"))
        rows_path = path.with_name(path.name.replace(".meta.json", ".csv.gz"))
        if not rows_path.is_file():
            raise InputError("no requests beside this description", source=str(path))
        rows = pd.read_csv(rows_path)
        if rows["error"].mean() > _FAILED_RATIO_MAX:
            skipped["recorded run with many failed requests"] += 1
            continue
        points += _stages(meta, rows)
    return points, skipped


def _stages(meta: dict[str, object], rows: pd.DataFrame) -> list[Point]:
    load = meta["load"]
    assert isinstance(load, dict)
    rows = rows.sort_values("arrival_s", kind="stable").reset_index(drop=True)
    period = repeat_period(rows["input_tokens"].to_numpy(dtype=np.int64))
    if period:
        rows["place"] = rows.index % period
    ends = np.cumsum([0.0, *(stage["duration"] for stage in load["stages"])])
    found = []
    for number, (start_s, end_s) in enumerate(pairwise(ends)):
        inside = (rows["arrival_s"] >= start_s) & (rows["arrival_s"] < end_s)
        stage = rows[inside & (rows["error"] == 0)]
        if len(stage):
            found.append(_stage(meta, stage, number))
    return found


def _stage(meta: dict[str, object], rows: pd.DataFrame, number: int) -> Point:
    config = meta["config"]
    assert isinstance(config, dict)
    tokens = rows["output_tokens_actual"].to_numpy()
    tpot_s = (rows["e2e_s"] - rows["ttft_s"]) / np.maximum(tokens - 1, 1)
    return Point(
        config_id=f"{meta['experiment']}-{number}",
        source="blis_training_h100",
        raw=True,
        gpu_sku="h100_sxm",
        model=architecture(str(meta["model_id"])),
        backend="vllm",
        tp=int(config["tensor_parallelism"]),
        weight_dtype=Dtype.BF16,
        isl=round(rows["input_tokens"].mean()),
        osl=round(tokens.mean()),
        spread=Spread.FIXED,
        concurrency=None,
        prompts=len(rows),
        rate_per_s=None,
        trace=_workload(rows),
        options={ours: int(config[theirs]) for theirs, ours in _OPTIONS.items()},
        figures={
            "ttft_ms": Figure(value=rows["ttft_s"].mean() * 1e3, median=False),
            "itl_ms": Figure(value=tpot_s.mean() * 1e3, median=False),
            "e2e_ms": Figure(value=rows["e2e_s"].mean() * 1e3, median=False),
        },
    )


def repeat_period(lengths: IntArray) -> int | None:
    """After how many requests the prompts repeat, ``None`` when they do not.

    Args:
        lengths: shape (n,), prompt tokens in order of arrival.
    """
    for period in range(1, min(_PERIOD_MAX, len(lengths) // 2) + 1):
        if float(np.mean(lengths[period:] == lengths[:-period])) >= _REPEATED_RATIO:
            return period
    return None


def _workload(rows: pd.DataFrame) -> Workload:
    """The requests as sent."""
    arrival_s = rows["arrival_s"].to_numpy() - rows["arrival_s"].min()
    isl = rows["input_tokens"].to_numpy(dtype=np.int64)
    texts: tuple[PromptText | None, ...] | None = None
    if "place" in rows:
        # A length that breaks the pattern is another text.
        names = {pair: number for number, pair in enumerate(sorted(set(_prompts(rows))))}
        texts = tuple(PromptText(ids=(names[pair],), ends=(pair[1],)) for pair in _prompts(rows))
    return Workload(
        arrival_ns=np.round(arrival_s * NS_PER_S).astype(np.int64),
        isl=isl,
        osl=np.maximum(rows["output_tokens_actual"].to_numpy(dtype=np.int64), 1),
        source="recorded run",
        texts=texts,
    )


def _prompts(rows: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(rows["place"].tolist(), rows["input_tokens"].tolist(), strict=True))
