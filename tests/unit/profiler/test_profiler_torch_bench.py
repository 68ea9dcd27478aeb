"""The PyTorch bench: against a stand-in always, against the library where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from calibrate_samples import TRUE, FakeClock
from fake_torch import HOST_S, FakeTorch

import profiler.__main__ as entry
from contracts.errors import InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.model import Dtype
from profiler import load_gpu
from profiler.calibrate import CalibrateOptions, calibrate
from profiler.calibrate.clock import WallClock
from profiler.calibrate.points import CopyPoint, GemmPoint, LaunchPoint
from profiler.calibrate.torch_bench import TorchBench, torch_bench
from profiler.dgdr.gpu_file import load_calibration


class TorchClock:
    def __init__(self, torch: FakeTorch) -> None:
        self._torch = torch

    def now_s(self) -> float:
        return self._torch.now_s


def bench_on(torch: FakeTorch) -> TorchBench:
    return TorchBench(torch, "cuda", TorchClock(torch))


def test_a_whole_calibration_through_the_bench(tmp_path: Path) -> None:
    torch = FakeTorch(TRUE, gpus=4)
    result = calibrate(
        bench_on(torch),
        CalibrateOptions(out=tmp_path / "gpu.yaml"),
        TorchClock(torch),
        at_utc="2026-01-01T00:00:00Z",
        progress=lambda *_: None,
    )
    eff = result.gpu.efficiencies
    assert eff.gemm_compute_ratio == pytest.approx(0.71, rel=0.01)
    assert eff.fp8_compute_ratio == pytest.approx(0.63, rel=0.01)
    assert eff.attention_memory_ratio == pytest.approx(0.77, rel=0.01)
    assert eff.kernel_us == pytest.approx(2.9, rel=0.05)
    # All-reduces are launched by the host, which small ones wait for.
    assert eff.link_ratio == pytest.approx(0.64, rel=0.05)
    assert "one launch by the host: 8.00 us" in result.calibration.notes
    assert result.calibration.runtime == "torch 9.9, cuda 12.9"
    assert result.calibration.seconds < 60


def test_graphs_hide_the_host_and_their_absence_is_noted() -> None:
    small = GemmPoint(m=1, k=1024, n=1024, dtype=Dtype.BF16)
    bench = bench_on(FakeTorch(TRUE))
    assert bench.seconds(small) < HOST_S
    assert bench.notes == ()
    bench = bench_on(FakeTorch(TRUE, graphs=False))
    assert bench.seconds(small) == pytest.approx(HOST_S)
    assert "not recorded as a graph" in bench.notes[0]
    assert bench.seconds(LaunchPoint(graph=False)) == pytest.approx(HOST_S)


def test_what_the_gpu_cannot_do() -> None:
    bench = bench_on(FakeTorch(TRUE, capability=(7, 5), fp8=False, memory=1 << 30))
    assert (bench.facts.half_type, bench.facts.fp8) == ("fp16", False)
    assert "no 8-bit GEMM: no 8-bit kernels" in bench.notes[0]
    with pytest.raises(UnsupportedError, match="CUDA out of memory"):
        bench.seconds(CopyPoint(size_bytes=8 << 30))
    with pytest.raises(UnsupportedError, match="no 8-bit GEMM"):
        bench.seconds(GemmPoint(m=32, k=64, n=64, dtype=Dtype.FP8))


def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnsupportedError, match="extra 'gpu'"):
        torch_bench("cuda", FakeClock())
    with pytest.raises(InputError, match="--device"):
        torch_bench("tpu", FakeClock())
    out = tmp_path / "gpu.yaml"
    assert command(monkeypatch, "calibrate", "--out", str(out)) == 3
    assert "install the extra 'gpu'" in capsys.readouterr().err
    assert command(monkeypatch, "calibrate", "--out", str(out), "--device", "cpu") == 2
    assert command(monkeypatch, "calibrate") == 2
    assert not out.exists()


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(TRUE, gpus=0))
    with pytest.raises(UnsupportedError, match="sees no GPU"):
        torch_bench("cuda", FakeClock())


@pytest.mark.slow
def test_the_command_writes_a_file_that_the_search_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(TRUE))
    out = tmp_path / "gpu.yaml"
    assert command(monkeypatch, "calibrate", "--out", str(out), "--sku", "ours") == 0
    assert "ours (calibrated) -> " in capsys.readouterr().out
    assert (tmp_path / "gpu.csv").exists()
    config = str(Path(__file__).parents[3] / "scenarios/dgdr/qwen3-8b.yaml")
    folder = str(tmp_path / "profile")
    search = ["--config", config, "--gpu-file", str(out), "--output-dir", folder]
    assert command(monkeypatch, *search) == 0
    assert '"sku": "ours"' in (tmp_path / "profile/plan.json").read_text()


def test_the_library_itself_on_a_cpu(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch (extra 'gpu') is not installed")
    clock = WallClock()
    calibrate(
        torch_bench("cpu", clock),
        CalibrateOptions(out=tmp_path / "cpu.yaml", csv=tmp_path / "cpu.csv", tiny=True),
        clock,
        at_utc="2026-01-01T00:00:00Z",
        progress=lambda *_: None,
    )
    text = (tmp_path / "cpu.yaml").read_text()
    assert load_gpu(text, source="cpu.yaml").evidence is Evidence.ESTIMATED
    calibration = load_calibration(text, source="cpu.yaml")
    assert calibration is not None
    assert set(calibration.operators) == {
        "gemm_bf16", "context_attention", "decode_attention", "copy",
    }  # fmt: skip
    assert any("not for use" in note for note in calibration.notes)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["profiler", *arguments])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    return int(caught.value.code)
