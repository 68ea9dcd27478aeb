"""Replaying measured points: what is read, what is skipped, how errors are summed up."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import InputError
from contracts.model import Dtype
from harness.accuracy import read_points, replay, summarise_errors
from harness.accuracy.points import Figure

# The columns that are read; the real files have a few more.
COLUMNS = [
    *("source", "gpu_sku", "model", "precision", "backend", "mode", "tp", "pp", "dp", "ep"),
    *("isl", "osl", "concurrency", "request_rate", "metric", "value", "config_id"),
]
ROW = {
    "source": "lab", "gpu_sku": "H100-SXM5-80GB", "model": "Qwen/Qwen3-8B", "precision": "bf16",
    "backend": "vllm", "mode": "agg", "tp": "1", "pp": "1", "dp": "1", "ep": "1", "isl": "1000",
    "osl": "100", "concurrency": "4", "request_rate": "", "metric": "tpot_mean", "value": "8.0",
    "config_id": "c1",
}  # fmt: skip


def data(folder: Path, *rows: dict[str, str], options: str = "", workload: str = "") -> Path:
    with (folder / "gt_calibration.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    with (folder / "gt_calibration_configs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["config_id", "engine_opts", "workload"])
        writer.writeheader()
        entry = {"config_id": "c1", "engine_opts": options, "workload": workload}
        writer.writerow(entry)
    return folder


def test_a_configuration_becomes_one_point_with_its_figures(tmp_path: Path) -> None:
    folder = data(
        tmp_path,
        {},
        {"metric": "tpot_p50", "value": "7.5"},
        {"metric": "ttft_mean", "value": "60"},
        options="max_num_batched_tokens=2048;max_num_seqs=128;prefix_caching=on",
    )
    (point,), skipped = read_points(folder)
    assert not skipped
    assert (point.gpu_sku, point.tp, point.concurrency) == ("h100_sxm", 1, 4)
    assert point.options == {"max_num_batched_tokens": 2048, "max_num_seqs": 128}
    assert point.figures == {
        "itl_ms": Figure(value=7.5, median=True),
        "ttft_ms": Figure(value=60.0, median=False),
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"metric": "makespan"}, "no latency in it"),
        ({"mode": "disagg"}, "not aggregated serving"),
        ({"dp": "8"}, "pipeline, data or expert parallel"),
        ({"gpu_sku": "GB300-NVL72"}, "GPU without own facts"),
        ({"precision": "awq-int4"}, "precision"),
        ({"precision": "fp8", "gpu_sku": "A100-SXM4-80GB"}, "8-bit weights on an older GPU"),
        ({"isl": ""}, "lengths or parallel size unknown"),
        ({"concurrency": ""}, "load unknown"),
        ({"model": "some/other"}, "model not bundled"),
    ],
)
def test_what_cannot_be_replayed_is_counted_by_reason(tmp_path: Path, row, reason) -> None:
    points, skipped = read_points(data(tmp_path, row))
    assert points == []
    assert skipped == {reason: 1}


def test_fp8_checkpoints_have_the_shape_of_their_model(tmp_path: Path) -> None:
    (point,), _ = read_points(data(tmp_path, {"model": "Qwen/Qwen3-8B-FP8", "precision": "fp8"}))
    assert point.weight_dtype is Dtype.FP8
    assert point.model.layers == 36


def test_missing_data_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gt_calibration\.csv"):
        read_points(tmp_path)


def test_replay_follows_the_protocol(tmp_path: Path) -> None:
    rows = ({}, {"metric": "ttft_mean", "value": "60"}, {"metric": "e2e_mean", "value": "900"})
    (closed,), _ = read_points(data(tmp_path, *rows))
    figures = replay(closed)
    assert set(figures) == {"itl_ms", "ttft_ms", "e2e_ms"}
    total = figures["ttft_ms"] + 99 * figures["itl_ms"]
    assert figures["e2e_ms"] == pytest.approx(total, rel=1e-6)
    crowded = replay(replace(closed, concurrency=64))
    assert crowded["itl_ms"] > 1.5 * figures["itl_ms"]
    quiet = replay(replace(closed, concurrency=None, rate_per_s=0.1))
    assert quiet["itl_ms"] < figures["itl_ms"]
    assert replay(closed) == figures, "a replay is deterministic"


def test_errors_are_summed_up_by_group_and_over_all(tmp_path: Path) -> None:
    (point,), _ = read_points(data(tmp_path, {"value": "10.0"}))
    results = [(point, {"itl_ms": value}) for value in (9.0, 10.0, 12.0, float("nan"))]
    everything, group = summarise_errors(results)
    assert everything.group == ("all", "", "", "")
    assert group.group == ("lab", "h100_sxm", "Qwen/Qwen3-8B", "vllm")
    assert group.points == 3, "what has no figure is not counted as right"
    assert group.median_abs_ratio == pytest.approx(0.1)
    assert group.bias_ratio == pytest.approx(0.0)
    assert group.rank_correlation is None, "equal measurements have no order"


DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no measured points at {DATA}")
def test_the_documented_accuracy_holds_on_the_real_points() -> None:
    """Guards docs/accuracy.md: a change that makes the simulator worse must show."""
    points, _ = read_points(DATA)
    assert len(points) > 400
    errors = {e.figure: e for e in summarise_errors([(p, replay(p)) for p in points[::4]])
              if e.group[0] == "all"}  # fmt: skip
    assert errors["itl_ms"].median_abs_ratio <= 0.25
    assert (errors["itl_ms"].rank_correlation or 0.0) >= 0.85
