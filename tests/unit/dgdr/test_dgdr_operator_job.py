"""The profiling Job: what it runs, with which rights, and what a request may change."""

from __future__ import annotations

import json

import pytest

from contracts.errors import InputError
from dgdr import load_dgdr
from dgdr.reconcile.job import profiling_job
from dgdr.reconcile.settings import OperatorSettings

SETTINGS = OperatorSettings(default_image="reg/default:1")


@pytest.fixture
def job_of(raw):
    """The Job of a request with values set at dotted paths."""

    def make(changes=None, settings=SETTINGS):
        request = raw(changes)
        request["metadata"] |= {"namespace": "team-a", "uid": "u1", "generation": 3}
        return profiling_job(request, settings)

    return make


def _containers(job):
    return {c["name"]: c for c in job["spec"]["template"]["spec"]["containers"]}


def _pod(job):
    return job["spec"]["template"]["spec"]


def _override(**spec):
    return {"spec.overrides.profilingJob": {"template": {"spec": {"containers": [], **spec}}}}


def test_identity(job_of):
    job = job_of()
    metadata = job["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("profile-demo", "team-a")
    labels = {"app": "dynamo-profiler", "dgdr": "demo", "nvidia.com/managed-by": "dynamo-operator"}
    assert labels.items() <= metadata["labels"].items()
    (owner,) = metadata["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("u1", True)
    pod_labels = job["spec"]["template"]["metadata"]["labels"]
    assert pod_labels["nvidia.com/dgdr-name"] == "demo"
    assert pod_labels["job-name"] == "profile-demo"
    assert job_of() == job, "equal requests give equal Jobs"


def test_the_profiler_reads_the_request(job_of, raw):
    profiler = _containers(job_of({"spec.sla": {"ttft": 300.0}}))["profiler"]
    assert profiler["command"] == ["python", "-m", "profiler"]
    assert profiler["args"][0::2] == ["--config", "--output-dir"]
    request = load_dgdr(profiler["args"][1], source="--config")
    assert request.metadata.namespace == "team-a"
    assert request.spec.sla.ttft_ms == 300.0
    assert profiler["workingDir"] == "/workspace"
    env = {entry["name"]: entry for entry in profiler["env"]}
    reference = env["HUGGING_FACE_HUB_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == ("hf-token-secret", "HF_TOKEN")
    assert {env[f"DGDR_{k}"]["value"] for k in ("NAME", "NAMESPACE", "UID")} == {
        *("demo", "team-a", "u1")
    }


@pytest.mark.parametrize(
    ("key", "value", "options"),
    [
        ("when-infeasible", "fail", ["--when-infeasible", "fail"]),
        ("when-infeasible", "closest", ["--when-infeasible", "closest"]),
        ("allow-quantization", "true", ["--allow-quantization"]),
        ("allow-quantization", "false", ["--no-quantization"]),
        ("router", "round_robin", ["--router", "round_robin"]),
        ("seed", "7", ["--seed", "7"]),
        ("startup-s", "2.5", ["--startup-s", "2.5"]),
    ],
)
def test_annotations_become_options_of_the_profiler(job_of, key, value, options):
    job = job_of({"metadata.annotations": {f"rehearsal.dgdr/{key}": value}})
    assert _containers(job)["profiler"]["args"][4:] == options
    with pytest.raises(InputError, match=rf"{key}.*got maybe"):
        job_of({"metadata.annotations": {f"rehearsal.dgdr/{key}": "maybe"}})


def test_failures_are_not_repeated_but_lost_nodes_are(job_of):
    spec = job_of()["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert rule["onPodConditions"][0]["type"] == "DisruptionTarget"


def test_profiling_time_is_limited(job_of):
    assert job_of()["spec"]["activeDeadlineSeconds"] == 3600
    thorough = job_of({"spec.searchStrategy": "thorough"})
    assert thorough["spec"]["activeDeadlineSeconds"] == 8 * 3600


def test_nothing_runs_as_root(job_of):
    job = job_of()
    context = _pod(job)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert [context[k] for k in ("runAsUser", "runAsGroup", "fsGroup")] == [1000] * 3
    assert _pod(job)["serviceAccountName"] == "dgdr-profiling-job"
    assert _pod(job)["imagePullSecrets"] == [{"name": "nvcr-imagepullsecret"}]
    for container in _containers(job).values():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_copier_sees_the_output_only(job_of):
    copier = _containers(job_of())["output-copier"]
    (mount,) = copier["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/data", True)
    assert copier["command"] == ["python", "-m", "dgdr.operator.output"]


def test_images(job_of):
    images = {c["image"] for c in _containers(job_of()).values()}
    assert images == {"registry.example:5000/team/dynamo-planner:1.2.1"}
    assert _containers(job_of({"spec.image": None}))["profiler"]["image"] == "reg/default:1"
    own = OperatorSettings(profiler_image="mine:1", copier_image="mine:2")
    containers = _containers(job_of(settings=own))
    assert (containers["profiler"]["image"], containers["output-copier"]["image"]) == (
        *("mine:1", "mine:2"),
    )
    with pytest.raises(InputError, match=r"spec\.image is required but not set"):
        job_of({"spec.image": None}, OperatorSettings())


def test_the_model_cache_is_mounted_read_only(job_of):
    job = job_of({"spec.modelCache": {"pvcName": "models", "pvcMountPath": "/mnt/m"}})
    (volume,) = [v for v in _pod(job)["volumes"] if v["name"] == "model-cache"]
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    (mount,) = [
        m for m in _containers(job)["profiler"]["volumeMounts"] if m["name"] == "model-cache"
    ]
    assert (mount["mountPath"], mount["readOnly"]) == ("/mnt/m", True)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ({}, "/mnt/m"),
        ({"pvcModelPath": "a/b"}, "/mnt/m/a/b"),
        ({"pvcModelPath": "/mnt/m/c"}, "/mnt/m/c"),
    ],
)
def test_the_profiler_knows_where_the_model_is(job_of, path, place):
    cache = {"pvcName": "models", "pvcMountPath": "/mnt/m", **path}
    env = _containers(job_of({"spec.modelCache": cache}))["profiler"]["env"]
    assert {"name": "DGDR_MODEL_CACHE", "value": place} in env
    plain = _containers(job_of())["profiler"]["env"]
    assert "DGDR_MODEL_CACHE" not in {entry["name"] for entry in plain}


def test_what_older_requests_parked(job_of):
    notes = {
        "nvidia.com/dgdr-output-pvc": json.dumps("results"),
        "nvidia.com/dgdr-config-map-ref": json.dumps({"name": "base"}),
    }
    job = job_of({"metadata.annotations": notes})
    volumes = {v["name"]: v for v in _pod(job)["volumes"]}
    output = volumes["profiling-output"]
    assert output["persistentVolumeClaim"] == {"claimName": "results"}
    assert volumes["profiling-config"]["configMap"] == {"name": "base"}
    mounts = {m["name"]: m["mountPath"] for m in _containers(job)["profiler"]["volumeMounts"]}
    assert mounts["profiling-config"] == "/config"


def test_fields_that_may_be_replaced(job_of):
    override = {
        "backoffLimit": 2,
        "ttlSecondsAfterFinished": 60,
        "selector": {"ignored": True},
        "template": {
            "metadata": {"labels": {"team": "x", "app": "y"}, "annotations": {"a": "b"}},
            "spec": {
                "containers": [],
                "tolerations": [{"operator": "Exists"}],
                "nodeSelector": {"pool": "cpu"},
                "serviceAccountName": "mine",
                "imagePullSecrets": [{"name": "nvcr-imagepullsecret"}, {"name": "more"}],
                "securityContext": {"runAsUser": 2000},
                "volumes": [{"name": "extra", "emptyDir": {}}],
                "initContainers": [{"name": "first", "image": "i"}],
                "hostNetwork": True,
                "restartPolicy": "Always",
            },
        },
    }
    job = job_of({"spec.overrides.profilingJob": override})
    spec, pod = job["spec"], _pod(job)
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (2, 60)
    assert "selector" not in spec
    labels = spec["template"]["metadata"]["labels"]
    assert (labels["team"], labels["app"]) == ("x", "dynamo-profiler")
    assert spec["template"]["metadata"]["annotations"] == {"a": "b"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["serviceAccountName"] == "mine"
    assert [s["name"] for s in pod["imagePullSecrets"]] == ["nvcr-imagepullsecret", "more"]
    assert pod["securityContext"]["runAsUser"] == 2000
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert [v["name"] for v in pod["volumes"]] == ["profiling-output", "extra"]
    assert pod["initContainers"] == [{"name": "first", "image": "i"}]
    assert "hostNetwork" not in pod
    assert pod["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", [{"name": "profiler"}, {}])
def test_the_profiler_container(job_of, name):
    change = {
        **name,
        "image": "other:2",
        "resources": {"limits": {"cpu": "8"}},
        "env": [{"name": "A", "value": "1"}, {"name": "DGDR_NAME", "value": "x"}],
        "envFrom": [{"secretRef": {"name": "s"}}],
        "volumeMounts": [{"name": "extra", "mountPath": "/x"}],
        "command": ["sh"],
    }
    profiler = _containers(job_of(_override(containers=[change])))["profiler"]
    assert profiler["image"] == "other:2"
    assert profiler["resources"] == {"limits": {"cpu": "8"}}
    env = {entry["name"]: entry.get("value") for entry in profiler["env"]}
    assert (env["A"], env["DGDR_NAME"]) == ("1", "x")
    assert profiler["envFrom"] == [{"secretRef": {"name": "s"}}]
    assert [m["name"] for m in profiler["volumeMounts"]] == ["profiling-output", "extra"]
    assert profiler["command"][0] == "python"


def test_the_copier_takes_image_and_resources_only(job_of):
    change = {
        "name": "output-copier",
        "image": "copier:2",
        "resources": {"limits": {"cpu": "1"}},
        "env": [{"name": "A", "value": "1"}],
    }
    unknown = {"name": "sidecar", "image": "x"}
    containers = _containers(job_of(_override(containers=[change, unknown])))
    assert set(containers) == {"profiler", "output-copier"}
    copier = containers["output-copier"]
    assert copier["image"] == "copier:2"
    assert copier["resources"] == {"limits": {"cpu": "1"}}
    assert "A" not in {entry["name"] for entry in copier["env"]}


def test_a_token_for_the_copier_alone(job_of):
    job = job_of(_override(automountServiceAccountToken=False))
    assert _pod(job)["automountServiceAccountToken"] is False
    containers = _containers(job)
    names = {name: {m["name"] for m in c["volumeMounts"]} for name, c in containers.items()}
    assert "copier-token" in names["output-copier"]
    assert "copier-token" not in names["profiler"]
