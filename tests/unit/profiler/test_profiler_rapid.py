"""The whole rapid search on real DGDRs, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.plan import DisaggPlan, Role, RouterPolicy
from contracts.ports import PrefillChunk
from dgdr import Dgdr, load_dgdr
from harness.store.pareto import ParetoSet
from planner.settings import load_curves, load_settings, to_config
from profiler import RapidOptions, run_rapid
from profiler.core.request import AggCandidate, DisaggCandidate, EngineChoice, Sized
from profiler.dgdr.search_request import search_request
from profiler.measure import EngineFactory, SimcoreEstimator, SimcoreSimulator
from simcore.perf import roofline

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


def test_pareto_json_has_every_candidate_with_a_reason(profiled) -> None:
    folder, result = profiled
    content = json.loads((folder / "pareto.json").read_text())
    points = content["points"]
    assert content["picked"] == result.picked
    assert {p["mode"] for p in points} == {"agg", "disagg"}
    assert all(p["reason"] for p in points)
    picked = [p for p in points if p["label"] == result.picked]
    assert len(picked) == 1
    assert picked[0]["feasible"]
    feasible = [p for p in points if p["feasible"]]
    assert min(p["gpus"] for p in feasible) == picked[0]["gpus"]
    assert any(p["label"] == "tp1" and "GiB too little" in p["reason"] for p in points)
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
    for name in ("pareto.json", "plan.json", "final_config.yaml", "planner_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_tighter_memory_removes_the_layouts_that_no_longer_fit(tmp_path: Path) -> None:
    small = changed(gpuSku="h200_sxm\n    vramMb: 60000")
    run_rapid(small, tmp_path, RapidOptions())
    points = json.loads((tmp_path / "pareto.json").read_text())["points"]
    assert any(p["label"] == "tp2" and "GiB too little" in p["reason"] for p in points)


@pytest.mark.parametrize(
    ("lines", "binding"),
    [
        ({"ttft": "20"}, "TTFT: "),
        ({"itl": "3"}, "ITL: "),
        ({"requestRate": "500"}, "GPU budget: needs"),
        ({"totalGpus": "1"}, "needs 8 GPUs, 1 allowed"),
    ],
)
def test_infeasible_requests_say_what_binds(tmp_path: Path, lines, binding: str) -> None:
    with pytest.raises(InfeasibleError) as caught:
        run_rapid(changed(**lines), tmp_path, RapidOptions())
    assert binding in caught.value.binding_constraint
    assert caught.value.closest
    status = yaml.safe_load((tmp_path / "profiler_status.yaml").read_text())
    assert status["status"] == "failed"
    assert binding in status["error"]
    assert not (tmp_path / "final_config.yaml").exists()


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
    result = run_rapid(changed(model="my/own-model"), tmp_path, RapidOptions(model_config=config))
    assert result.plan.model_id == "my/own-model"
    assert result.plan.topology.pools[0].engine.model.layers == 16
    assert result.plan.gpus <= 4


def test_simulated_figures_agree_with_the_screen_at_low_load() -> None:
    """A nearly idle deployment has the latencies of single steps."""
    request = replace(search_request(dgdr(), None), load=None)
    engines = EngineFactory(request)
    choice = EngineChoice(tp=4, max_num_batched_tokens=8192)
    sized = Sized(candidate=AggCandidate(engine=choice), replicas={Role.AGG: 1}, rate_per_s=0.005)
    simulator = SimcoreSimulator(request, engines, router=RapidOptions().router, seed=1)
    measured = simulator.simulate(sized)
    estimator = SimcoreEstimator(engines)
    assert measured.ttft_ms == pytest.approx(estimator.prefill_ms(choice, request.isl), rel=0.001)
    idle_ms = estimator.step_ms(choice, requests=1, context_tokens=4500, chunk_tokens=0)
    assert measured.itl_ms == pytest.approx(idle_ms, rel=0.01)
    assert measured.attainment_ratio > 0.97


def test_disaggregated_plans_get_a_link() -> None:
    request = search_request(dgdr(), None)
    engines = EngineFactory(request)
    tp4, tp8 = (EngineChoice(tp=tp, max_num_batched_tokens=8192) for tp in (4, 8))
    rates = {}
    for prefill in (tp4, tp8):
        candidate = DisaggCandidate(prefill=prefill, decode=tp4)
        replicas = {Role.PREFILL: 1, Role.DECODE: 2}
        sized = Sized(candidate=candidate, replicas=replicas, rate_per_s=1.0)
        plan = engines.plan(sized, name="x", startup_s=1.0, router=RouterPolicy.ROUND_ROBIN)
        assert isinstance(plan.topology, DisaggPlan)
        assert plan.gpus == prefill.tp + 8
        rates[prefill.tp] = plan.topology.link.gbytes_per_s
    assert rates == {4: 450.0, 8: 50.0}, "NVLink within a node, the network across nodes"
