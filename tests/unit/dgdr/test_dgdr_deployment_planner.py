"""The planner of a deployment: component, settings, adapters."""

from __future__ import annotations

import json
import re

import pytest
from dgdr_deployments import components, container, env, pod

from contracts.errors import InputError
from dgdr import build_dgd, derive_planner_config

MODEL = "acme/tiny-llm"


def test_the_planner_gets_a_config_map_and_a_component(request_of, disagg_plan):
    config = {"mode": "disagg", "max_gpu_budget": 16}
    documents = build_dgd(request_of(), disagg_plan(), planner_config=config)
    assert [document["kind"] for document in documents] == ["ConfigMap", "DynamoGraphDeployment"]
    settings = documents[0]
    name = settings["metadata"]["name"]
    assert settings["apiVersion"] == "v1"
    assert re.fullmatch(r"planner-config-[0-9a-f]{4}", name)
    assert list(settings["data"]) == ["planner_config.json"]
    assert json.loads(settings["data"]["planner_config.json"]) == config
    planner = components(documents)["Planner"]
    assert planner["type"] == "planner"
    assert planner["replicas"] == 1
    assert "scalingAdapter" not in planner
    assert pod(planner)["volumes"] == [{"name": name, "configMap": {"name": name}}]
    main = container(planner)
    assert main["command"] == ["python3", "-m", "dynamo.planner"]
    assert main["args"] == ["--config", "/workspace/planner_config/planner_config.json"]
    assert main["volumeMounts"] == [
        {"name": name, "mountPath": "/workspace/planner_config", "readOnly": True}
    ]
    assert "resources" not in main


@pytest.mark.parametrize(
    ("config", "scaled"),
    [
        (None, set()),
        ({}, {"prefill", "decode"}),
        ({"mode": "disagg"}, {"prefill", "decode"}),
        ({"mode": "prefill"}, {"prefill"}),
        ({"mode": "decode"}, {"decode"}),
        ({"advisory": True}, set()),
        ({"advisory": False}, {"prefill", "decode"}),
    ],
)
def test_workers_that_the_planner_scales_get_an_adapter(request_of, disagg_plan, config, scaled):
    parts = components(build_dgd(request_of(), disagg_plan(), planner_config=config))
    found = {name for name, part in parts.items() if part.get("scalingAdapter") == {}}
    assert found == scaled


@pytest.mark.parametrize(
    ("config", "kind", "adapter"),
    [
        (None, "worker", None),
        ({"mode": "agg"}, "decode", {}),
        ({"mode": "decode"}, "decode", {}),
        ({"advisory": True}, "worker", None),
    ],
)
def test_a_scaled_aggregated_worker_counts_as_decode(request_of, agg_plan, config, kind, adapter):
    worker = components(build_dgd(request_of(), agg_plan(), planner_config=config))["worker"]
    assert worker["type"] == kind
    assert worker.get("scalingAdapter") == adapter


def test_vllm_workers_benchmark_themselves_for_the_planner(request_of, disagg_plan, agg_plan):
    with_planner = components(build_dgd(request_of(), disagg_plan(), planner_config={}))
    assert env(with_planner["prefill"]) == {"DYN_BENCHMARK_MODE": "prefill"}
    assert env(with_planner["decode"]) == {"DYN_BENCHMARK_MODE": "decode"}
    aggregated = components(build_dgd(request_of(), agg_plan(), planner_config={}))
    assert env(aggregated["worker"]) == {"DYN_BENCHMARK_MODE": "agg"}
    alone = components(build_dgd(request_of(), disagg_plan(), planner_config=None))
    assert env(alone["decode"]) == {}
    mocker = request_of({"spec.features.mocker.enabled": True})
    assert env(components(build_dgd(mocker, disagg_plan(), planner_config={}))["decode"]) == {}


def test_planner_settings_without_a_json_form_are_refused(request_of, agg_plan):
    for value in (float("nan"), {1, 2}):
        with pytest.raises(InputError, match=r"planner_config\.json: has no JSON form"):
            build_dgd(request_of(), agg_plan(), planner_config={"x": value})


def test_planner_settings_are_derived_from_request_and_plan(request_of, disagg_plan, agg_plan):
    assert derive_planner_config(request_of(), disagg_plan()) == {
        "model_name": MODEL,
        "backend": "vllm",
        "mode": "disagg",
        "max_gpu_budget": 24,
        "prefill_engine_num_gpu": 2,
        "decode_engine_num_gpu": 4,
    }
    sglang = request_of({"spec.backend": "sglang"})
    aggregated = derive_planner_config(sglang, agg_plan(tp=2))
    assert aggregated["backend"] == "sglang"
    assert aggregated["mode"] == "agg"
    assert aggregated["decode_engine_num_gpu"] == 2
    assert "prefill_engine_num_gpu" not in aggregated


def test_the_planner_knows_that_workers_are_mockers(request_of, agg_plan):
    request = request_of({"spec.features.mocker.enabled": True})
    assert derive_planner_config(request, agg_plan())["backend"] == "mocker"


@pytest.mark.parametrize(
    ("sla", "expected"),
    [
        ({}, (None, None)),
        ({"ttft": 700}, (700.0, 30.0)),
        ({"itl": 70}, (2000.0, 70.0)),
        ({"e2eLatency": 9000}, (None, None)),
    ],
)
def test_targets_reach_the_planner_only_when_the_user_set_them(request_of, agg_plan, sla, expected):
    config = derive_planner_config(request_of({"spec.sla": sla}), agg_plan())
    assert (config.get("ttft_ms"), config.get("itl_ms")) == expected


def test_explicit_planner_settings_win(request_of, agg_plan):
    planner = {"enabled": True, "max_gpu_budget": 4, "ttft_ms": 1.0, "load_predictor": "kalman"}
    request = request_of({"spec.features.planner": planner, "spec.sla.ttft": 500})
    config = derive_planner_config(request, agg_plan())
    assert config["max_gpu_budget"] == 4
    assert config["ttft_ms"] == 1.0
    assert config["load_predictor"] == "kalman"
    assert "enabled" not in config
