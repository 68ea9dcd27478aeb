"""Replaying measured points: what is read, what is skipped, how errors are summed up."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contracts.engine import Backend
from contracts.errors import InfeasibleError, InputError
from contracts.model import Dtype
from harness.accuracy import read_points, replay, summarise_errors
from harness.accuracy.points import Figure
from harness.accuracy.sources import Spread, overlaps
from harness.accuracy.traces import repeat_period
from simcore.perf.host import host_cost

# The columns that are read; the real files have a few more.
COLUMNS = [
    *(
        "source",
        "tier",
        "backend_version",
        "length_dist",
        "gpu_sku",
        "model",
        "precision",
        "backend",
        "mode",
        "tp",
        "pp",
        "dp",
        "ep",
    ),
    *("isl", "osl", "concurrency", "request_rate", "metric", "value", "config_id"),
]
ROW = {
    "source": "lab", "tier": "A", "gpu_sku": "H100-SXM5-80GB", "model": "Qwen/Qwen3-8B",
    "precision": "bf16", "backend_version": "0.12.0", "length_dist": "fixed",
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
        ({"metric": "makespan"}, "no figure that is compared"),
        ({"mode": "disagg"}, "not aggregated serving"),
        ({"dp": "8"}, "parallel sizes that do not fit the model"),
        ({"pp": "2"}, "pipeline parallel"),
        ({"gpu_sku": "GB300-NVL72"}, "GPU without own facts"),
        ({"backend": "fastertransformer"}, "backend"),
        ({"precision": "awq-int4"}, "precision that the GPU does not compute"),
        (
            {"precision": "fp8", "gpu_sku": "A100-SXM4-80GB"},
            "precision that the GPU does not compute",
        ),
        ({"isl": ""}, "lengths or parallel size unknown"),
        ({"concurrency": ""}, "load unknown"),
        ({"source": "blis_training_h100"}, "replayed from its trace"),
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
    fixed = replace(closed, options={"max_num_batched_tokens": 4096})
    at_client, at_engine = (replay(replace(fixed, served=served)) for served in (True, False))
    frontend_ms = at_client["ttft_ms"] - at_engine["ttft_ms"]
    assert frontend_ms == pytest.approx(host_cost(Backend.VLLM).frontend_ms)
    assert figures["e2e_ms"] == pytest.approx(total, rel=1e-6)
    crowded = replay(replace(closed, concurrency=64))
    assert crowded["itl_ms"] > 1.5 * figures["itl_ms"]
    quiet = replay(replace(closed, concurrency=None, rate_per_s=0.1))
    assert quiet["itl_ms"] < figures["itl_ms"]
    assert replay(closed) == figures, "a replay is deterministic"


def test_lengths_follow_the_spread_of_the_source(tmp_path: Path) -> None:
    row = {"isl": "4000", "osl": "400", "metric": "e2e_mean", "value": "5000"}
    (point,), _ = read_points(data(tmp_path, {**row, "length_dist": "uniform0.8-1.0"}))
    assert point.spread is Spread.UPPER_FIFTH
    spread = replay(point)["e2e_ms"]
    fixed = replay(replace(point, spread=Spread.FIXED))["e2e_ms"]
    assert 0.85 < spread / fixed < 0.95, "the mean is nine tenths of the nominal length"
    wide = replay(replace(point, spread=Spread.UNIFORM))["e2e_ms"]
    assert wide == pytest.approx(fixed, rel=0.25), "the means are the same"


def test_mixtures_of_experts_keep_their_parallel_sizes(tmp_path: Path) -> None:
    model = "deepseek-ai/DeepSeek-V3"
    row = {"model": model, "precision": "fp8", "gpu_sku": "B200-SXM-180GB", "backend": "sglang"}
    sizes = {"tp": "1", "dp": "8", "ep": "8", "concurrency": "16"}
    (point,), _ = read_points(data(tmp_path, {**row, **sizes}))
    assert (point.tp, point.dp, point.ep, point.kind) == (1, 8, 8, "moe")
    assert replay(point)["itl_ms"] > 1.0


@pytest.mark.parametrize(
    ("backend", "version", "options", "expected"),
    [
        ("vllm", "0.12.0", "", False),
        ("vllm", "0.12.0", "vllm serve x --async-scheduling", True),
        ("vllm", "0.14.1", "", True),
        ("vllm", "unstated", "", False),
        ("trtllm", "0.9", "", False),
        ("trtllm", "1.0.0rc3", "", True),
        ("sglang", "0.5.9", "", True),
    ],
)
def test_engine_versions_decide_whether_the_host_is_hidden(
    backend: str, version: str, options: str, expected: bool
) -> None:
    assert overlaps(backend, version, options) is expected


def test_a_recorded_run_becomes_a_point_for_each_stage(tmp_path: Path) -> None:
    data(tmp_path)
    recorded_run(tmp_path, failed=0)
    points, skipped = read_points(tmp_path)
    assert not skipped
    assert [point.prompts for point in points] == [10, 20]
    first, second = points
    assert first.trace is not None
    assert second.trace is not None
    assert first.figures["e2e_ms"].value == pytest.approx(500.0)
    assert first.figures["itl_ms"].value == pytest.approx(400 / 49)
    assert first.options["kv_blocks_total"] == 7000
    texts = [text for text in second.trace.texts or () if text is not None]
    assert [text.ids for text in texts[:6]] == [(1,), (2,), (0,), (1,), (2,), (0,)]
    assert texts[0].ends == (502,)
    assert replay(second)["ttft_ms"] > 0


def test_lengths_without_a_pattern_have_no_period() -> None:
    lengths = np.random.default_rng(1).integers(100, 200, size=500)
    assert repeat_period(lengths) is None
    assert repeat_period(np.tile(lengths[:50], 10)) == 50


def test_a_recorded_run_with_many_failures_is_left_out(tmp_path: Path) -> None:
    data(tmp_path)
    recorded_run(tmp_path, failed=3)
    points, skipped = read_points(tmp_path)
    assert points == []
    assert skipped == {"recorded run with many failed requests": 1}


def recorded_run(folder: Path, failed: int) -> None:
    target = folder / "traces" / "blis_training_h100"
    target.mkdir(parents=True)
    meta = {
        "experiment": "run", "model_id": "meta-llama/Llama-2-7b-hf",
        "config": {"tensor_parallelism": 1, "max_num_seqs": 128, "max_num_batched_tokens": 2048,
                   "kv_blocks_total_gpu": 7000},
        "profile_yaml": {"num_unique_system_prompts": 3, "system_prompt_len": 100},
        "load": {"stages": [{"duration": 10, "rate": 1}, {"duration": 10, "rate": 2}]},
    }  # fmt: skip
    (target / "run.meta.json").write_text(json.dumps(meta))
    arrivals = [*range(10), *(10 + 0.5 * i for i in range(20))]
    rows = [
        {"arrival_s": at, "input_tokens": 501 + number % 3, "output_tokens_actual": 50,
         "ttft_s": 0.1, "e2e_s": 0.5, "error": int(number < failed)}
        for number, at in enumerate(arrivals)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(target / "run.csv.gz", index=False)


def test_errors_are_summed_up_by_group_and_over_all(tmp_path: Path) -> None:
    (point,), _ = read_points(data(tmp_path, {"value": "10.0"}))
    results = [(point, {"itl_ms": value}) for value in (9.0, 10.0, 12.0, float("nan"))]
    everything, group = summarise_errors(results)
    assert everything.group == ("all", "dense", "", "")
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
    assert len(points) > 2500
    results = []
    for point in points[::8]:
        try:
            results.append((point, replay(point)))
        except InfeasibleError:
            continue
    errors = {(e.group[1], e.figure): e for e in summarise_errors(results) if e.group[0] == "all"}
    assert errors["dense", "itl_ms"].median_abs_ratio <= 0.12
    assert errors["dense", "e2e_ms"].median_abs_ratio <= 0.2
    assert errors["moe", "itl_ms"].median_abs_ratio <= 0.18
    assert (errors["dense", "itl_ms"].rank_correlation or 0.0) >= 0.95


@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
def test_scripts_of_a_benchmark_decide_the_step(tmp_path: Path, backend: str) -> None:
    """Prompts that come together wait longer where a step has room for several of them."""
    rows = {"metric": "ttft_mean", "value": "60", "concurrency": "16", "backend": backend}
    workload = "NVIDIA internal gap-analysis, fixed length, closed loop"
    (alone,), _ = read_points(data(tmp_path, rows, workload=workload))
    (default,), _ = read_points(data(tmp_path, rows))
    assert alone.stated is not None
    assert default.stated is None
    assert replay(alone)["ttft_ms"] < replay(default)["ttft_ms"]
