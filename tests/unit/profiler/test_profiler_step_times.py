"""Where step times come from: files, the profiler's own curves, AIConfigurator."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import profiler.__main__ as entry
from contracts.curves import DecodeCurves
from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.model import Dtype
from contracts.ports import PrefillChunk
from dgdr import load_dgdr
from profiler import RapidOptions, load_step_times, run_rapid
from profiler.dgdr.outputs import write_curves
from profiler.measure import decode_curves, prefill_curves
from simcore.perf import roofline
from simcore.perf.aic import aic_times

ROOT = Path(__file__).parents[3]
DGDR = ROOT / "scenarios/dgdr/qwen3-8b.yaml"


def write_table(path: Path, engine, factor: float = 1.0) -> Path:
    """The roofline of an engine as a CSV, all times multiplied."""
    timer = roofline(engine)
    lines = ["kind,tp,tokens,batch,context,ms"]
    for tokens in (64, 512, 1024, 2048, 4096, 8192):
        for past in (0, 4096):
            ms = timer.mixed_step_fs(0, 0, [PrefillChunk(tokens, past)]) / 1e12 * factor
            lines.append(f"prefill,{engine.tp},{tokens},,{past},{ms}")
    for requests in (1, 16, 64, 256):
        for context in (200, 4000):
            ms = timer.mixed_step_fs(requests, requests * context, []) / 1e12 * factor
            lines.append(f"decode,{engine.tp},,{requests},{context},{ms}")
    path.write_text("\n".join(lines) + "\n")
    return path


def profile(folder: Path, choice: str):
    request = load_dgdr(DGDR.read_text(), source="dgdr")
    options = RapidOptions(timer_for=load_step_times(choice), draw=False)
    return run_rapid(request, folder, options)


def reasons(folder: Path) -> dict[str, str]:
    points = json.loads((folder / "pareto.json").read_text())["points"]
    return {point["label"]: point["reason"] for point in points}


def by_place(curves: DecodeCurves) -> dict[tuple[float, float], float]:
    """ITL by KV tokens in use and context length."""
    tokens = curves.x_kv_usage * curves.max_kv_tokens
    places = zip(tokens.round().tolist(), curves.y_context_length.tolist(), strict=True)
    return dict(zip(places, curves.z_itl.tolist(), strict=True))


@pytest.mark.slow
def test_a_search_with_a_table(tmp_path: Path, make_engine_spec) -> None:
    engine = make_engine_spec("Qwen/Qwen3-8B", tp=1)
    table = write_table(tmp_path / "steps.csv", engine)
    result = profile(tmp_path / "table", f"table:{table}")
    assert all(pool.engine.tp == 1 for pool in result.plan.topology.pools)
    assert (
        "no step times for tp 2; the table has tp 1"
        in reasons(tmp_path / "table")["vllm-tp2-chunk2048"]
    )
    slow = profile(
        tmp_path / "slow", f"table:{write_table(tmp_path / 'slow.csv', engine, factor=1.5)}"
    )
    plain_ms, slow_ms = by_place(result.decode_curves), by_place(slow.decode_curves)
    shared = plain_ms.keys() & slow_ms.keys()
    assert len(shared) > 20
    for place in shared:
        assert slow_ms[place] == pytest.approx(1.5 * plain_ms[place], rel=1e-3)


def test_a_search_with_curves(tmp_path: Path, make_engine_spec) -> None:
    engine = make_engine_spec("Qwen/Qwen3-8B", "l40s", tp=2)
    one, two = tmp_path / "one", tmp_path / "two"
    decode = decode_curves(engine, 16_384)
    write_curves(one, prefill_curves(engine, 16_384), decode)
    result = profile(tmp_path / "profile", f"profile:{one}")
    curves, picked = result.decode_curves, result.plan.topology.pools[-1].engine
    assert picked.tp == 2
    for usage, context, itl_ms in zip(
        curves.x_kv_usage, curves.y_context_length, curves.z_itl, strict=True
    ):
        total = round(usage * curves.max_kv_tokens)
        step_fs = roofline(picked).mixed_step_fs(round(total / context), total, [])
        assert itl_ms == pytest.approx(step_fs / 1e12, rel=0.05)
    write_curves(two, prefill_curves(make_engine_spec("Qwen/Qwen3-8B", "l40s"), 16_384), decode)
    with pytest.raises(UnsupportedError, match="prefill engine of 1 and a decode engine of 2"):
        load_step_times(f"profile:{two}")


def test_no_engine_has_step_times(tmp_path: Path, make_engine_spec) -> None:
    table = write_table(tmp_path / "steps.csv", make_engine_spec(tp=1))
    table.write_text(table.read_text().replace("prefill,1,", "prefill,16,").replace(
        "decode,1,", "decode,16,"))  # fmt: skip
    with pytest.raises(InfeasibleError, match="no step times for tp 1; the table has tp 16"):
        profile(tmp_path / "table", f"table:{table}")


@pytest.mark.parametrize("choice", ["", "rooflines", "table:", "aic:", "profile", "roofline:x"])
def test_unknown_choices(choice: str) -> None:
    with pytest.raises(InputError, match=r"--step-times.*allowed: roofline, profile:DIR"):
        load_step_times(choice)


def test_files_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_step_times(f"table:{tmp_path / 'no.csv'}")
    (tmp_path / "bad.csv").write_text("kind,tokens,batch,context,ms\nprefill,x,1,0,1\n")
    with pytest.raises(InputError, match=r"bad\.csv: line 2: tokens"):
        load_step_times(f"table:{tmp_path / 'bad.csv'}")
    with pytest.raises(InputError, match="cannot be read"):
        load_step_times(f"profile:{tmp_path}")
    for kind in ("prefill", "decode"):
        (tmp_path / f"selected_{kind}_interpolation").mkdir()
        (tmp_path / f"selected_{kind}_interpolation/raw_data.npz").write_bytes(b"PK no")
    with pytest.raises(InputError, match="is not a readable npz"):
        load_step_times(f"profile:{tmp_path}")
    np.savez(tmp_path / "selected_prefill_interpolation/raw_data.npz", prefill_isl=np.ones(3))
    with pytest.raises(InputError, match="lacks arrays"):
        load_step_times(f"profile:{tmp_path}")


class FakeHandle:
    """Answers with the roofline, as milliseconds."""

    calls = 0

    def __init__(self, engine) -> None:
        self.timer = roofline(engine)

    def predict_prefill_latency(self, bs: int, isl: int, prefix: int = 0) -> float:
        assert bs == 1
        assert isl > prefix
        FakeHandle.calls += 1
        return self.timer.mixed_step_fs(0, 0, [PrefillChunk(isl - prefix, prefix)]) / 1e12

    def predict_decode_latency(self, bs: int, isl: int, osl: int = 2) -> float:
        FakeHandle.calls += 1
        return self.timer.mixed_step_fs(bs, bs * (isl + 1), []) / 1e12


@pytest.fixture
def fake_aic(monkeypatch: pytest.MonkeyPatch, make_engine_spec):
    """A stand-in for ``aiconfigurator_core.sdk``; collects what is compiled."""
    compiled = []

    def compile_engine(model, system, backend, **options):
        if system != "h200_sxm":
            raise ValueError("backend_version is required")
        compiled.append((model, system, backend, options))
        return FakeHandle(make_engine_spec(tp=options["tp_size"]))

    sdk = SimpleNamespace(EngineHandle=SimpleNamespace(compile=compile_engine))
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", SimpleNamespace(sdk=sdk))
    monkeypatch.setitem(sys.modules, "aiconfigurator_core.sdk", sdk)
    FakeHandle.calls = 0
    return compiled


def test_aic_is_asked_once_for_each_engine(fake_aic, make_engine_spec) -> None:
    factory, engine = load_step_times("aic"), make_engine_spec(tp=2)
    timer, truth = factory(engine), roofline(engine)
    asked = FakeHandle.calls
    assert asked == 10 * 4 + 10 * 4
    for requests, context, chunks in ((64, 100_000, []), (0, 0, [PrefillChunk(3000, 2048)])):
        assert timer.mixed_step_fs(requests, context, chunks) == pytest.approx(
            truth.mixed_step_fs(requests, context, chunks), rel=0.05
        )
    assert factory(engine) is timer
    assert FakeHandle.calls == asked
    assert (timer.evidence, timer.error_ratio) == (Evidence.CALIBRATED, 0.25)
    model, system, backend, options = fake_aic[0]
    assert (model, system, backend) == (engine.model.model_id, "h200_sxm", "vllm")
    assert options == {
        "backend_version": "0.24.0", "tp_size": 2, "pp_size": 1, "attention_dp_size": 1,
        "moe_tp_size": 2, "moe_ep_size": 1,
    }  # fmt: skip


def test_aic_types_and_versions(fake_aic, make_engine_spec) -> None:
    engine = replace(make_engine_spec(), weight_dtype=Dtype.FP8, kv_dtype=Dtype.FP8)
    load_step_times("aic:0.19.0")(engine)
    options = fake_aic[0][3]
    assert options["backend_version"] == "0.19.0"
    assert (options["gemm_quant_mode"], options["kvcache_quant_mode"]) == ("fp8", "fp8")


def test_aic_without_data_or_package(fake_aic, monkeypatch, make_engine_spec) -> None:
    with pytest.raises(UnsupportedError, match=r"on l40s, vllm: ValueError: backend_version"):
        aic_times()(make_engine_spec(sku="l40s"))
    with pytest.raises(UnsupportedError, match="one pass of one rank"):
        aic_times()(replace(make_engine_spec(), pp=2))
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    monkeypatch.setitem(sys.modules, "aiconfigurator_core.sdk", None)
    with pytest.raises(UnsupportedError, match="install the extra 'aic'"):
        load_step_times("aic")


@pytest.mark.slow
def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, make_engine_spec
) -> None:
    table = write_table(tmp_path / "steps.csv", make_engine_spec("Qwen/Qwen3-8B", tp=1))

    def command(choice: str) -> int:
        arguments = ["--config", str(DGDR), "--output-dir", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["profiler", *arguments, "--step-times", choice])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        return int(caught.value.code)

    assert command(f"table:{table}") == 0
    assert "picked agg-vllm-tp1" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    assert command("aic") == 3
    assert command("guess") == 2
