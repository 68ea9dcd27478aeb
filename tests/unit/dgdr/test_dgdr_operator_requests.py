"""The state machine of requests, in virtual time against an API in memory."""

from __future__ import annotations

import json

import pytest
import yaml
from dgdr_operator_world import GRAPH, NAMESPACE, SIDE, World

from dgdr.operator.api import ApiError
from dgdr.operator.resources import CONFIG_MAPS, GRAPHS, JOBS, REQUESTS
from dgdr.reconcile.actions import Ref


@pytest.fixture
def world():
    return World()


def test_from_request_to_deployment(world):
    world.submit("demo")
    world.settle()
    assert world.phase("demo") == "Profiling"
    assert world.status("demo")["profilingPhase"] == "Initializing"
    assert world.status("demo")["profilingJobName"] == "profile-demo"
    assert world.condition("demo", "Validation")[:2] == ("True", "ValidationPassed")
    seen = []
    for _ in range(4):
        world.run_jobs()
        world.settle()
        seen.append(world.condition("demo", "Profiling")[1])
    assert seen == ["Initializing", "SweepingPrefill", "SelectingConfig", "GeneratingDGD"]
    assert world.condition("demo", "Succeeded")[:2] == ("False", "Profiling")
    world.run_jobs()
    world.settle()
    assert world.phase("demo") == "Deploying"
    assert world.condition("demo", "DeploymentReady")[1] == "DeploymentInProgress"
    world.run_deployments()
    world.settle()
    status = world.status("demo")
    assert status["phase"] == "Deployed"
    assert status["dgdName"] == "demo-dgd"
    assert status["deploymentInfo"] == {"replicas": 1, "availableReplicas": 1}
    assert "profilingPhase" not in status
    assert status["observedGeneration"] == world.find(REQUESTS, "demo")["metadata"]["generation"]
    assert world.condition("demo", "Succeeded")[:2] == ("True", "Deployed")
    for reason in ("Initialized", "ProfilingJobCreated", "SpecGenerated", "DeploymentReady"):
        assert world.events().count(reason) == 1


def test_results_are_in_the_status(world):
    world.submit("demo", {"autoApply": False})
    world.play()
    assert world.phase("demo") == "Ready"
    assert world.find(GRAPHS, "demo-dgd") is None
    results = world.status("demo")["profilingResults"]
    selected = results["selectedConfig"]
    assert selected["metadata"]["name"] == "demo-dgd"
    assert selected["spec"] == GRAPH["spec"]
    assert [entry["label"] for entry in results["pareto"]] == ["agg tp1", "agg tp2"]
    assert results["pareto"][0]["config"] == selected
    assert results["pareto"][1]["metrics"] == {
        "ttftMs": 60.0,
        "itlMs": 7.0,
        "tokensPerSecondPerGpu": 400.0,
        "gpus": 2,
    }
    notes = world.find(REQUESTS, "demo")["metadata"]["annotations"]
    assert yaml.safe_load(notes["nvidia.com/generated-dgd-spec"]) == selected
    assert world.condition("demo", "Succeeded")[:2] == ("True", "SpecGenerated")
    assert world.status("demo")["dgdName"] == "demo-dgd"


def test_auto_apply_can_be_switched_on_when_ready(world):
    world.submit("demo", {"autoApply": False})
    world.play()
    world.edit("demo", {"autoApply": True})
    world.play()
    assert world.phase("demo") == "Deployed"
    assert world.api.created[f"Job/{NAMESPACE}/profile-demo"] == 1


@pytest.mark.parametrize("until", ["Profiling", "Ready", "Deploying", "Deployed"])
def test_late_changes_of_the_spec_are_rejected(world, until):
    world.submit("demo", {"autoApply": until != "Ready"})
    world.settle()
    if until != "Profiling":
        for _ in range(5):
            world.run_jobs()
            world.settle()
    if until == "Deployed":
        world.run_deployments()
        world.settle()
    assert world.phase("demo") == until
    before = world.status("demo")
    world.edit("demo", {"backend": "sglang"})
    world.settle()
    assert world.status("demo") == before
    assert world.events().count("SpecChangeRejected") == 1


