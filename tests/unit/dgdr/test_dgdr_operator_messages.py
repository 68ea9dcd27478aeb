"""What kubectl get and describe say about a request, in virtual time."""

from __future__ import annotations

import pytest
from dgdr_operator_world import NAMESPACE, World

from dgdr.operator.resources import GRAPHS
from dgdr.reconcile.actions import Ref
from dgdr.reconcile.admission import VALIDATE_PATH, review_admission
from dgdr.reconcile.settings import OperatorSettings

DRAFT = {"backend": "any", "enableAutoScaling": True}


@pytest.fixture
def world():
    return World()


def test_the_column_follows_the_profiler(world):
    world.submit("demo")
    world.settle()
    seen = []
    for _ in range(3):
        world.run_jobs()
        world.settle()
        seen.append(world.condition("demo", "Succeeded"))
    assert seen == [("False", "Profiling", f"step {at}") for at in range(3)]


def test_the_column_says_what_a_deployment_waits_for(world):
    world.submit("demo")
    for _ in range(5):
        world.settle()
        world.run_jobs()
    world.settle()
    waits = "DGD demo-dgd is in initializing state"
    assert world.condition("demo", "Succeeded") == ("False", "Deploying", waits)
    graph = world.find(GRAPHS, "demo-dgd")
    ready = {"type": "Ready", "status": "False", "message": "resources not ready: [worker]"}
    status = {"state": "pending", "conditions": [ready]}
    world.api.patch(Ref.of(graph), {"status": status}, status=True)
    world.settle()
    waits = "DGD demo-dgd is in pending state"
    assert world.condition("demo", "DeploymentReady")[1:] == ("DeploymentInProgress", waits)
    assert world.condition("demo", "Succeeded")[2] == f"{waits}: resources not ready: [worker]"


def test_a_failure_is_named_once(world):
    world.submit("demo-bad")
    world.play()
    assert world.condition("demo-bad", "Succeeded")[2] == "Profiling failed: out of memory"


def test_a_long_reason_does_not_fill_the_screen(world):
    world.submit("demo")
    world.settle()
    why = "; ".join(f"candidate {number} does not fit" for number in range(60))
    world.report("demo", {"profiler_status": "failed", "profiler_error": why})
    world.settle()
    assert world.condition("demo", "Profiling")[2] == f"profiling failed: {why}"
    told = world.condition("demo", "Succeeded")[2]
    assert told.startswith("Profiling failed: candidate 0 does not fit; ")
    assert told.endswith("... (all of it: condition Profiling)")
    assert len(told) < 400


def test_draft_spellings_are_warned_about_where_users_look(world):
    world.submit("demo", DRAFT)
    world.settle()
    told = [
        item["message"]
        for (kind, *_), item in world.api.objects.items()
        if kind == "Event" and item["type"] == "Warning"
    ]
    assert told == [
        "spec.backend: any is a draft spelling, read as spec.backend: auto",
        "spec.enableAutoScaling is a draft spelling, read as spec.features.planner",
    ]


def test_a_setting_that_is_nearly_known_is_warned_about():
    planner = {"max_gpu_budgt": 3, "some_setting_of_another_version": 1}
    data = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "demo", "namespace": NAMESPACE},
        "spec": {"model": "m", "image": "i", "features": {"planner": planner}},
    }
    review = {"kind": "AdmissionReview", "request": {"uid": "u", "object": data}}
    answer = review_admission(review, VALIDATE_PATH, OperatorSettings())["response"]
    assert answer["allowed"]
    assert answer["warnings"] == [
        "spec.features.planner.max_gpu_budgt is not known here and passed on as it is; "
        "did you mean 'max_gpu_budget'?"
    ]
