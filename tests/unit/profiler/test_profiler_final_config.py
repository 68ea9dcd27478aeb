"""What of a search goes into its deployment: curves, and consent to the model's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.engine import Backend
from contracts.errors import InputError
from contracts.plan import AggPlan, DeploymentPlan, PoolPlan, Role, RouterPolicy
from contracts.settings import EngineSettings
from contracts.sla import SlaTarget
from dgdr import Dgdr, parse_dgdr
from profiler import RapidOptions, run_rapid
from profiler.dgdr.outputs import write_curves, write_final_config, write_planner_config
from simcore.perf import architecture, engine_from_settings, gpu_spec

MODEL = "Qwen/Qwen3-0.6B"


def request(**spec: Any) -> Dgdr:
    data = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "demo"},
        "spec": {
            "model": MODEL,
            "image": "host/dynamo-planner:1.2.1",
            "backend": "vllm",
            "hardware": {"gpuSku": "l40s", "totalGpus": 1, "numGpusPerNode": 1},
            **spec,
        },
    }
    return parse_dgdr(data, source="test.yaml")


def plan() -> DeploymentPlan:
    engine = engine_from_settings(
        EngineSettings(backend=Backend.VLLM), model=architecture(MODEL), gpu=gpu_spec("l40s")
    )
    return DeploymentPlan(
        name="demo",
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=1)),
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=30.0,
        gpu_budget=1,
        sla=SlaTarget(ttft_ms=500.0, itl_ms=50.0),
    )


def curves() -> tuple[PrefillCurves, DecodeCurves]:
    two = np.array([1.0, 2.0])
    prefill = PrefillCurves(prefill_isl=two, prefill_ttft=two, prefill_thpt_per_gpu=two)
    decode = DecodeCurves(
        x_kv_usage=two / 4, y_context_length=two, z_itl=two, z_thpt_per_gpu=two, max_kv_tokens=9
    )
    return prefill, decode


def documents(folder: Path, dgdr: Dgdr) -> list[dict[str, Any]]:
    config = write_planner_config(folder, dgdr, plan())
    path = write_final_config(folder, dgdr, plan(), config)
    return list(yaml.safe_load_all(path.read_text()))


def test_curves_of_the_folder_go_with_the_deployment(tmp_path: Path) -> None:
    dgdr = request(features={"planner": {}})
    assert len(documents(tmp_path, dgdr)) == 2, "no curves yet"
    write_curves(tmp_path, *curves())
    settings, data, _ = documents(tmp_path, dgdr)
    assert json.loads(data["data"]["decode_raw_data.json"])["max_kv_tokens"] == 9
    inside = json.loads(settings["data"]["planner_config.json"])
    beside = json.loads((tmp_path / "planner_config.json").read_text())
    assert inside == {**beside, "profile_results_dir": "/workspace/profiling_results"}
    assert beside["profile_results_dir"] == "."


@pytest.mark.parametrize(
    ("features", "kept"),
    [({}, False), ({"planner": {}}, True), ({"mocker": {"enabled": True}}, True)],
)
def test_the_pick_is_kept_where_something_is_added(tmp_path: Path, features, kept: bool) -> None:
    documents(tmp_path, request(features=features))
    assert (tmp_path / "picked_dgd_config.yaml").exists() is kept


def test_code_of_a_model_is_asked_for_before_the_search(tmp_path: Path) -> None:
    config = {
        "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8,
        "num_hidden_layers": 4, "intermediate_size": 3072, "vocab_size": 1000,
        "max_position_embeddings": 4096, "auto_map": {"AutoModel": "modeling.Own"},
    }  # fmt: skip
    seen: list[str] = []
    with pytest.raises(InputError, match="trustRemoteCode"):
        run_rapid(
            request(),
            tmp_path,
            RapidOptions(model_config=config),
            progress=lambda phase, _done, _total: seen.append(phase),
        )
    assert seen == [], "nothing was searched"
    status = yaml.safe_load((tmp_path / "profiler_status.yaml").read_text())
    assert status["status"] == "failed"