def test_the_deployment_outlives_the_request(world):
    request = world.submit("demo")
    world.play()
    assert world.find(JOBS, "profile-demo") is not None
    world.api.delete(Ref.of(request), request["metadata"]["uid"])
    world.settle()
    assert world.find(JOBS, "profile-demo") is None
    assert world.find(CONFIG_MAPS, "dgdr-output-demo") is None
    graph = world.find(GRAPHS, "demo-dgd")
    assert graph["metadata"]["labels"] == {
        "dgdr.nvidia.com/name": "demo",
        "dgdr.nvidia.com/namespace": NAMESPACE,
    }
    side = world.find(CONFIG_MAPS, "planner-config-abcd")
    (reference,) = side["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["uid"]) == (graph["kind"], graph["metadata"]["uid"])


def test_a_deleted_deployment_is_not_made_again(world):
    world.submit("demo")
    world.play()
    graph = world.find(GRAPHS, "demo-dgd")
    world.api.delete(Ref.of(graph), graph["metadata"]["uid"])
    world.play()
    status = world.status("demo")
    assert (status["phase"], status["dgdName"]) == ("Failed", "")
    assert "deploymentInfo" not in status
    assert world.condition("demo", "DeploymentReady")[1] == "DeploymentDeleted"
    assert world.condition("demo", "Succeeded")[1] == "DeploymentDeleted"
    assert world.find(GRAPHS, "demo-dgd") is None


def test_a_deployment_deleted_early_is_not_made_again(world):
    world.submit("demo")
    world.settle()
    world.succeed("demo")
    world.settle()
    assert world.phase("demo") == "Deploying"
    graph = world.find(GRAPHS, "demo-dgd")
    world.api.delete(Ref.of(graph), graph["metadata"]["uid"])
    world.play()
    assert world.condition("demo", "Succeeded")[1] == "DeploymentDeleted"
    assert world.api.created[f"DynamoGraphDeployment/{NAMESPACE}/demo-dgd"] == 1


def test_a_deployment_can_degrade_and_recover(world):
    world.submit("demo")
    world.play()
    world.run_deployments("pending")
    world.settle()
    assert world.phase("demo") == "Deploying"
    assert "DeploymentDegraded" in world.events()
    world.run_deployments()
    world.settle()
    assert world.phase("demo") == "Deployed"


def test_a_deployment_of_somebody_else_is_left_alone(world):
    other = {**GRAPH, "metadata": {"name": "demo-dgd", "namespace": NAMESPACE}}
    world.api.create(other)
    world.submit("demo")
    world.play()
    assert world.phase("demo") == "Failed"
    assert "not created by this request" in world.condition("demo", "DeploymentReady")[2]
    assert world.find(GRAPHS, "demo-dgd")["metadata"].get("labels") is None


def test_a_deployment_of_an_earlier_request_is_a_conflict(world):
    for _ in range(2):
        request = world.submit("demo")
        world.play()
        last = world.phase("demo")
        world.api.delete(Ref.of(request), request["metadata"]["uid"])
        world.settle()
    assert last == "Failed"


def test_a_rejected_deployment(world):
    def refuse(verb, ref):
        if verb == "create" and ref.kind == "DynamoGraphDeployment":
            raise ApiError(422, "Invalid", "components: too many")

    world.api.before_write = refuse
    world.submit("demo")
    world.play()
    assert world.phase("demo") == "Failed"
    status, reason, message = world.condition("demo", "DeploymentReady")
    assert (status, reason) == ("False", "DeploymentRejected")
    assert "too many" in message


def test_an_api_in_trouble_is_asked_again(world):
    tries = []

    def busy(verb, ref):
        if verb == "create" and ref.kind in ("Job", "DynamoGraphDeployment"):
            tries.append(ref.kind)
            if len([kind for kind in tries if kind == ref.kind]) < 4:
                raise ApiError(503, "ServiceUnavailable", "later")

    world.api.before_write = busy
    world.submit("demo")
    world.play()
    assert world.phase("demo") == "Deployed"
    assert tries.count("Job") == 4
    assert "DeploymentCreationFailed" in world.events()


def test_a_refused_job_is_final(world):
    def refuse(verb, ref):
        if verb == "create" and ref.kind == "Job":
            raise ApiError(403, "Forbidden", "exceeded quota")

    world.api.before_write = refuse
    world.submit("demo")
    world.play()
    _, reason, message = world.condition("demo", "Profiling")
    assert (world.phase("demo"), reason) == ("Failed", "JobCreationFailed")
    assert "exceeded quota" in message
    assert world.condition("demo", "Succeeded")[2].startswith("Profiling failed: ")


def test_a_failed_profiling_keeps_its_phase(world):
    world.submit("demo-bad")
    world.play()
    assert world.phase("demo-bad") == "Failed"
    assert world.status("demo-bad")["profilingPhase"] == "SweepingPrefill"
    assert world.condition("demo-bad", "Profiling") == (
        "False",
        "SweepingPrefillFailed",
        "profiling failed: out of memory",
    )
    assert "ProfilingCheckFailed" in world.events()
    assert world.api.created[f"Job/{NAMESPACE}/profile-demo-bad"] == 1


def test_a_corrected_request_is_profiled_anew(world):
    world.submit("demo-bad")
    world.play()
    uid = world.find(JOBS, "profile-demo-bad")["metadata"]["uid"]
    world.edit("demo-bad", {"workload": {"isl": 1000, "osl": 100}})
    world.settle()
    assert world.phase("demo-bad") == "Profiling"
    assert world.find(JOBS, "profile-demo-bad")["metadata"]["uid"] != uid
    world.succeed("demo-bad")
    world.play()
    assert world.phase("demo-bad") == "Deployed"


def test_a_failed_job_says_where(world):
    world.submit("demo")
    world.settle()
    state = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "profile-demo-x",
            "namespace": NAMESPACE,
            "labels": {"nvidia.com/dgdr-name": "demo"},
        },
        "status": {"containerStatuses": [{"name": "profiler", "state": state}]},
    }
    world.api.create(pod)
    world.end_job("demo", "Failed", reason="BackoffLimitExceeded", message="limit reached")
    world.settle()
    assert world.condition("demo", "Profiling")[2] == (
        "profiling job failed: BackoffLimitExceeded: limit reached. Details: "
        "Pod: profile-demo-x, Container: profiler, ExitCode: 137, Reason: OOMKilled"
    )


