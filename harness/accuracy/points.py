"""Reads measured points: one configuration with its load and its latencies."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from contracts.errors import InputError
from contracts.model import Dtype, ModelArchitecture
from simcore.perf import architecture

_POINTS, _CONFIGS = "gt_calibration.csv", "gt_calibration_configs.csv"
_GPUS = {
    "A100-SXM4-80GB": "a100_sxm",
    "H100-SXM5-80GB": "h100_sxm",
    "H200-SXM-141GB": "h200_sxm",
    "L40S": "l40s",
}
_BF16 = ("bf16", "fp16", "fp16/bf16", "unstated(bf16 by model id)")
# Figures in order of preference; the statistic is compared with the same one.
_METRICS = {
    "ttft_ms": ("ttft_p50", "ttft_mean", "ttft_mean_or_median"),
    "itl_ms": ("tpot_p50", "tpot_mean", "tpot_mean_or_median", "itl_p50", "itl_mean"),
    "e2e_ms": ("e2e_p50", "e2e_mean"),
}
_PROMPTS = re.compile(r"\bn=(\d+)|--num-prompts (\d+)|(\d+) prompts")
_OPTION = re.compile(r"(max_num_batched_tokens|max_num_seqs|max_model_len)=(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value and the statistic that it is."""

    value_ms: float
    median: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured configuration.

    Attributes:
        concurrency: requests in flight; ``None`` for open loop.
        prompts: requests of the whole benchmark, ``None`` where the source does not say.
        rate_per_s: arrivals a second; ``None`` for closed loop.
        options: engine limits that the source states, by their vLLM names.
        figures: measured latencies by ``ttft_ms``, ``itl_ms`` and ``e2e_ms``.
    """

    config_id: str
    source: str
    gpu_sku: str
    model: ModelArchitecture
    backend: str
    tp: int
    weight_dtype: Dtype
    isl: int
    osl: int
    concurrency: int | None
    prompts: int | None
    rate_per_s: float | None
    options: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


def read_points(folder: Path) -> tuple[list[Point], Counter[str]]:
    """Points that the simulator can replay, and how many others there are, by reason.

    Raises:
        InputError: the data are not there.
    """
    for name in (_POINTS, _CONFIGS):
        if not (folder / name).is_file():
            raise InputError("no calibration data here", source=str(folder / name))
    rows = pd.read_csv(folder / _POINTS, dtype=str, keep_default_na=False)
    configs = pd.read_csv(folder / _CONFIGS, dtype=str, keep_default_na=False)
    options = dict(zip(configs["config_id"], configs["engine_opts"], strict=True))
    workloads = dict(zip(configs["config_id"], configs["workload"], strict=True))
    points: list[Point] = []
    skipped: Counter[str] = Counter()
    keys = ["config_id", "isl", "osl", "concurrency", "request_rate", "tp"]
    for _, group in rows.groupby(keys, sort=True):
        first = {str(name): str(value) for name, value in group.iloc[0].items()}
        figures = _figures(dict(zip(group["metric"], group["value"], strict=True)))
        name = first["config_id"]
        outcome = _point(first, figures, options.get(name, ""), workloads.get(name, ""))
        if isinstance(outcome, Point):
            points.append(outcome)
        else:
            skipped[outcome] += 1
    return points, skipped


def _figures(values: dict[str, str]) -> dict[str, Figure]:
    found = {}
    for name, candidates in _METRICS.items():
        for metric in candidates:
            if metric in values:
                found[name] = Figure(value_ms=float(values[metric]), median="p50" in metric)
                break
    return found


def _point(
    row: dict[str, str], figures: dict[str, Figure], options: str, workload: str
) -> Point | str:
    """The point of a row, or why it cannot be replayed."""
    reason = _unsupported(row, figures)
    if reason is not None:
        return reason
    closed = row["request_rate"] in ("", "inf")
    prompts = _PROMPTS.search(workload)
    return Point(
        config_id=row["config_id"],
        source=row["source"],
        gpu_sku=_GPUS[row["gpu_sku"]],
        model=architecture(row["model"]),
        backend=row["backend"],
        tp=int(float(row["tp"])),
        weight_dtype=Dtype.BF16 if row["precision"] in _BF16 else Dtype.FP8,
        isl=max(1, round(float(row["isl"]))),
        osl=max(1, round(float(row["osl"]))),
        concurrency=int(float(row["concurrency"])) if closed else None,
        prompts=int(next(filter(None, prompts.groups()))) if prompts else None,
        rate_per_s=None if closed else float(row["request_rate"]),
        options={name: int(value) for name, value in _OPTION.findall(options)},
        figures=figures,
    )


def _unsupported(row: dict[str, str], figures: dict[str, Figure]) -> str | None:
    sizes = {row[name] for name in ("pp", "dp", "ep")}
    checks = (
        ("no latency in it", not figures),
        ("not aggregated serving", row["mode"] != "agg"),
        ("pipeline, data or expert parallel", not sizes <= {"", "1", "1.0"}),
        ("GPU without own facts", row["gpu_sku"] not in _GPUS),
        ("precision", row["precision"] not in (*_BF16, "fp8")),
        ("8-bit weights on an older GPU", row["precision"] == "fp8" and "A100" in row["gpu_sku"]),
        ("lengths or parallel size unknown", "" in (row["isl"], row["osl"], row["tp"])),
        ("load unknown", row["concurrency"] == "" and row["request_rate"] in ("", "inf")),
    )
    for reason, applies in checks:
        if applies:
            return reason
    try:
        architecture(row["model"])
    except InputError:
        return "model not bundled"
    return None
