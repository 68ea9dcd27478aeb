"""What holds for every deployment whatever its override says, and what is warned of."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from dgdr_deployments import BACKENDS, components, container, pod

from contracts.errors import InputError
from dgdr import build_dgd

NEW = {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"}
OLD = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment"}


def _new(*parts: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**NEW, "spec": {**({"components": list(parts)} if parts else {}), **spec}}


def _old(**services: Any) -> dict[str, Any]:
    return {**OLD, "spec": {"services": services}}


def _pod(**main: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": {"containers": [{"name": "main", **main}]}}}


def _main(**values: Any) -> dict[str, Any]:
    return {"extraPodSpec": {"mainContainer": values}}


def test_tolerations_of_the_job_stay_beside_those_of_the_override(request_of, disagg_plan):
    job = {"key": "job", "operator": "Exists"}
    own = {"key": "own", "operator": "Exists"}
    part = {"name": "decode", "podTemplate": {"spec": {"tolerations": [own, job]}}}
    request = request_of(
        {
            "spec.overrides.dgd": _new(part),
            "spec.overrides.profilingJob": {
                "template": {"spec": {"containers": [], "tolerations": [job]}}
            },
        }
    )
    parts = components(build_dgd(request, disagg_plan(), planner_config=None))
    assert pod(parts["decode"])["tolerations"] == [own, job]
    assert pod(parts["Frontend"])["tolerations"] == [job]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "words",
    [
        {"args": ["--model", "x"]},
        {"args": ["--model", "x", "--trust-remote-code", "--disaggregation-mode", "decode"]},
        {"command": ["sh", "-c"], "args": ["exec python3 -m dynamo.{0} --model x | tee log"]},
        {"command": ["sh", "-c", "python3 -m dynamo.{0} --model x && true"], "args": []},
    ],
)
def test_role_and_trust_are_on_replaced_command_lines_once(
    request_of, disagg_plan, backend, words, caplog
):
    words = json.loads(json.dumps(words).replace("{0}", backend))
    override = _new({"name": "decode", **_pod(**words)})
    request = request_of(
        {
            "spec.backend": backend,
            "spec.overrides": {"trustRemoteCode": True, "dgd": override},
        }
    )
    with caplog.at_level(logging.WARNING):
        graph = build_dgd(request, disagg_plan(), planner_config=None)
    main = container(components(graph)["decode"])
    text = " ".join([*main["command"], *main["args"]])
    assert text.count("--disaggregation-mode decode") == 1
    assert text.count("--trust-remote-code") == (
        1 if backend != "trtllm" or "--trust-remote-code" in str(words) else 0
    )
    if "dynamo" in str(words):  # inside the script, in front of what follows the worker
        assert text.index("--disaggregation-mode") < text.index("--model")
    given = "--disaggregation-mode" in str(words)
    assert any("lack --disaggregation-mode" in r.getMessage() for r in caplog.records) != given


def test_options_of_engines_on_mockers_are_named(request_of, agg_plan, caplog):
    override = _old(decode=_main(args=["--enforce-eager"]))
    request = request_of({"spec.overrides.dgd": override, "spec.features.mocker.enabled": True})
    with caplog.at_level(logging.WARNING):
        build_dgd(request, agg_plan(), planner_config=None)
    assert "component decode cannot be rehearsed: --enforce-eager" in caplog.text


def test_warnings_are_logged(request_of, agg_plan, caplog):
    request = request_of({"spec.overrides.dgd": _new({"name": "prefill", "replicas": 2})})
    with caplog.at_level(logging.WARNING):
        build_dgd(request, agg_plan(), planner_config=None)
    assert "ignored, the generated deployment has no component prefill" in caplog.text


@pytest.mark.parametrize(
    ("main", "warned"),
    [
        ({"args": ["-tp", "4"]}, None),
        ({"args": ["-tp", "8"]}, "an engine of 8 GPUs, its pods take 4"),
        ({"args": ["-tp", "4", "-dp", "2"], "resources": {"limits": {"gpu": "8"}}}, None),
        ({"args": ["--enforce-eager"]}, "cannot be rehearsed: --enforce-eager"),
        ({"args": ["--no-such-option"]}, "cannot be rehearsed: --no-such-option"),
        ({"command": ["sh", "-c"], "args": ["python3 -m dynamo.vllm -tp 8"]}, None),
    ],
)
def test_arguments_that_do_not_fit_the_pods_are_named(
    request_of, disagg_plan, caplog, main, warned
):
    part = _main(**{key: value for key, value in main.items() if key != "resources"})
    part |= {key: value for key, value in main.items() if key == "resources"}
    request = request_of({"spec.overrides.dgd": _old(decode=part)})
    with caplog.at_level(logging.WARNING):
        build_dgd(request, disagg_plan(), planner_config=None)
    assert (warned in caplog.text) if warned else (caplog.text == "")


@pytest.mark.parametrize(
    ("changes", "config", "flags"),
    [
        ({}, None, 0),
        ({}, {}, 0),
        ({"spec.overrides.trustRemoteCode": True}, None, 1),
        ({"spec.overrides.trustRemoteCode": True}, {"auto_map": {"A": "b"}}, 1),
        ({"spec.modelCache": {"pvcName": "w", "pvcModelPath": "x"}}, {"auto_map": {"A": "b"}}, 1),
        ({"spec.model": "/models/own"}, {"auto_map": {"A": "b"}}, 1),
    ],
)
def test_consent_to_code_of_the_model(request_of, agg_plan, changes, config, flags):
    graph = build_dgd(request_of(changes), agg_plan(), planner_config=None, model_config=config)
    args = container(components(graph)["worker"])["args"]
    assert args.count("--trust-remote-code") == flags


def test_code_of_a_hub_needs_consent(request_of, agg_plan):
    with pytest.raises(InputError, match=r"spec\.overrides\.trustRemoteCode.*auto_map"):
        build_dgd(
            request_of(), agg_plan(), planner_config=None, model_config={"auto_map": {"A": "b"}}
        )
