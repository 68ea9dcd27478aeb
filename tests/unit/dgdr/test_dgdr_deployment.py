"""The documents of final_config.yaml: components, names, planner, cache, refusals."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from contracts.errors import CombinedInputError, InfeasibleError, InputError
from contracts.model import Dtype
from contracts.plan import Role
from dgdr import build_dgd, derive_planner_config, dump_documents
from dgdr.deployment.images import sibling_image
from dgdr.deployment.names import name_length_problems, volume_name, worker_name, worker_type
from dgdr.enums import ServingBackend

MODEL = "acme/tiny-llm"
BACKENDS = ["vllm", "sglang", "trtllm"]


def _components(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in documents[-1]["spec"]["components"]}


def _pod(component: dict[str, Any]) -> dict[str, Any]:
    return component["podTemplate"]["spec"]


def _main(component: dict[str, Any]) -> dict[str, Any]:
    (container,) = _pod(component)["containers"]
    assert container["name"] == "main"
    return container


def _env(component: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in _main(component).get("env", [])}


def _after(args: list[str], flag: str) -> str:
    assert args.count(flag) == 1, f"{flag} must stand once in {args}"
    return args[args.index(flag) + 1]


def test_without_planner_the_only_document_is_the_deployment(request_of, disagg_plan):
    documents = build_dgd(request_of(), disagg_plan(), planner_config=None)
    assert len(documents) == 1
    assert documents[0]["apiVersion"] == "nvidia.com/v1beta1"
    assert documents[0]["kind"] == "DynamoGraphDeployment"
    assert list(_components(documents)) == ["Frontend", "prefill", "decode"]


def test_the_frontend(request_of, agg_plan):
    frontend = _components(build_dgd(request_of(), agg_plan(), planner_config=None))["Frontend"]
    assert frontend["type"] == "frontend"
    assert frontend["replicas"] == 1
    main = _main(frontend)
    assert main["command"] == ["python3", "-m", "dynamo.frontend"]
    assert main["image"] == "registry.example:5000/team/vllm-runtime:1.2.1"
    assert main["envFrom"] == [{"secretRef": {"name": "hf-token-secret"}}]
    assert "args" not in main
    assert "env" not in main
    assert "resources" not in main
    assert "scalingAdapter" not in frontend


@pytest.mark.parametrize(
    ("backend", "name"), [("vllm", "worker"), ("sglang", "decode"), ("trtllm", "TRTLLMWorker")]
)
def test_aggregated_workers(request_of, agg_plan, backend, name):
    request = request_of({"spec.backend": backend})
    worker = _components(build_dgd(request, agg_plan(), planner_config=None))[name]
    assert worker["type"] == "worker"
    assert worker["replicas"] == 2
    main = _main(worker)
    assert main["command"] == ["python3", "-m", f"dynamo.{backend}"]
    assert main["resources"] == {
        "requests": {"ephemeral-storage": "2Gi"},
        "limits": {"nvidia.com/gpu": "2"},
    }
    assert "--disaggregation-mode" not in main["args"]
    assert "--kv-transfer-config" not in main["args"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_disaggregated_workers(request_of, disagg_plan, backend):
    request = request_of({"spec.backend": backend})
    components = _components(build_dgd(request, disagg_plan(), planner_config=None))
    assert list(components) == ["Frontend", "prefill", "decode"]
    for role, replicas, gpus in (("prefill", 1, "2"), ("decode", 3, "4")):
        worker = components[role]
        assert worker["type"] == role
        assert worker["replicas"] == replicas
        main = _main(worker)
        assert main["resources"]["limits"] == {"nvidia.com/gpu": gpus}
        assert _after(main["args"], "--disaggregation-mode") == role
        assert _after(main["args"], "--tensor-parallel-size") == gpus
        assert ("requests" in main["resources"]) is (backend == "vllm")
        assert "scalingAdapter" not in worker
        assert "multinode" not in worker


@pytest.mark.parametrize(
    ("backend", "runtime", "working_dir"),
    [
        ("vllm", "vllm-runtime", "/workspace/examples/backends/vllm"),
        ("sglang", "sglang-runtime", "/workspace/examples/backends/sglang"),
        ("trtllm", "tensorrtllm-runtime", "/workspace/"),
        ("auto", "vllm-runtime", "/workspace/examples/backends/vllm"),
    ],
)
def test_images_and_directories_follow_the_backend(
    request_of, disagg_plan, backend, runtime, working_dir
):
    request = request_of({"spec.backend": backend})
    components = _components(build_dgd(request, disagg_plan(), planner_config={}))
    for name in ("Frontend", "prefill", "decode"):
        assert _main(components[name])["image"] == f"registry.example:5000/team/{runtime}:1.2.1"
    assert _main(components["decode"])["workingDir"] == working_dir
    assert _main(components["Planner"])["image"].endswith("/dynamo-planner:1.2.1")


def test_vllm_arguments(request_of, disagg_plan):
    components = _components(build_dgd(request_of(), disagg_plan(), planner_config=None))
    args = _main(components["prefill"])["args"]
    assert args[:12] == [
        "--model",
        MODEL,
        "--served-model-name",
        MODEL,
        "--tensor-parallel-size",
        "2",
        "--max-num-seqs",
        "64",
        "--max-num-batched-tokens",
        "4096",
        "--block-size",
        "32",
    ]
    kv_roles = {"prefill": "kv_producer", "decode": "kv_consumer"}
    for name, kv_role in kv_roles.items():
        transfer = json.loads(_after(_main(components[name])["args"], "--kv-transfer-config"))
        assert transfer == {"kv_connector": "NixlConnector", "kv_role": kv_role}


def test_sglang_arguments(request_of, disagg_plan):
    request = request_of({"spec.backend": "sglang"})
    components = _components(build_dgd(request, disagg_plan(), planner_config=None))
    assert _main(components["decode"])["args"] == [
        "--model-path",
        MODEL,
        "--served-model-name",
        MODEL,
        "--tensor-parallel-size",
        "4",
        "--max-running-requests",
        "64",
        "--chunked-prefill-size",
        "4096",
        "--page-size",
        "32",
        "--disaggregation-mode",
        "decode",
        "--disaggregation-transfer-backend",
        "nixl",
    ]


def test_trtllm_arguments(request_of, disagg_plan, agg_plan):
    request = request_of({"spec.backend": "trtllm"})
    components = _components(build_dgd(request, disagg_plan(), planner_config=None))
    prefill = _main(components["prefill"])["args"]
    assert prefill == [
        "--tensor-parallel-size",
        "2",
        "--pipeline-parallel-size",
        "1",
        "--expert-parallel-size",
        "1",
        "--max-batch-size",
        "64",
        "--max-num-tokens",
        "4096",
        "--trtllm.kv_cache_config.tokens_per_block",
        "32",
        "--trtllm.cuda_graph_config.max_batch_size",
        "64",
        "--trtllm.cache_transceiver_config.backend",
        "DEFAULT",
        "--trtllm.disable_overlap_scheduler",
        "true",
        "--trtllm.enable_chunked_prefill",
        "true",
        "--model-path",
        MODEL,
        "--served-model-name",
        MODEL,
        "--disaggregation-mode",
        "prefill",
    ]
    decode = _main(components["decode"])["args"]
    assert _after(decode, "--trtllm.disable_overlap_scheduler") == "false"
    worker = _components(build_dgd(request, agg_plan(), planner_config=None))["TRTLLMWorker"]
    assert "--trtllm.cache_transceiver_config.backend" not in _main(worker)["args"]


@pytest.mark.parametrize(
    ("backend", "flag", "value"),
    [
        ("vllm", "--kv-cache-dtype", "fp8"),
        ("sglang", "--kv-cache-dtype", "fp8_e4m3"),
        ("trtllm", "--trtllm.kv_cache_config.dtype", "fp8"),
    ],
)
def test_an_fp8_cache_is_asked_for(request_of, agg_plan, backend, flag, value):
    request = request_of({"spec.backend": backend})
    name = worker_name(ServingBackend(backend), Role.AGG, mocker=False)
    fp8 = _components(build_dgd(request, agg_plan(kv_dtype=Dtype.FP8), planner_config=None))
    assert _after(_main(fp8[name])["args"], flag) == value
    plain = _components(build_dgd(request, agg_plan(), planner_config=None))
    assert flag not in _main(plain[name])["args"]


def test_chunking_can_be_off(request_of, agg_plan):
    plan = agg_plan(chunked_prefill=False)
    vllm = _components(build_dgd(request_of(), plan, planner_config=None))["worker"]
    assert "--no-enable-chunked-prefill" in _main(vllm)["args"]
    request = request_of({"spec.backend": "sglang"})
    sglang = _components(build_dgd(request, plan, planner_config=None))["decode"]
    assert _after(_main(sglang)["args"], "--chunked-prefill-size") == "-1"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("consent", [True, False])
def test_remote_code_is_trusted_by_vllm_and_sglang_workers_only(
    request_of, disagg_plan, backend, consent
):
    request = request_of({"spec.backend": backend, "spec.overrides.trustRemoteCode": consent})
    components = _components(build_dgd(request, disagg_plan(), planner_config={}))
    for name in ("prefill", "decode"):
        expected = 1 if consent and backend != "trtllm" else 0
        assert _main(components[name])["args"].count("--trust-remote-code") == expected
    assert "--trust-remote-code" not in _main(components["Planner"])["args"]


@pytest.mark.parametrize(
    ("tp", "per_node", "nodes", "gpus"),
    [(8, 8, None, "8"), (16, 8, 2, "8"), (16, 4, 4, "4"), (12, 8, 2, "8"), (4, None, None, "4")],
)
def test_instances_larger_than_a_node_span_several(request_of, agg_plan, tp, per_node, nodes, gpus):
    request = request_of({"spec.hardware.numGpusPerNode": per_node})
    plan = agg_plan(tp=tp, replicas=1)
    worker = _components(build_dgd(request, plan, planner_config=None))["worker"]
    assert worker.get("multinode") == (None if nodes is None else {"nodeCount": nodes})
    assert _main(worker)["resources"]["limits"] == {"nvidia.com/gpu": gpus}


# mocker


@pytest.mark.parametrize(
    ("backend", "engine_type"), [("vllm", "vllm"), ("sglang", "sglang"), ("trtllm", None)]
)
def test_mocker_workers_take_no_gpu(request_of, disagg_plan, backend, engine_type):
    request = request_of({"spec.backend": backend, "spec.features.mocker.enabled": True})
    documents = build_dgd(request, disagg_plan(), planner_config=None)
    components = _components(documents)
    assert documents[-1]["metadata"]["name"] == "mocker-disagg"
    assert list(components) == ["Frontend", "prefill", "decode"]
    for name in ("prefill", "decode"):
        main = _main(components[name])
        assert main["command"] == ["python3", "-m", "dynamo.mocker"]
        assert main["image"] == "registry.example:5000/team/dynamo-planner:1.2.1"
        assert "resources" not in main
        args = main["args"]
        assert _after(args, "--model-path") == MODEL
        assert _after(args, "--model-name") == MODEL
        assert _after(args, "--speedup-ratio") == "1.0"
        assert _after(args, "--disaggregation-mode") == name
        assert _after(args, "--num-gpu-blocks-override") == "777"
        assert _after(args, "--block-size") == "32"
        assert "--kv-transfer-config" not in args
        if engine_type is None:
            assert "--engine-type" not in args
        else:
            assert _after(args, "--engine-type") == engine_type


def test_no_gpu_is_named_anywhere_in_a_mocker_deployment(request_of, agg_plan):
    request = request_of({"spec.features.mocker.enabled": True})
    documents = build_dgd(request, agg_plan(tp=16, replicas=1), planner_config={})
    text = dump_documents(documents)
    assert "nvidia.com/gpu" not in text
    assert "multinode" not in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_aggregated_mocker_is_called_decode(request_of, agg_plan, backend):
    request = request_of({"spec.backend": backend, "spec.features.mocker.enabled": True})
    documents = build_dgd(request, agg_plan(), planner_config=None)
    worker = _components(documents)["decode"]
    assert documents[-1]["metadata"]["name"] == "mocker-agg"
    assert worker["type"] == "worker"
    assert _after(_main(worker)["args"], "--disaggregation-mode") == "agg"


# planner


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
    planner = _components(documents)["Planner"]
    assert planner["type"] == "planner"
    assert planner["replicas"] == 1
    assert "scalingAdapter" not in planner
    assert _pod(planner)["volumes"] == [{"name": name, "configMap": {"name": name}}]
    main = _main(planner)
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
    components = _components(build_dgd(request_of(), disagg_plan(), planner_config=config))
    found = {name for name, part in components.items() if part.get("scalingAdapter") == {}}
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
    worker = _components(build_dgd(request_of(), agg_plan(), planner_config=config))["worker"]
    assert worker["type"] == kind
    assert worker.get("scalingAdapter") == adapter


def test_vllm_workers_benchmark_themselves_for_the_planner(request_of, disagg_plan, agg_plan):
    with_planner = _components(build_dgd(request_of(), disagg_plan(), planner_config={}))
    assert _env(with_planner["prefill"]) == {"DYN_BENCHMARK_MODE": "prefill"}
    assert _env(with_planner["decode"]) == {"DYN_BENCHMARK_MODE": "decode"}
    aggregated = _components(build_dgd(request_of(), agg_plan(), planner_config={}))
    assert _env(aggregated["worker"]) == {"DYN_BENCHMARK_MODE": "agg"}
    alone = _components(build_dgd(request_of(), disagg_plan(), planner_config=None))
    assert _env(alone["decode"]) == {}
    mocker = request_of({"spec.features.mocker.enabled": True})
    assert _env(_components(build_dgd(mocker, disagg_plan(), planner_config={}))["decode"]) == {}


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


# model cache, router, tolerations, versions


def test_the_cache_is_mounted_by_every_component(request_of, disagg_plan):
    request = request_of({"spec.modelCache": {"pvcName": "team.weights", "pvcModelPath": "hub/x"}})
    documents = build_dgd(request, disagg_plan(), planner_config={})
    components = _components(documents)
    assert list(components) == ["Frontend", "prefill", "decode", "Planner"]
    for component in components.values():
        claim = {"claimName": "team.weights"}
        assert {"name": "team-weights", "persistentVolumeClaim": claim} in _pod(component)[
            "volumes"
        ]
        mount = {"name": "team-weights", "mountPath": "/opt/model-cache"}
        assert mount in _main(component)["volumeMounts"]
        assert "HF_HOME" not in _env(component)
    for name in ("prefill", "decode"):
        args = _main(components[name])["args"]
        assert _after(args, "--model") == "/opt/model-cache/hub/x"
        assert _after(args, "--served-model-name") == MODEL
    frontend = _main(components["Frontend"])["args"]
    assert frontend == ["--model-name", MODEL, "--model-path", "/opt/model-cache/hub/x"]


def test_a_cache_without_a_path_becomes_the_hugging_face_home(request_of, disagg_plan):
    request = request_of({"spec.modelCache": {"pvcName": "weights", "pvcMountPath": "/models"}})
    components = _components(build_dgd(request, disagg_plan(), planner_config=None))
    for component in components.values():
        assert _env(component)["HF_HOME"] == "/models"
    assert _after(_main(components["decode"])["args"], "--model") == MODEL
    assert "args" not in _main(components["Frontend"])


def test_mockers_read_the_model_from_the_cache(request_of, agg_plan):
    request = request_of(
        {
            "spec.modelCache": {"pvcName": "weights", "pvcModelPath": "/opt/model-cache/x"},
            "spec.features.mocker.enabled": True,
        }
    )
    args = _main(_components(build_dgd(request, agg_plan(), planner_config=None))["decode"])["args"]
    assert _after(args, "--model-path") == "/opt/model-cache/x"
    assert _after(args, "--model-name") == MODEL


def test_no_volumes_without_a_cache(request_of, disagg_plan):
    text = dump_documents(build_dgd(request_of(), disagg_plan(), planner_config=None))
    assert "volume" not in text
    assert "HF_HOME" not in text


@pytest.mark.parametrize("enabled", [True, False])
def test_the_kv_router_is_set_on_the_frontend(request_of, agg_plan, enabled):
    request = request_of({"spec.features.kvRouter.enabled": enabled})
    components = _components(build_dgd(request, agg_plan(), planner_config=None))
    assert _env(components["Frontend"]) == ({"DYN_ROUTER_MODE": "kv"} if enabled else {})
    assert "DYN_ROUTER_MODE" not in _env(components["worker"])


def test_tolerations_and_runtime_version_reach_every_component(request_of, disagg_plan):
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    job = {"template": {"spec": {"containers": [], "tolerations": tolerations}}}
    request = request_of(
        {"spec.overrides.profilingJob": job, "spec.runtimeVersionOverride": "1.2.1"}
    )
    components = _components(build_dgd(request, disagg_plan(), planner_config={}))
    assert len(components) == 4
    for component in components.values():
        assert _pod(component)["tolerations"] == tolerations
        assert component["runtimeVersionOverride"] == "1.2.1"
    plain = dump_documents(build_dgd(request_of(), disagg_plan(), planner_config={}))
    assert "tolerations" not in plain
    assert "runtimeVersionOverride" not in plain


def test_documents_stay_in_the_namespace_of_the_request(request_of, agg_plan):
    request = request_of({"metadata.namespace": "team-a"})
    documents = build_dgd(request, agg_plan(), planner_config={})
    assert [document["metadata"]["namespace"] for document in documents] == ["team-a", "team-a"]
    for document in build_dgd(request_of(), agg_plan(), planner_config={}):
        assert list(document["metadata"]) == ["name"]


# names


def test_names_are_derived_from_the_content(request_of, disagg_plan):
    def names(replicas: int, budget: int) -> tuple[str, str]:
        plan = disagg_plan(decode_replicas=replicas)
        config = {"max_gpu_budget": budget}
        settings, deployed = build_dgd(request_of(), plan, planner_config=config)
        return settings["metadata"]["name"], deployed["metadata"]["name"]

    first = names(3, 16)
    assert re.fullmatch(r"vllm-disagg-[0-9a-f]{8}", first[1])
    assert names(3, 16) == first
    other_replicas, other_budget = names(2, 16), names(3, 17)
    assert other_replicas[0] == first[0]
    assert other_replicas[1] != first[1]
    assert other_budget[0] != first[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_name_tells_backend_and_topology(request_of, agg_plan, disagg_plan, backend):
    request = request_of({"spec.backend": backend})
    for plan, kind in ((agg_plan(), "agg"), (disagg_plan(), "disagg")):
        name = build_dgd(request, plan, planner_config=None)[-1]["metadata"]["name"]
        assert re.fullmatch(rf"{backend}-{kind}-[0-9a-f]{{8}}", name)


def test_too_long_names_are_all_listed_on_building(request_of, disagg_plan):
    request = request_of()
    metadata = request.metadata.model_copy(update={"name": "a" * 35})
    long = request.model_copy(update={"metadata": metadata})
    with pytest.raises(CombinedInputError) as caught:
        build_dgd(long, disagg_plan(), planner_config={})
    assert [(e.path, e.value) for e in caught.value.errors] == [
        ("metadata.name", "39 + 8 characters"),
        ("metadata.name", "39 + 7 characters"),
        ("metadata.name", "39 + 7 characters"),
    ]


@pytest.mark.parametrize(("length", "problems"), [(37, 0), (38, 1)])
def test_deployment_and_component_have_45_characters_together(length, problems):
    found = name_length_problems("d" * length, ["Frontend", "worker"], source="f", path="p")
    assert len(found) == problems
    if found:
        assert str(found[0]) == (
            f"f: p: deployment name '{'d' * 38}' is too long with component 'Frontend' "
            "(got 38 + 8 characters); allowed: at most 45 together"
        )


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
@pytest.mark.parametrize("backend", list(ServingBackend))
@pytest.mark.parametrize("mocker", [True, False])
def test_disaggregated_names_and_types_are_the_role(role, backend, mocker):
    assert worker_name(backend, role, mocker=mocker) == role.value
    assert worker_type(role, planner_scaled=True) == role.value
    assert worker_type(role, planner_scaled=False) == role.value


def test_volume_names_are_what_kubernetes_accepts():
    assert volume_name("weights") == "weights"
    assert volume_name("a.b.c") == "a-b-c"
    assert volume_name("a" * 62 + ".b") == "a" * 62


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("dynamo-planner", "vllm-runtime"),
        ("dynamo-planner:1.2", "vllm-runtime:1.2"),
        ("host:5000/dynamo-planner", "host:5000/vllm-runtime"),
        ("host:5000/a/b:1@sha256:00ff", "host:5000/a/vllm-runtime:1@sha256:00ff"),
        ("host/a/b@sha256:00ff", "host/a/vllm-runtime@sha256:00ff"),
    ],
)
def test_registry_tag_and_digest_of_an_image_stay(image, expected):
    assert sibling_image(image, "vllm-runtime") == expected


# refusals


def test_the_image_is_required(request_of, agg_plan):
    with pytest.raises(InputError) as caught:
        build_dgd(request_of({"spec.image": None}), agg_plan(), planner_config=None)
    assert str(caught.value) == (
        "spec.image: is required to name the images of the components (got nothing); "
        "allowed: registry/name:tag"
    )


def test_pools_without_replicas_are_refused(request_of, disagg_plan):
    plan = disagg_plan(prefill_replicas=0, decode_replicas=0)
    with pytest.raises(CombinedInputError) as caught:
        build_dgd(request_of(), plan, planner_config=None)
    assert [(e.path, e.value, e.allowed) for e in caught.value.errors] == [
        ("plan.prefill.replicas", "0", "at least 1"),
        ("plan.decode.replicas", "0", "at least 1"),
    ]


def test_the_gpu_budget_of_the_request_is_respected(request_of, disagg_plan):
    build_dgd(request_of({"spec.hardware.totalGpus": 14}), disagg_plan(), planner_config=None)
    with pytest.raises(InfeasibleError, match=r"uses 14 GPUs.*totalGpus is 13"):
        build_dgd(request_of({"spec.hardware.totalGpus": 13}), disagg_plan(), planner_config=None)


# text


def test_the_text_reads_back_as_the_documents(request_of, disagg_plan):
    request = request_of({"spec.modelCache": {"pvcName": "weights", "pvcModelPath": "x"}})
    documents = build_dgd(request, disagg_plan(), planner_config={"mode": "disagg"})
    text = dump_documents(documents)
    assert list(yaml.safe_load_all(text)) == documents
    assert text.startswith("---\napiVersion: v1\nkind: ConfigMap\n")
    assert "planner_config.json: |" in text
    assert "nvidia.com/gpu: '4'" in text


def test_shared_values_are_written_in_full():
    shared = {"a": [1]}
    assert dump_documents([{"x": shared, "y": shared}]) == (
        "---\nx:\n  a:\n  - 1\ny:\n  a:\n  - 1\n"
    )


def test_dumping_leaves_other_users_of_yaml_alone():
    dump_documents([{"x": "a\nb\n"}])
    assert "|" not in yaml.safe_dump({"x": "a\nb\n"})


def test_equal_input_gives_equal_text(request_of, disagg_plan):
    def text() -> str:
        plan = disagg_plan()
        request = request_of({"spec.features.planner": {"b": 1, "a": 2}})
        config = derive_planner_config(request, plan)
        return dump_documents(build_dgd(request, plan, planner_config=config))

    assert text() == text()


def test_the_order_of_planner_settings_does_not_matter(request_of, agg_plan):
    one = build_dgd(request_of(), agg_plan(), planner_config={"a": 1, "b": 2})
    other = build_dgd(request_of(), agg_plan(), planner_config={"b": 2, "a": 1})
    assert one == other
