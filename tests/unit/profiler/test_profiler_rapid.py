"""The whole rapid search on real DGDRs, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.ports import PrefillChunk
from dgdr import Dgdr, load_dgdr
from dgdr.reconcile.output import sla_note
from harness.store.pareto import ParetoSet
from planner.settings import load_curves, load_settings, to_config
from profiler import RapidOptions, WhenInfeasible, run_rapid
from profiler.core.search import search
from profiler.dgdr.search_request import search_request
from profiler.measure import EngineFactory, SimcoreEstimator, SimcoreSimulator
from profiler.page import write_page
from profiler.page.build import build_selection, read_candidates
from profiler.page.sweeps import write_sweeps
from simcore.perf import roofline

# Whole searches, plots included.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LLAMA = (ROOT / "scenarios/dgdr/llama-70b.yaml").read_text()


def dgdr(text: str = LLAMA) -> Dgdr:
    return load_dgdr(text, source="test.yaml")


def changed(**lines: str) -> Dgdr:
    """The 70B request with the values of some keys replaced."""
    text = LLAMA
    for key, value in lines.items():
        old = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
        indent = old[: len(old) - len(old.lstrip())]
        text = text.replace(old, f"{indent}{key}: {value}")
    return dgdr(text)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("profile")
    return folder, run_rapid(dgdr(), folder, RapidOptions(startup_s=7.0, seed=1))


def test_the_pick_serves_the_load_within_budget_and_sla(profiled) -> None:
    _, result = profiled
    assert 0 < result.plan.gpus <= result.plan.gpu_budget == 16
    assert all(pool.replicas >= 1 for pool in result.plan.topology.pools)
    assert result.plan.startup_s == 7.0
    assert result.plan.sla.ttft_ms == 500.0


def test_pareto_json_has_simulated_and_impossible_candidates_with_reasons(profiled) -> None:
    folder, result = profiled
    content = json.loads((folder / "pareto.json").read_text())
    points = content["points"]
    assert content["picked"] == result.picked
    assert content["sla_met"] is True
    assert {p["mode"] for p in points} == {"agg", "disagg"}
    assert all(p["reason"] for p in points)
    picked = [p for p in points if p["label"] == result.picked]
    assert len(picked) == 1
    assert picked[0]["feasible"]
    feasible = [p for p in points if p["feasible"]]
    assert min(p["gpus"] for p in feasible) == picked[0]["gpus"]
    assert picked[0]["evidence"] == "calibrated"
    assert 0 < picked[0]["error_ratio"] < 1
    latencies = picked[0]["latencies_ms"]["ttft"]
    assert latencies["p50"] <= latencies["p90"] <= latencies["p99"]
    tight = [p for p in points if p["label"].startswith("vllm-tp1-chunk")]
    assert tight
    assert all("GiB too little" in p["reason"] for p in tight)
    TypeAdapter(ParetoSet).validate_python(content)


def test_files_are_readable_by_their_users(profiled) -> None:
    folder, result = profiled
    prefill, decode = load_curves(folder)
    assert prefill.prefill_isl.tolist() == result.prefill_curves.prefill_isl.tolist()
    assert decode.max_kv_tokens == result.decode_curves.max_kv_tokens
    config = to_config(load_settings((folder / "planner_config.json").read_text(), "planner"))
    assert (config.sla.ttft_ms, config.gpu_budget, config.startup_s) == (500.0, 16, 7.0)
    documents = list(yaml.safe_load_all((folder / "final_config.yaml").read_text()))
    assert documents[-1]["kind"] == "DynamoGraphDeployment"
    settings, data = (document["data"] for document in documents[:-1])
    decode_file = json.loads(data["decode_raw_data.json"])
    assert decode_file["z_itl"] == decode.z_itl.tolist(), "the planner's pod has its curves"
    config_file = json.loads(settings["planner_config.json"])
    assert config_file["profile_results_dir"] == "/workspace/profiling_results"
    picked = yaml.safe_load((folder / "picked_dgd_config.yaml").read_text())
    assert "Planner" not in {part["name"] for part in picked["spec"]["components"]}
    status = yaml.safe_load((folder / "profiler_status.yaml").read_text())
    assert (status["status"], status["phase"]) == ("success", "Done")
    for name in ("pareto.png", "selected_decode_interpolation/decode_itl_interpolation.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_npz_keys_are_the_documented_ones(profiled) -> None:
    folder, _ = profiled
    with np.load(folder / "selected_prefill_interpolation/raw_data.npz") as arrays:
        assert set(arrays) == {"prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu"}
    with np.load(folder / "selected_decode_interpolation/raw_data.npz") as arrays:
        assert set(arrays) == {
            "x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens",
        }  # fmt: skip
        assert arrays["max_kv_tokens"].shape == (1,)


def test_curves_are_the_step_times_of_the_engine(profiled) -> None:
    _, result = profiled
    pools = result.plan.topology.pools
    prefill_engine, decode_engine = pools[0].engine, pools[-1].engine
    curves = result.prefill_curves
    isl = int(curves.prefill_isl[1])
    assert isl <= prefill_engine.limits.max_num_batched_tokens
    step_ms = roofline(prefill_engine).mixed_step_fs(0, 0, [PrefillChunk(isl, 0)]) / 1e12
    assert curves.prefill_ttft[1] == pytest.approx(step_ms)
    thpt = isl / step_ms * 1e3 / prefill_engine.gpus
    assert curves.prefill_thpt_per_gpu[1] == pytest.approx(thpt)
    decode = result.decode_curves
    assert 0 < decode.x_kv_usage.min() < decode.x_kv_usage.max() <= 1
    for at in (0, 17, len(decode.z_itl) - 1):
        tokens = decode.x_kv_usage[at] * decode.max_kv_tokens
        requests = round(tokens / decode.y_context_length[at])
        step_ms = roofline(decode_engine).mixed_step_fs(requests, round(tokens), []) / 1e12
        assert decode.z_itl[at] == pytest.approx(step_ms)


def test_equal_seeds_give_equal_results(profiled, tmp_path: Path) -> None:
    folder, _ = profiled
    run_rapid(dgdr(), tmp_path, RapidOptions(startup_s=7.0, seed=1))
    for name in (
        "pareto.json",
        "candidates.json",
        "plan.json",
        "final_config.yaml",
        "planner_config.json",
    ):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_tighter_memory_removes_the_layouts_that_no_longer_fit(tmp_path: Path) -> None:
    small = changed(gpuSku="h200_sxm\n    vramMb: 60000")
    run_rapid(small, tmp_path, RapidOptions())
    points = json.loads((tmp_path / "pareto.json").read_text())["points"]
    assert any(p["label"] == "vllm-tp2-chunk2048" and "too little" in p["reason"] for p in points)


@pytest.mark.parametrize(
    ("lines", "binding"),
    [
        ({"ttft": "20"}, "TTFT: "),
        ({"itl": "3"}, "ITL: "),
        ({"requestRate": "500"}, "GPU budget: needs"),
    ],
)
def test_an_sla_that_nothing_meets_gives_the_closest_or_fails(
    tmp_path: Path, lines, binding: str
) -> None:
    result = run_rapid(changed(**lines), tmp_path / "closest", RapidOptions(draw=False))
    assert f"SLA not met ({binding}" in result.sla_note
    assert 0 < result.plan.gpus <= 16
    status = yaml.safe_load((tmp_path / "closest/profiler_status.yaml").read_text())
    assert status["status"] == "success"
    assert result.sla_note in status["message"]
    data = {"pareto.json": (tmp_path / "closest/pareto.json").read_text()}
    assert sla_note(data).startswith("SLA not met: closest, misses the SLA")
    if "requestRate" in lines:
        assert "% of the load served" in result.sla_note

    annotations = changed(
        **lines, name="llama-70b\n  annotations: {rehearsal.dgdr/when-infeasible: fail}"
    )
    with pytest.raises(InfeasibleError) as caught:
        run_rapid(annotations, tmp_path / "fail", RapidOptions())
    assert binding in caught.value.binding_constraint
    assert caught.value.closest
    status = yaml.safe_load((tmp_path / "fail/profiler_status.yaml").read_text())
    assert status["status"] == "failed"
    assert binding in status["error"]
    assert not (tmp_path / "fail/final_config.yaml").exists()


def test_a_budget_that_holds_no_engine_fails_whatever_the_policy(tmp_path: Path) -> None:
    options = RapidOptions(when_infeasible=WhenInfeasible.CLOSEST)
    with pytest.raises(InfeasibleError, match="needs 8 GPUs, 1 allowed"):
        run_rapid(changed(totalGpus="1"), tmp_path, options)


def test_unknown_gpu_model_and_strategy_are_refused_by_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spec\.hardware\.gpuSku.*allowed: gb200_sxm"):
        run_rapid(changed(gpuSku="vr_nvl72"), tmp_path, RapidOptions())
    with pytest.raises(InputError, match=r"spec\.model"):
        run_rapid(changed(model="nobody/knows"), tmp_path, RapidOptions())
    with pytest.raises(UnsupportedError, match="thorough"):
        run_rapid(changed(searchStrategy="thorough"), tmp_path, RapidOptions())


def test_a_local_config_json_replaces_the_bundled_facts(tmp_path: Path) -> None:
    config = {
        "num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 8192,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 16384,
    }  # fmt: skip
    result = run_rapid(
        changed(model="my/own-model"), tmp_path, RapidOptions(model_config=config, draw=False)
    )
    assert result.plan.model_id == "my/own-model"
    assert result.plan.topology.pools[0].engine.model.layers == 16
    assert result.plan.gpus <= 4


@pytest.mark.parametrize("name", ["llama-8b", "llama-70b", "qwen3-8b"])
def test_the_pick_of_a_bundled_request_does_not_hang_on_the_seed(name: str) -> None:
    text = (ROOT / f"scenarios/dgdr/{name}.yaml").read_text()
    request = search_request(load_dgdr(text, source=name))
    engines = EngineFactory(request)
    picks = set()
    for seed in range(5):
        router = RapidOptions().router
        simulator = SimcoreSimulator(request, engines, router=router, seed=seed)
        result = search(request, SimcoreEstimator(engines), simulator, lambda *_: None)
        picks.add((result.picked.sized.candidate.label, result.picked.sized.gpus))
        assert result.sla_met
    assert len(picks) == 1


def test_the_page_offers_every_simulated_candidate_as_a_deployment(profiled, tmp_path) -> None:
    folder, result = profiled
    selection = build_selection(dgdr(), read_candidates(folder))
    content = json.loads((folder / "candidates.json").read_text())
    simulated = [row["label"] for row in content["candidates"] if row["stage"] == "simulated"]
    assert sorted(entry.label for entry in selection.candidates) == sorted(simulated)
    assert all(entry.reason for entry in selection.ruled_out)
    picked = selection.candidate(selection.picked)
    assert (picked.label, picked.gpus, selection.met) == (result.picked, result.plan.gpus, True)
    graph = list(yaml.safe_load_all(picked.dgd_yaml))[-1]
    final = list(yaml.safe_load_all((folder / "final_config.yaml").read_text()))[-1]
    assert graph == final
    others = [entry for entry in selection.candidates if entry.gpus != picked.gpus]
    assert others
    assert all(entry.dgd_yaml != picked.dgd_yaml for entry in others)
    assert "Picked: " in write_page(folder, selection).read_text()
    with pytest.raises(InputError, match="is this a folder that the profiler wrote"):
        read_candidates(tmp_path)


def test_engines_are_drawn_alone_as_in_a_measured_search(profiled, tmp_path) -> None:
    folder, _ = profiled
    content = read_candidates(folder)
    written = write_sweeps(tmp_path, content, roofline)
    assert [path.name for path in written] == ["prefill_performance.png", "decode_performance.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert write_sweeps(tmp_path, content, roofline) == []
