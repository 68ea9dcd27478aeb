"""Calibration: known coefficients are found again, the file loads and is used."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from calibrate_samples import TRUE, FakeBench

from contracts.errors import CombinedInputError, InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.model import Dtype
from contracts.ports import PrefillChunk
from dgdr import load_dgdr
from profiler import RapidOptions, load_gpu, run_rapid
from profiler.calibrate import CalibrateOptions, calibrate
from profiler.calibrate.formulas import Prices
from profiler.calibrate.points import ContextPoint, DecodePoint, GemmPoint, grid, spread
from profiler.calibrate.sku import bundled_sku
from profiler.dgdr.gpu_file import load_calibration
from simcore.perf import KNOWN_SKUS, gpu_spec, roofline

ROOT = Path(__file__).parents[3]


def run(folder: Path, bench: FakeBench, **options):
    return calibrate(
        bench,
        CalibrateOptions(out=folder / "gpu.yaml", csv=folder / "gpu.csv", **options),
        bench.clock,
        at_utc="2026-01-01T00:00:00Z",
        progress=lambda *_: None,
    )


def test_known_coefficients_are_found_again(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(), limit_s=1e6)
    found, true = asdict(result.gpu.efficiencies), asdict(TRUE.efficiencies)
    for name, value in true.items():
        assert found[name] == pytest.approx(value, rel=0.04), name
    assert result.gpu.bf16_tflops == TRUE.bf16_tflops
    assert result.calibration.data_sheet == "h200_sxm"
    assert result.gpu.memory_gib == 139.8
    assert result.gpu.evidence is Evidence.CALIBRATED
    assert result.gpu.error_ratio == TRUE.error_ratio
    for error in result.calibration.operators.values():
        assert error.points == error.planned
        assert 0.01 < error.error_p50 < error.error_p67 < error.error_p90 < 0.15


def test_without_a_data_sheet_the_rates_are_the_peaks(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(name="Acme X1", noise=0.0, gpus=1), limit_s=1e6)
    gpu, eff = result.gpu, result.gpu.efficiencies
    assert gpu.sku == "acme_x1"
    assert (eff.gemm_compute_ratio, eff.fp8_compute_ratio, eff.gemm_memory_ratio) == (1, 1, 1)
    assert gpu.bf16_tflops == pytest.approx(989 * 0.71, rel=0.01)
    assert gpu.fp8_tflops == pytest.approx(1978 * 0.63, rel=0.01)
    assert gpu.memory_tbytes_per_s == pytest.approx(4.8 * 0.82, rel=0.01)
    assert eff.attention_memory_ratio == pytest.approx(0.77 / 0.82, rel=0.01)
    assert gpu.intra_node_gbytes_per_s == gpu_spec("l40s").intra_node_gbytes_per_s
    assert gpu.gpus_per_node == 1
    assert result.calibration.data_sheet == "measured"
    text = "\n".join(result.calibration.notes)
    assert "no bundled data sheet" in text
    assert "all-reduce was not measured" in text
    # Whatever the data sheet, the prices are those of the true GPU.
    point = GemmPoint(m=512, k=4096, n=4096, dtype=Dtype.BF16)
    assert Prices(gpu).seconds(point) == pytest.approx(Prices(TRUE).seconds(point), rel=0.01)


def test_like_names_the_data_sheet(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(name="Acme X1"), like="h200_sxm", sku="mine", limit_s=1e6)
    assert (result.gpu.sku, result.calibration.data_sheet) == ("mine", "h200_sxm")
    assert result.gpu.efficiencies.gemm_compute_ratio == pytest.approx(0.71, rel=0.04)
    with pytest.raises(InputError, match="no bundled SKU"):
        run(tmp_path, FakeBench(), like="h999")


def test_more_than_the_data_sheet_replaces_it(tmp_path: Path) -> None:
    bench = FakeBench(replace(TRUE, memory_tbytes_per_s=9.6), noise=0.0)
    result = run(tmp_path, bench, limit_s=1e6)
    assert result.gpu.memory_tbytes_per_s == pytest.approx(9.6 * 0.82, rel=0.01)
    assert result.gpu.efficiencies.gemm_memory_ratio == 1.0
    assert any("above the data sheet" in note for note in result.calibration.notes)


def test_one_size_of_groups_and_no_fp8_are_borrowed(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(gpus=2, fp8=False, noise=0.0), limit_s=1e6)
    donor = gpu_spec("h200_sxm")
    assert result.gpu.fp8_tflops == donor.fp8_tflops
    assert result.gpu.efficiencies.allreduce_peer_us == donor.efficiencies.allreduce_peer_us
    assert result.gpu.efficiencies.link_ratio == pytest.approx(0.64, rel=0.01)
    notes = " ".join(result.calibration.notes)
    assert "8-bit GEMM was not measured" in notes
    assert "groups of one size" in notes


def test_the_time_limit_holds_for_each_section(tmp_path: Path) -> None:
    bench = FakeBench()
    result = run(tmp_path, bench, limit_s=100.0)
    assert bench.clock.at_s <= 100.0 + 6
    gemm = result.calibration.operators["gemm_bf16"]
    assert gemm.points == 30 < gemm.planned
    assert any("time was over after 30" in note for note in result.calibration.notes)
    assert result.gpu.efficiencies.gemm_memory_ratio == pytest.approx(0.82, rel=0.08)


def test_too_little_time_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="only 1 of at least 4 GEMM"):
        run(tmp_path, FakeBench(), limit_s=0.1)
    assert not (tmp_path / "gpu.yaml").exists()
    with pytest.raises(InputError, match="--limit-s"):
        run(tmp_path, FakeBench(), limit_s=0.0)


def test_shapes_that_do_not_fit_are_noted(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(refuse_rows=8192), limit_s=1e6)
    gemm = result.calibration.operators["gemm_bf16"]
    assert gemm.points == gemm.planned - 9
    assert any("9 shapes not measured" in note for note in result.calibration.notes)


def test_a_bad_fit_widens_the_band(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(noise=0.7), limit_s=1e6)
    assert result.gpu.error_ratio > 0.5


@pytest.mark.slow
def test_the_files_load_and_are_used(tmp_path: Path) -> None:
    result = run(tmp_path, FakeBench(), limit_s=1e6)
    text = (tmp_path / "gpu.yaml").read_text()
    assert load_gpu(text, source="gpu.yaml") == result.gpu
    assert load_calibration(text, source="gpu.yaml") == result.calibration
    with (tmp_path / "gpu.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == sum(len(s.points) for s in grid(fp8=True, gpus=8, tiny=False))
    first = next(line for line in lines if line["operator"] == "gemm_fp8")
    assert float(first["predicted_us"]) == pytest.approx(float(first["measured_us"]), rel=0.3)
    request = load_dgdr((ROOT / "scenarios/dgdr/qwen3-8b.yaml").read_text(), source="dgdr")
    picked = run_rapid(request, tmp_path / "profile", RapidOptions(gpu=result.gpu, draw=False))
    assert picked.plan.topology.pools[0].engine.gpu.sku == "nvidia_h200"


def test_a_damaged_calibration_is_refused(tmp_path: Path) -> None:
    run(tmp_path, FakeBench(), limit_s=1e6)
    text = (tmp_path / "gpu.yaml").read_text()
    with pytest.raises(CombinedInputError, match=r"gpu\.yaml: calibration\.half_kind"):
        load_gpu(text.replace("half_type", "half_kind"), source="gpu.yaml")


def test_attention_costs_what_the_step_timer_says(make_engine_spec) -> None:
    """The formulas written again here move together with those of the simulator."""
    engine = make_engine_spec()
    model, timer, prices = engine.model, roofline(engine), Prices(engine.gpu)

    def decode(context: int) -> float:
        point = DecodePoint(
            requests=4, context=context, heads=model.kv_heads, head_dim=model.head_dim
        )
        return prices.seconds(point) * model.layers

    step_s = (timer.mixed_step_fs(4, 4 * 9000, []) - timer.mixed_step_fs(4, 4 * 1000, [])) / 1e15
    assert decode(9000) - decode(1000) == pytest.approx(step_s, rel=1e-6)

    def context(past: int) -> float:
        point = ContextPoint(heads=model.heads, head_dim=model.head_dim, new=8192, past=past)
        return prices.seconds(point) * model.layers

    alone_fs = timer.mixed_step_fs(0, 0, [PrefillChunk(8192, 0)])
    later_fs = timer.mixed_step_fs(0, 0, [PrefillChunk(8192, 16_384)])
    assert context(16_384) - context(0) == pytest.approx(
        (later_fs - alone_fs) / 1e15 - context(0) + prices._launch_s() * model.layers, rel=1e-6
    )


@pytest.mark.parametrize(
    ("name", "sku"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm"),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA A100 80GB PCIe", "a100_pcie"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("Tesla V100-PCIE-32GB", "v100_pcie"),
        ("Tesla T4", "t4"),
        ("AMD Instinct MI300X", "mi300"),
        ("AMD Instinct MI250X", "mi200"),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_device_names(name: str, sku: str | None) -> None:
    assert bundled_sku(name) == sku
    assert sku is None or sku in KNOWN_SKUS


def test_every_beginning_of_the_order_covers_the_range() -> None:
    order = spread(list(range(100)))
    assert sorted(order) == list(range(100))
    assert min(order[:8]) < 15
    assert max(order[:8]) > 85
