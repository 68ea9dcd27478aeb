"""Workers and frontend of a deployment: components, images, arguments, cache."""

from __future__ import annotations

import json

import pytest
from dgdr_deployments import BACKENDS, after, components, container

from contracts.model import Dtype
from contracts.plan import Role
from dgdr import build_dgd, dump_documents
from dgdr.deployment.names import worker_name
from dgdr.enums import ServingBackend

MODEL = "acme/tiny-llm"


def test_without_planner_the_only_document_is_the_deployment(request_of, disagg_plan):
    documents = build_dgd(request_of(), disagg_plan(), planner_config=None)
    assert len(documents) == 1
    assert documents[0]["apiVersion"] == "nvidia.com/v1beta1"
    assert documents[0]["kind"] == "DynamoGraphDeployment"
    assert list(components(documents)) == ["Frontend", "prefill", "decode"]


def test_the_frontend(request_of, agg_plan):
    frontend = components(build_dgd(request_of(), agg_plan(), planner_config=None))["Frontend"]
    assert frontend["type"] == "frontend"
    assert frontend["replicas"] == 1
    main = container(frontend)
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
    worker = components(build_dgd(request, agg_plan(), planner_config=None))[name]
    assert worker["type"] == "worker"
    assert worker["replicas"] == 2
    main = container(worker)
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
    parts = components(build_dgd(request, disagg_plan(), planner_config=None))
    assert list(parts) == ["Frontend", "prefill", "decode"]
    for role, replicas, gpus in (("prefill", 1, "2"), ("decode", 3, "4")):
        worker = parts[role]
        assert worker["type"] == role
        assert worker["replicas"] == replicas
        main = container(worker)
        assert main["resources"]["limits"] == {"nvidia.com/gpu": gpus}
        assert after(main["args"], "--disaggregation-mode") == role
        assert after(main["args"], "--tensor-parallel-size") == gpus
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
    parts = components(build_dgd(request, disagg_plan(), planner_config={}))
    for name in ("Frontend", "prefill", "decode"):
        assert container(parts[name])["image"] == f"registry.example:5000/team/{runtime}:1.2.1"
    assert container(parts["decode"])["workingDir"] == working_dir
    assert container(parts["Planner"])["image"].endswith("/dynamo-planner:1.2.1")


def test_vllm_arguments(request_of, disagg_plan):
    parts = components(build_dgd(request_of(), disagg_plan(), planner_config=None))
    args = container(parts["prefill"])["args"]
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
        transfer = json.loads(after(container(parts[name])["args"], "--kv-transfer-config"))
        assert transfer == {"kv_connector": "NixlConnector", "kv_role": kv_role}


def test_sglang_arguments(request_of, disagg_plan):
    request = request_of({"spec.backend": "sglang"})
    parts = components(build_dgd(request, disagg_plan(), planner_config=None))
    assert container(parts["decode"])["args"] == [
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
    parts = components(build_dgd(request, disagg_plan(), planner_config=None))
    prefill = container(parts["prefill"])["args"]
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
    decode = container(parts["decode"])["args"]
    assert after(decode, "--trtllm.disable_overlap_scheduler") == "false"
    worker = components(build_dgd(request, agg_plan(), planner_config=None))["TRTLLMWorker"]
    assert "--trtllm.cache_transceiver_config.backend" not in container(worker)["args"]


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
    fp8 = components(build_dgd(request, agg_plan(kv_dtype=Dtype.FP8), planner_config=None))
    assert after(container(fp8[name])["args"], flag) == value
    plain = components(build_dgd(request, agg_plan(), planner_config=None))
    assert flag not in container(plain[name])["args"]


def test_chunking_can_be_off(request_of, agg_plan):
    plan = agg_plan(chunked_prefill=False)
    vllm = components(build_dgd(request_of(), plan, planner_config=None))["worker"]
    assert "--no-enable-chunked-prefill" in container(vllm)["args"]
    request = request_of({"spec.backend": "sglang"})
    sglang = components(build_dgd(request, plan, planner_config=None))["decode"]
    assert after(container(sglang)["args"], "--chunked-prefill-size") == "-1"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("consent", [True, False])
def test_remote_code_is_trusted_by_vllm_and_sglang_workers_only(
    request_of, disagg_plan, backend, consent
):
    request = request_of({"spec.backend": backend, "spec.overrides.trustRemoteCode": consent})
    parts = components(build_dgd(request, disagg_plan(), planner_config={}))
    for name in ("prefill", "decode"):
        expected = 1 if consent and backend != "trtllm" else 0
        assert container(parts[name])["args"].count("--trust-remote-code") == expected
    assert "--trust-remote-code" not in container(parts["Planner"])["args"]


@pytest.mark.parametrize(
    ("tp", "per_node", "nodes", "gpus"),
    [(8, 8, None, "8"), (16, 8, 2, "8"), (16, 4, 4, "4"), (12, 8, 2, "8"), (4, None, None, "4")],
)
def test_instances_larger_than_a_node_span_several(request_of, agg_plan, tp, per_node, nodes, gpus):
    request = request_of({"spec.hardware.numGpusPerNode": per_node})
    plan = agg_plan(tp=tp, replicas=1)
    worker = components(build_dgd(request, plan, planner_config=None))["worker"]
    assert worker.get("multinode") == (None if nodes is None else {"nodeCount": nodes})
    assert container(worker)["resources"]["limits"] == {"nvidia.com/gpu": gpus}


@pytest.mark.parametrize(
    ("backend", "engine_type"), [("vllm", "vllm"), ("sglang", "sglang"), ("trtllm", None)]
)
def test_mocker_workers_take_no_gpu(request_of, disagg_plan, backend, engine_type):
    request = request_of({"spec.backend": backend, "spec.features.mocker.enabled": True})
    documents = build_dgd(request, disagg_plan(), planner_config=None)
    parts = components(documents)
    assert documents[-1]["metadata"]["name"] == "mocker-disagg"
    assert list(parts) == ["Frontend", "prefill", "decode"]
    for name in ("prefill", "decode"):
        main = container(parts[name])
        assert main["command"] == ["python3", "-m", "dynamo.mocker"]
        assert main["image"] == "registry.example:5000/team/dynamo-planner:1.2.1"
        assert "resources" not in main
        args = main["args"]
        assert after(args, "--model-path") == MODEL
        assert after(args, "--model-name") == MODEL
        assert after(args, "--speedup-ratio") == "1.0"
        assert after(args, "--disaggregation-mode") == name
        assert after(args, "--num-gpu-blocks-override") == "777"
        assert after(args, "--block-size") == "32"
        assert "--kv-transfer-config" not in args
        if engine_type is None:
            assert "--engine-type" not in args
        else:
            assert after(args, "--engine-type") == engine_type


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
    worker = components(documents)["decode"]
    assert documents[-1]["metadata"]["name"] == "mocker-agg"
    assert worker["type"] == "worker"
    assert after(container(worker)["args"], "--disaggregation-mode") == "agg"
