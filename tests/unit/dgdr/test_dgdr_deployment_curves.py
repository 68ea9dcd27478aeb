"""The profiler's curves in the pods of planner and mockers, and settings that contradict."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import numpy as np
import pytest
from dgdr_deployments import after, components, container, moe_engine, plan_of, pod

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import InputError
from dgdr import build_dgd, derive_planner_config
from dgdr.deployment.profile_data import profile_files, read_profile_files

CURVES = (
    PrefillCurves(
        prefill_isl=np.array([100.0, 200.0]),
        prefill_ttft=np.array([10.5, 21.0]),
        prefill_thpt_per_gpu=np.array([9523.8, 9523.8]),
    ),
    DecodeCurves(
        x_kv_usage=np.array([0.1, 0.9]),
        y_context_length=np.array([350.0, 350.0]),
        z_itl=np.array([8.0, 16.0]),
        z_thpt_per_gpu=np.array([125.0, 900.0]),
        max_kv_tokens=160_000,
    ),
)


def _build(request: Any, plan: Any, config: Any = None, curves: Any = CURVES) -> list[Any]:
    return build_dgd(request, plan, planner_config=config, curves=curves)


def test_the_planner_has_its_curves(request_of, disagg_plan):
    documents = _build(request_of(), disagg_plan(), {"profile_results_dir": "."})
    settings, data, _ = documents
    assert [document["kind"] for document in documents] == [
        *("ConfigMap", "ConfigMap", "DynamoGraphDeployment")
    ]
    name = data["metadata"]["name"]
    assert re.fullmatch(r"planner-profile-data-[0-9a-f]{4}", name)
    assert {key: json.loads(text) for key, text in data["data"].items()} == {
        "prefill_raw_data.json": {
            "prefill_isl": [100.0, 200.0],
            "prefill_ttft": [10.5, 21.0],
            "prefill_thpt_per_gpu": [9523.8, 9523.8],
        },
        "decode_raw_data.json": {
            "x_kv_usage": [0.1, 0.9],
            "y_context_length": [350.0, 350.0],
            "z_itl": [8.0, 16.0],
            "z_thpt_per_gpu": [125.0, 900.0],
            "max_kv_tokens": 160_000,
        },
    }
    config = json.loads(settings["data"]["planner_config.json"])
    assert config == {"profile_results_dir": "/workspace/profiling_results"}
    planner = components(documents)["Planner"]
    assert {"name": name, "configMap": {"name": name}} in pod(planner)["volumes"]
    mount = {"name": name, "mountPath": "/workspace/profiling_results", "readOnly": True}
    assert mount in container(planner)["volumeMounts"]
    for role in ("prefill", "decode"):
        assert "volumeMounts" not in container(components(documents)[role])


def test_a_folder_of_the_user_stays(request_of, agg_plan):
    request = request_of({"spec.features.planner": {"profile_results_dir": "/mine"}})
    config = derive_planner_config(request, agg_plan())
    settings = _build(request, agg_plan(), config)[0]
    assert json.loads(settings["data"]["planner_config.json"])["profile_results_dir"] == "/mine"


def test_curves_without_a_reader_stay_away(request_of, agg_plan):
    assert len(_build(request_of(), agg_plan())) == 1
    mocker = request_of({"spec.features.mocker.enabled": True})
    (graph,) = _build(mocker, agg_plan())
    assert "--planner-profile-data" not in container(components([graph])["decode"])["args"]


@pytest.mark.parametrize("planner", [None, {}])
def test_mockers_take_their_times_from_measured_curves(request_of, disagg_plan, planner):
    request = request_of({"spec.features.mocker.enabled": True, "spec.searchStrategy": "thorough"})
    documents = _build(request, disagg_plan(), planner)
    maps = [d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"]
    name = maps[-1]
    assert name.startswith("planner-profile-data-")
    for role in ("prefill", "decode"):
        worker = components(documents)[role]
        args = container(worker)["args"]
        assert after(args, "--planner-profile-data") == "/workspace/profiling_results"
        assert not any(word.startswith("--ai") for word in args)
        assert pod(worker)["volumes"] == [{"name": name, "configMap": {"name": name}}]


def test_names_of_config_maps_follow_their_content(request_of, agg_plan):
    def names(curves: Any) -> list[str]:
        documents = _build(request_of(), agg_plan(), {}, curves)
        return [document["metadata"]["name"] for document in documents[:-1]]

    prefill, decode = CURVES
    other = PrefillCurves(
        prefill_isl=prefill.prefill_isl,
        prefill_ttft=prefill.prefill_ttft * 2,
        prefill_thpt_per_gpu=prefill.prefill_thpt_per_gpu,
    )
    assert names(CURVES) == names(CURVES)
    assert names(CURVES)[0] == names((other, decode))[0]
    assert names(CURVES)[1] != names((other, decode))[1]


def test_equal_requests_have_maps_of_their_own(request_of, agg_plan):
    first, second = (
        {d["metadata"]["name"] for d in _build(request_of({"metadata.name": n}), agg_plan(), {})}
        for n in ("one", "two")
    )
    # The first request's deployment owns its maps and takes them away with it.
    assert first.isdisjoint(second)


def test_the_budget_and_engines_come_from_the_plan(request_of):
    plan = plan_of("disagg", moe_engine("sglang", "DEP"), gpu_budget=48)
    config = derive_planner_config(request_of({"spec.backend": "auto"}), plan)
    assert config == {
        "model_name": "acme/tiny-llm",
        "backend": "sglang",
        "mode": "disagg",
        "max_gpu_budget": 48,
        "prefill_engine_num_gpu": 8,
        "decode_engine_num_gpu": 8,
    }


@pytest.mark.parametrize(
    ("planner", "topology", "warned"),
    [
        ({}, "agg", None),
        ({"mode": "agg"}, "agg", None),
        ({"mode": "decode"}, "disagg", None),
        ({"mode": "disagg"}, "agg", "mode: disagg is kept, but the picked deployment is agg"),
        ({"mode": "agg"}, "disagg", "mode: agg is kept, but the picked deployment is disagg"),
        ({"backend": "sglang"}, "agg", "backend: sglang is kept, but workers run vllm"),
    ],
)
def test_settings_that_contradict_the_pick_are_kept_with_a_warning(
    request_of, caplog, planner, topology, warned
):
    request = request_of({"spec.features.planner": planner})
    plan = plan_of(topology, moe_engine("vllm"))
    with caplog.at_level(logging.WARNING):
        _build(request, plan, derive_planner_config(request, plan))
    assert (warned in caplog.text) if warned else (caplog.text == "")


def test_curves_that_are_no_numbers_are_refused(request_of, agg_plan):
    prefill, decode = CURVES
    broken = PrefillCurves(
        prefill_isl=prefill.prefill_isl,
        prefill_ttft=np.array([1.0, np.nan]),
        prefill_thpt_per_gpu=prefill.prefill_thpt_per_gpu,
    )
    with pytest.raises(InputError, match=r"prefill_raw_data\.json"):
        _build(request_of(), agg_plan(), {}, (broken, decode))


def test_files_read_back_as_the_curves():
    files = profile_files(CURVES)
    found = read_profile_files(*files.values(), source="d")
    for curves, wanted in zip(found, CURVES, strict=True):
        for name in wanted.__slots__:
            assert np.array_equal(getattr(curves, name), getattr(wanted, name))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"z_itl": None}, "z_itl"),
        ({"z_itl": [1.0, "2"]}, "z_itl"),
        ({"z_itl": [1.0, float("nan")]}, "z_itl"),
        ({"max_kv_tokens": [1, 2]}, "max_kv_tokens"),
        ({"max_kv_tokens": 0}, "max_kv_tokens"),
    ],
)
def test_broken_files_are_named(changes, path):
    prefill, decode = profile_files(CURVES).values()
    broken = json.dumps(json.loads(decode) | changes)
    with pytest.raises(InputError, match=rf"d/decode_raw_data\.json: {path}"):
        read_profile_files(prefill, broken, source="d")
    with pytest.raises(InputError, match=r"d/prefill_raw_data\.json: is not JSON"):
        read_profile_files("{", decode, source="d")
    with pytest.raises(InputError, match="empty"):
        read_profile_files(prefill, json.dumps(json.loads(decode) | {"z_itl": []}), source="d")
