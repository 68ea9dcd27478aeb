"""candidates.json, prices and traces: what the search reads and writes besides the pick."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from contracts.engine import Backend as EngineBackend
from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.model import Dtype
from contracts.plan import DeploymentPlan, Fabric, RouterPolicy
from contracts.sla import OptimizationType
from dgdr import Dgdr, load_dgdr
from profiler import RapidOptions, check_request, plan_from_candidates, run_rapid
from profiler.core.request import PickMode, Topology, WhenInfeasible
from profiler.dgdr.prices import cost_per_million_tokens, load_prices, price_of
from profiler.dgdr.search_request import SearchWish, fabric, search_request
from profiler.dgdr.trace import load_trace
from simcore.perf.models import checkpoint_dtype

ROOT = Path(__file__).parents[3]
TRACES = ROOT / "scenarios/traces"
ROUTER = RouterPolicy.LEAST_LOADED
PLAIN = {
    "model": "Qwen/Qwen3-32B",
    "image": "ai-dynamo/dynamo-planner:1.2.1",
    "sla": {"ttft": 1000, "itl": 30},
    "workload": {"isl": 1000, "osl": 100, "requestRate": 4},
    "hardware": {"gpuSku": "h200_sxm", "numGpusPerNode": 8, "totalGpus": 8},
}


def dgdr(annotations: dict[str, str] | None = None, **sections) -> Dgdr:
    content = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "test", "annotations": annotations or {}},
        "spec": PLAIN | sections,
    }
    return load_dgdr(json.dumps(content), source="test.yaml")


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("profile")
    result = run_rapid(dgdr(), folder, RapidOptions(prices={"h200_sxm": 3.6}, startup_s=5.0))
    return folder, result, json.loads((folder / "candidates.json").read_text())


@pytest.mark.slow
def test_every_candidate_of_every_backend_is_there(profiled) -> None:
    _, result, content = profiled
    rows = content["candidates"]
    assert {row["backend"] for row in rows} == {"vllm", "sglang", "trtllm"}
    stages = {row["stage"] for row in rows}
    assert stages == {"simulated", "screened", "rejected", "alternative"}
    assert all(row["reason"] for row in rows)
    labels = [row["label"] for row in rows]
    assert len(set(labels)) == len(labels)
    simulated = [row for row in rows if row["stage"] == "simulated"]
    assert {row["mode"] for row in simulated} == {"agg", "disagg"}
    for row in simulated:
        cost = 3.6 / 3600 / row["tokens_per_s_per_gpu"] * 1e6
        assert row["cost_per_million_tokens"] == pytest.approx(cost)
        assert 0 < row["error_ratio"] < 1
        assert row["gpus"] <= content["gpu_budget"]
    assert content["picked"] == result.picked
    assert len(result.backend_notes) == 3


@pytest.mark.slow
def test_alternatives_are_marked_as_changing_the_checkpoint(profiled) -> None:
    _, _, content = profiled
    others = [row for row in content["candidates"] if row["stage"] == "alternative"]
    assert {row["label"].split("-chunk")[0].rsplit("-", 1)[-1] for row in others} == {
        "fp8", "kvfp8",
    }  # fmt: skip
    assert all("checkpoint" in row["reason"] and not row["feasible"] for row in others)


@pytest.mark.slow
def test_plans_are_rebuilt_from_the_file(profiled) -> None:
    folder, result, content = profiled
    again = plan_from_candidates(
        content, content["picked"], name="test", startup_s=5.0, router=ROUTER
    )
    assert again == result.plan
    written = (folder / "plan.json").read_bytes()
    assert TypeAdapter(DeploymentPlan).validate_json(written) == again
    split = next(row for row in content["candidates"] if row["link"] and row["engines"])
    plan = plan_from_candidates(content, split["label"], name="x", startup_s=1.0, router=ROUTER)
    assert plan.gpus == split["gpus"]
    rejected = next(row for row in content["candidates"] if row["stage"] == "rejected")
    with pytest.raises(InfeasibleError, match="cannot be deployed"):
        plan_from_candidates(content, rejected["label"], name="x", startup_s=1, router=ROUTER)
    with pytest.raises(InputError, match="no such candidate"):
        plan_from_candidates(content, "none", name="x", startup_s=1, router=ROUTER)
    broken = content | {"engines": {}}
    with pytest.raises(InputError, match="is broken"):
        plan_from_candidates(broken, content["picked"], name="x", startup_s=1, router=ROUTER)


@pytest.mark.slow
def test_the_deployment_runs_the_backend_that_won(profiled) -> None:
    folder, result, _ = profiled
    backend = result.plan.topology.pools[0].engine.backend
    assert f"dynamo.{backend.value}" in (folder / "final_config.yaml").read_text()


def test_options_and_annotations_of_a_request() -> None:
    plain = search_request(dgdr())
    assert (plain.mode, plain.preference) == (PickMode.LOAD_MATCH, OptimizationType.THROUGHPUT)
    assert plain.when_infeasible is WhenInfeasible.CLOSEST
    assert (plain.variants, len(plain.alternatives)) == ((), 3)
    assert set(plain.step_tokens) == set(EngineBackend)
    noted = dgdr(
        {"rehearsal.dgdr/when-infeasible": "fail", "rehearsal.dgdr/allow-quantization": "true"}
    )
    wish = search_request(noted)
    assert wish.when_infeasible is WhenInfeasible.FAIL
    assert (len(wish.variants), wish.alternatives) == (3, ())
    option = SearchWish(when_infeasible=WhenInfeasible.CLOSEST, allow_quantization=False)
    assert search_request(noted, option).when_infeasible is WhenInfeasible.CLOSEST
    assert not search_request(noted, option).variants
    for key in ("when-infeasible", "allow-quantization"):
        with pytest.raises(InputError, match=rf"{key}.*got maybe.*allowed"):
            search_request(dgdr({f"rehearsal.dgdr/{key}": "maybe"}))


@pytest.mark.parametrize(
    ("model", "config", "dtype"),
    [
        ("Qwen/Qwen3-32B", None, Dtype.BF16),
        ("Qwen/Qwen3-32B-FP8", None, Dtype.FP8),
        ("deepseek-ai/DeepSeek-R1", None, Dtype.FP8),
        ("own/model", {}, Dtype.BF16),
        ("own/model", {"quantization_config": {"quant_method": "fp8"}}, Dtype.FP8),
        ("own/model", {"quantization_config": {"quant_algo": "NVFP4"}}, Dtype.FP4),
        ("own/model", {"quantization_config": {"quant_method": "mxfp4"}}, Dtype.BF16),
        ("own/model", {"quantization_config": {"quant_method": "compressed-tensors",
         "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}}}, Dtype.FP8),
    ],
)  # fmt: skip
def test_weights_are_counted_as_the_checkpoint_stores_them(model, config, dtype) -> None:
    assert checkpoint_dtype(model, config) is dtype


def test_types_that_are_not_modelled_are_refused() -> None:
    config = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    with pytest.raises(UnsupportedError, match="awq"):
        checkpoint_dtype("own/model", config)


def test_the_planner_and_the_sla_set_the_mode() -> None:
    for mode, topologies in ((None, tuple(Topology)), ("agg", (Topology.AGG,)),
                             ("disagg", (Topology.DISAGG,))):  # fmt: skip
        planner = {"enabled": True} | ({"mode": mode} if mode else {})
        wish = search_request(dgdr(features={"planner": planner}))
        assert (wish.mode, wish.topologies) == (PickMode.AUTOSCALE, topologies)
    free = search_request(dgdr(workload={"isl": 1000, "osl": 100}))
    assert (free.mode, free.load) == (PickMode.DEFAULT, None)
    quick = search_request(dgdr(sla={"e2eLatency": 5000, "optimizationType": "latency"}))
    assert quick.preference is OptimizationType.LATENCY
    assert fabric(dgdr()) is Fabric.RDMA
    assert fabric(dgdr(hardware=PLAIN["hardware"] | {"rdma": False})) is Fabric.TCP


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", ["small-azure.csv", "small-mooncake.jsonl"], ids=["azure", "mooncake"]
)
def test_traces_replace_the_declared_load(file: str, tmp_path: Path) -> None:
    trace = load_trace(TRACES / file, limit=60)
    wish = search_request(dgdr(backend="vllm"), SearchWish(trace=trace))
    assert wish.isl == round(trace.isl.mean())
    assert wish.longest == (trace.isl + trace.osl).max()
    options = RapidOptions(trace=trace)
    run_rapid(dgdr(backend="vllm"), tmp_path, options)
    load = json.loads((tmp_path / "candidates.json").read_text())["request"]["load"]
    assert (load["kind"], load["requests"]) == ("trace", len(trace))


def test_trace_formats_and_their_errors(tmp_path: Path) -> None:
    rows = tmp_path / "own.jsonl"
    rows.write_text(
        '{"arrival_s": 0, "isl": 10, "osl": 5}\n{"arrival_s": 1, "isl": 10, "osl": 5}\n'
    )
    assert len(load_trace(rows)) == 2
    table = tmp_path / "own.csv"
    table.write_text("arrival_s,isl,osl\n0,10,5\n")
    assert len(load_trace(table)) == 1
    sampled = tmp_path / "gen.csv"
    sampled.write_text("arrival_s,client_id,input_tokens,output_tokens,reason_ratio\n0,a,9,5,\n")
    assert len(load_trace(sampled)) == 1
    with pytest.raises(InputError, match=r"trace-format.*got tape"):
        load_trace(rows, kind="tape")
    with pytest.raises(InputError, match="cannot be read"):
        load_trace(tmp_path / "absent.csv")


def test_prices() -> None:
    prices = load_prices("h200_sxm: 3.5\nl40s: 1\n", source="p.yaml")
    assert price_of(prices, "l40s") == 1.0
    with pytest.raises(
        InputError, match=r"no price for the GPU \(got t4\); allowed: h200_sxm, l40s"
    ):
        price_of(prices, "t4")
    for text in ("h200_sxm: cheap", "h200_sxm: -1", "[1]", "a: [", "h200_sxm: true", ""):
        with pytest.raises(InputError, match=r"p\.yaml"):
            load_prices(text, source="p.yaml")
    assert cost_per_million_tokens(3.6, 1000.0) == pytest.approx(1.0)
    assert cost_per_million_tokens(3.6, 0.0) is None


def test_a_dry_run_checks_and_searches_nothing(tmp_path: Path) -> None:
    check_request(dgdr(), tmp_path, RapidOptions())
    assert (tmp_path / "final_config.yaml").read_text() == "null\n"
    assert "success" in (tmp_path / "profiler_status.yaml").read_text()
    with pytest.raises(InputError, match=r"spec\.model"):
        check_request(dgdr(model="nobody/knows"), tmp_path, RapidOptions())
    assert "failed" in (tmp_path / "profiler_status.yaml").read_text()


@pytest.mark.slow
def test_deepseek_reaches_a_pick_that_fits(tmp_path: Path) -> None:
    text = (ROOT / "scenarios/dgdr/kubernetes/deepseek-r1.yaml").read_text()
    request = load_dgdr(text, source="deepseek-r1.yaml")
    labels = set()
    for seed in (0, 1):
        result = run_rapid(request, tmp_path, replace(RapidOptions(), seed=seed))
        assert not result.sla_note
        assert result.plan.gpus <= 32
        assert all(pool.engine.weight_dtype == "fp8" for pool in result.plan.topology.pools)
        assert all(pool.engine.ep > 1 for pool in result.plan.topology.pools)
        labels.add(result.picked)
    assert len(labels) == 1