def test_images_that_cannot_be_pulled(world):
    world.submit("demo")
    world.settle()
    state = {"waiting": {"reason": "ImagePullBackOff"}}
    status = {"containerStatuses": [{"name": "profiler", "image": "x:1", "state": state}]}
    labels = {"nvidia.com/dgdr-name": "demo"}
    metadata = {"name": "p", "namespace": NAMESPACE, "labels": labels}
    world.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})
    world.operator.queue.add(f"{NAMESPACE}/demo")
    world.settle()
    assert world.phase("demo") == "Profiling"
    assert "ImagePullFailed" in world.events()


def test_a_lost_job_does_not_hang(world):
    world.submit("demo")
    world.settle()
    job = world.find(JOBS, "profile-demo")
    world.api.delete(Ref.of(job), job["metadata"]["uid"])
    world.settle()
    assert world.phase("demo") == "Failed"
    assert world.condition("demo", "Profiling")[2] == "Job profile-demo is gone"


def test_a_complete_job_without_output_does_not_hang(world):
    world.submit("demo")
    world.settle()
    world.end_job("demo", "Complete")
    world.settle()
    assert world.phase("demo") == "Profiling"
    world.settle(horizon_s=200.0)
    assert world.phase("demo") == "Failed"
    assert world.condition("demo", "SpecGenerated")[1] == "GenerationFailed"


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([SIDE], "no DynamoGraphDeployment found in YAML content"),
        ([GRAPH, GRAPH], "several"),
        ([{**SIDE, "data": {"x": "y" * 260_000}}, GRAPH], "too large"),
    ],
)
def test_wrong_output(world, documents, words):
    world.submit("demo")
    world.settle()
    world.succeed("demo", documents=documents)
    world.settle()
    assert world.phase("demo") == "Failed"
    status, reason, message = world.condition("demo", "SpecGenerated")
    assert (status, reason) == ("False", "GenerationFailed")
    assert words in message


def test_an_unknown_phase_is_an_error(world):
    world.submit("demo")
    world.settle()
    world.report("demo", {"phase": "Guessing"})
    world.settle()
    assert world.phase("demo") == "Failed"
    assert "Guessing" in world.condition("demo", "Profiling")[2]


def test_a_deployment_of_the_older_version_is_created_as_the_newer(world):
    services = {"Frontend": {"componentType": "frontend", "replicas": 1}}
    old = {**GRAPH, "apiVersion": "nvidia.com/v1alpha1", "spec": {"services": services}}
    world.submit("demo")
    world.settle()
    world.succeed("demo", documents=[old])
    world.play()
    assert world.phase("demo") == "Deployed"
    graph = world.find(GRAPHS, "demo-dgd")
    assert graph["apiVersion"] == "nvidia.com/v1beta1"
    assert graph["spec"]["components"] == [{"name": "Frontend", "type": "frontend", "replicas": 1}]


def test_a_missed_sla_is_said(world):
    world.submit("demo", {"autoApply": False})
    world.settle()
    world.succeed("demo")
    point = {"label": "p", "pareto": True, "feasible": False, "reason": "TTFT 900 ms (target 500)"}
    world.report("demo", {"pareto.json": json.dumps({"picked": "p", "points": [point]})})
    world.settle()
    assert "SLA not met: TTFT 900 ms" in world.condition("demo", "SpecGenerated")[2]
    assert world.condition("demo", "Succeeded")[2].startswith("SLA not met")


def test_an_unknown_phase_in_the_status(world):
    request = world.submit("demo")
    world.api.patch(Ref.of(request), {"status": {"phase": "Dreaming"}}, status=True)
    world.settle()
    assert world.phase("demo") == "Failed"


def test_transition_times_change_with_the_truth_only(world):
    world.submit("demo")
    world.settle()

    def times():
        return {c["type"]: c["lastTransitionTime"] for c in world.status("demo")["conditions"]}

    first = times()
    world.clock.now_s += 100
    world.run_jobs()
    world.settle()
    assert times() == first
    world.clock.now_s += 100
    world.play()
    assert times()["Profiling"] > first["Profiling"]
    assert times()["Validation"] == first["Validation"]


def test_nothing_is_written_when_nothing_changes(world):
    world.submit("demo")
    world.play()
    version = world.api.version
    for _ in range(3):
        world.operator.queue.add(f"{NAMESPACE}/demo")
        world.settle()
    world.restart()
    world.settle()
    assert world.api.version == version
