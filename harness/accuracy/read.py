"""Reads measured points from the tables of the calibration data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from contracts.errors import InputError
from harness.accuracy import sources
from harness.accuracy.engines import stated_engine
from harness.accuracy.points import Figure, Point
from harness.accuracy.traces import read_traces
from simcore.perf import architecture

# Offline benchmarks that do not say how many requests they offered at once.
OFFLINE_PROMPTS = 1500
_POINTS, _CONFIGS = "gt_calibration.csv", "gt_calibration_configs.csv"


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
    recorded, left_out = read_traces(folder)
    return points + recorded, skipped + left_out


def _figures(values: dict[str, str]) -> dict[str, Figure]:
    found = {}
    for name, candidates in sources.LATENCIES.items():
        for metric in candidates:
            if metric in values:
                found[name] = Figure(value=float(values[metric]), median="p50" in metric)
                break
    return found


def _point(
    row: dict[str, str], figures: dict[str, Figure], options: str, workload: str
) -> Point | str:
    """The point of a row, or why it cannot be replayed."""
    sku = sources.GPUS.get(row["gpu_sku"])
    gpu = sources.gpu_of(row["gpu_sku"])
    try:
        model = architecture(row["model"])
    except InputError:
        return "model not bundled"
    reason = _unsupported(row, figures)
    if reason is not None or sku is None or gpu is None:
        return reason or "GPU without own facts"
    dtype = sources.weight_dtype(row["precision"], model, gpu)
    if dtype is None:
        return "precision that the GPU does not compute"
    closed = row["request_rate"] in ("", "inf")
    prompts = sources.prompts(workload)
    size = {name: _size(row[name], int(row["tp"] or 1)) for name in ("tp", "dp", "ep")}
    if model.experts == 0 and size["dp"] * size["ep"] != 1:
        return "parallel sizes that do not fit the model"
    if size["ep"] > 1:
        # Experts are spread over all GPUs or over none of them.
        size["ep"] = size["tp"] * size["dp"] if row["backend"] != "trtllm" else size["ep"]
        if size["ep"] != size["tp"] * size["dp"]:
            size["ep"] = 1
    if row["mode"] == "static_batch":
        prompts = int(row["concurrency"] or 1)
    concurrency = int(float(row["concurrency"] or prompts or OFFLINE_PROMPTS))
    return Point(
        config_id=row["config_id"],
        source=row["source"],
        raw=row["tier"] == "A",
        gpu_sku=sku,
        model=model,
        backend=row["backend"],
        tp=size["tp"],
        dp=size["dp"],
        ep=size["ep"],
        weight_dtype=dtype,
        isl=max(1, round(float(row["isl"]))),
        osl=max(1, round(float(row["osl"]))),
        spread=sources.spread(row["length_dist"]),
        served=row["mode"] == "agg" and not row["source"].startswith("trtllm_perf"),
        overlap=sources.overlaps(row["backend"], row["backend_version"], options),
        concurrency=concurrency if closed else None,
        prompts=prompts,
        rate_per_s=None if closed else float(row["request_rate"]),
        options=sources.options(options),
        stated=stated_engine(row, workload, round(float(row["isl"])), concurrency),
        figures=figures,
    )


def _size(text: str, tp: int) -> int:
    return tp if text == "=tp" else max(1, int(float(text or 1)))


def _unsupported(row: dict[str, str], figures: dict[str, Figure]) -> str | None:
    checks = (
        ("no figure that is compared", not figures),
        ("not aggregated serving", row["mode"] == "disagg"),
        ("pipeline parallel", row["pp"] not in ("", "1", "1.0")),
        ("GPU without own facts", row["gpu_sku"] not in sources.GPUS),
        ("backend", row["backend"] not in sources.BACKENDS),
        ("replayed from its trace", row["source"] == "blis_training_h100"),
        ("lengths or parallel size unknown", "" in (row["isl"], row["osl"], row["tp"])),
        ("load unknown", row["concurrency"] == "" and row["request_rate"] == ""),
    )
    return next((reason for reason, applies in checks if applies), None)
