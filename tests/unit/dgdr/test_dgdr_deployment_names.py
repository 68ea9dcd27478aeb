"""Names, refusals, cache, tolerations and the text of a deployment."""

from __future__ import annotations

import re

import pytest
import yaml
from dgdr_deployments import BACKENDS, after, components, container, env, pod

from contracts.errors import CombinedInputError, InfeasibleError, InputError
from contracts.plan import Role
from dgdr import build_dgd, derive_planner_config, dump_documents
from dgdr.deployment.images import sibling_image
from dgdr.deployment.names import name_length_problems, volume_name, worker_name, worker_type
from dgdr.enums import ServingBackend

MODEL = "acme/tiny-llm"


def test_the_cache_is_mounted_by_every_component(request_of, disagg_plan):
    request = request_of({"spec.modelCache": {"pvcName": "team.weights", "pvcModelPath": "hub/x"}})
    documents = build_dgd(request, disagg_plan(), planner_config={})
    parts = components(documents)
    assert list(parts) == ["Frontend", "prefill", "decode", "Planner"]
    for component in parts.values():
        claim = {"claimName": "team.weights"}
        assert {"name": "team-weights", "persistentVolumeClaim": claim} in pod(component)["volumes"]
        mount = {"name": "team-weights", "mountPath": "/opt/model-cache"}
        assert mount in container(component)["volumeMounts"]
        assert "HF_HOME" not in env(component)
    for name in ("prefill", "decode"):
        args = container(parts[name])["args"]
        assert after(args, "--model") == "/opt/model-cache/hub/x"
        assert after(args, "--served-model-name") == MODEL
    frontend = container(parts["Frontend"])["args"]
    assert frontend == ["--model-name", MODEL, "--model-path", "/opt/model-cache/hub/x"]


def test_a_cache_without_a_path_becomes_the_hugging_face_home(request_of, disagg_plan):
    request = request_of({"spec.modelCache": {"pvcName": "weights", "pvcMountPath": "/models"}})
    parts = components(build_dgd(request, disagg_plan(), planner_config=None))
    for component in parts.values():
        assert env(component)["HF_HOME"] == "/models"
    assert after(container(parts["decode"])["args"], "--model") == MODEL
    assert "args" not in container(parts["Frontend"])


def test_mockers_read_the_model_from_the_cache(request_of, agg_plan):
    request = request_of(
        {
            "spec.modelCache": {"pvcName": "weights", "pvcModelPath": "/opt/model-cache/x"},
            "spec.features.mocker.enabled": True,
        }
    )
    args = container(components(build_dgd(request, agg_plan(), planner_config=None))["decode"])[
        "args"
    ]
    assert after(args, "--model-path") == "/opt/model-cache/x"
    assert after(args, "--model-name") == MODEL


def test_no_volumes_without_a_cache(request_of, disagg_plan):
    text = dump_documents(build_dgd(request_of(), disagg_plan(), planner_config=None))
    assert "volume" not in text
    assert "HF_HOME" not in text


@pytest.mark.parametrize("enabled", [True, False])
def test_the_kv_router_is_set_on_the_frontend(request_of, agg_plan, enabled):
    request = request_of({"spec.features.kvRouter.enabled": enabled})
    parts = components(build_dgd(request, agg_plan(), planner_config=None))
    assert env(parts["Frontend"]) == ({"DYN_ROUTER_MODE": "kv"} if enabled else {})
    assert "DYN_ROUTER_MODE" not in env(parts["worker"])


def test_tolerations_and_runtime_version_reach_every_component(request_of, disagg_plan):
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    job = {"template": {"spec": {"containers": [], "tolerations": tolerations}}}
    request = request_of(
        {"spec.overrides.profilingJob": job, "spec.runtimeVersionOverride": "1.2.1"}
    )
    parts = components(build_dgd(request, disagg_plan(), planner_config={}))
    assert len(parts) == 4
    for component in parts.values():
        assert pod(component)["tolerations"] == tolerations
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
