"""Controllers and the node agent, with a clock that tests move and scripted processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness_cluster_kit import CRDS, WIDGETS, Kit, job, pod, running, widget, widget_definition

from harness.cluster.control.nodes import Inventory

JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path, inventory=Inventory(nodes=2, gpus_per_node=4)) as found:
        yield found


def states(kit: Kit) -> list[str]:
    return [found["status"]["phase"] for found in kit.pods()]


def conditions(obj: Any) -> dict[str, str]:
    return {c["type"]: c["status"] for c in obj["status"]["conditions"]}


def test_a_job_runs_to_completion(kit: Kit) -> None:
    kit.call("POST", JOBS, job("j"))
    kit.settle(0.5)
    found = kit.get("jobs.batch", "j")
    assert (found["status"]["active"], states(kit)) == (1, ["Running"])
    command = kit.runner.commands["1-0"]
    assert list(command.argv) == ["work"]
    assert command.env["KUBECONFIG"].endswith("kubeconfig")
    kit.runner.end("1-0")
    kit.settle(0.5)
    found = kit.get("jobs.batch", "j")
    assert conditions(found) == {"SuccessCriteriaMet": "True", "Complete": "True"}
    assert (found["status"]["succeeded"], states(kit)) == (1, ["Succeeded"])
    assert found["spec"]["selector"]["matchLabels"]
    state = kit.pods()[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (0, "Completed")


def test_a_failing_job_is_tried_again_with_growing_waits(kit: Kit) -> None:
    kit.call("POST", JOBS, job("j", backoffLimit=2))
    for number in (1, 2, 3):
        kit.settle(4.5)
        assert len(kit.runner.commands) == number
        kit.runner.end(f"{number}-0", 3)
    kit.settle(1)
    found = kit.get("jobs.batch", "j")
    assert conditions(found)["Failed"] == "True"
    assert (found["status"]["failed"], states(kit)) == (3, ["Failed"] * 3)


def test_on_failure_restarts_in_place(kit: Kit) -> None:
    kit.call("POST", JOBS, job("j", restart="OnFailure"))
    kit.settle(0.5)
    kit.runner.end("1-0", 1)
    kit.settle(0.5)
    waiting = kit.pods()[0]["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    kit.settle(1)
    status = kit.pods()[0]["status"]["containerStatuses"][0]
    assert (status["restartCount"], "running" in status["state"]) == (1, True)
    assert status["lastState"]["terminated"]["exitCode"] == 1
    kit.runner.end("2-0")
    kit.settle(0.5)
    assert conditions(kit.get("jobs.batch", "j"))["Complete"] == "True"


def test_parallel_completions_deadline_suspend_and_lifetime(kit: Kit) -> None:
    kit.call("POST", JOBS, job("j", completions=3, parallelism=2, ttlSecondsAfterFinished=5))
    kit.settle(0.5)
    assert len(kit.runner.running) == 2
    for handle in ("1-0", "2-0"):
        kit.runner.end(handle)
    kit.settle(0.5)
    kit.runner.end("3-0")
    kit.settle(0.5)
    assert kit.get("jobs.batch", "j")["status"]["succeeded"] == 3
    kit.settle(6)
    assert kit.get("jobs.batch", "j") is None
    assert kit.pods() == []
    kit.call("POST", JOBS, job("late", activeDeadlineSeconds=2))
    kit.settle(3)
    failed = kit.get("jobs.batch", "late")["status"]["conditions"]
    assert {c["reason"] for c in failed} == {"DeadlineExceeded"}
    kit.call("POST", JOBS, job("held", suspend=True))
    kit.settle(1)
    assert conditions(kit.get("jobs.batch", "held")) == {"Suspended": "True"}
    kit.call("PATCH", f"{JOBS}/held", {"spec": {"suspend": False}}, kind=MERGE)
    kit.settle(1)
    assert kit.get("jobs.batch", "held")["status"]["active"] == 1


def test_the_scheduler_counts_gpus(kit: Kit) -> None:
    for name, gpus in (("a", 3), ("b", 3), ("c", 2)):
        kit.call("POST", PODS, pod(name, gpus=gpus))
    kit.settle(0.5)
    nodes = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in kit.pods()}
    assert {nodes["a"], nodes["b"]} == {"node-0", "node-1"}
    assert nodes["c"] is None
    found = kit.get("pods", "c")["status"]["conditions"][0]
    assert found["message"] == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    events = kit.cluster.store.list("events", "default")
    assert any(event["reason"] == "FailedScheduling" for event in events)
    kit.runner.end("1-0")
    kit.settle(0.5)
    assert kit.get("pods", "c")["spec"]["nodeName"] == nodes["a"]


def test_selectors_and_taints(kit: Kit) -> None:
    taints = {"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}
    kit.call("PATCH", "/api/v1/nodes/node-0", taints, kind=MERGE)
    only = {"kubernetes.io/hostname": "node-0"}
    kit.call("POST", PODS, pod("no", nodeSelector=only))
    tolerations = [{"key": "k", "operator": "Exists"}]
    kit.call("POST", PODS, pod("yes", nodeSelector=only, tolerations=tolerations))
    kit.call("POST", PODS, pod("free"))
    kit.settle(0.5)
    nodes = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in kit.pods()}
    assert nodes == {"no": None, "yes": "node-0", "free": "node-1"}
    message = kit.get("pods", "no")["status"]["conditions"][0]["message"]
    assert "untolerated taint {k: v}" in message
    assert "didn't match Pod's node affinity/selector" in message


def deployment(name: str, replicas: int, word: str = "one") -> dict[str, Any]:
    container = {"name": "main", "image": "x", "command": [word]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def test_a_deployment_scales_and_rolls(kit: Kit) -> None:
    kit.call("POST", DEPLOYMENTS, deployment("web", 3))
    kit.settle(1)
    found = kit.get("deployments.apps", "web")
    assert (found["status"]["availableReplicas"], conditions(found)["Available"]) == (3, "True")
    scale = kit.call("GET", f"{DEPLOYMENTS}/web/scale").json
    assert scale["status"] == {"replicas": 3, "selector": "app=web"}
    scale["spec"]["replicas"] = 2
    kit.call("PUT", f"{DEPLOYMENTS}/web/scale", scale)
    kit.settle(3)
    assert len(kit.pods()) == 2
    kit.call("PUT", f"{DEPLOYMENTS}/web", deployment("web", 2, "two"))
    kit.settle(6)
    running_now = {tuple(kit.runner.commands[handle].argv) for handle in kit.runner.running}
    assert running_now == {("two",)}
    found = kit.get("deployments.apps", "web")
    assert found["status"]["updatedReplicas"] == 2
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    kit.runner.end(kit.runner.running[0], 1)
    kit.settle(3)
    assert len(kit.runner.running) == 2
    kit.call("DELETE", f"{DEPLOYMENTS}/web")
    kit.settle(3)
    assert kit.pods() == []
    assert kit.cluster.store.list("replicasets.apps") == []


def test_deleting_a_pod_asks_then_kills(kit: Kit) -> None:
    kit.call("POST", PODS, pod("p", terminationGracePeriodSeconds=5))
    kit.settle(0.5)
    kit.runner.signal = lambda handle, number: kit.runner.signals.append((handle, number))  # type: ignore[method-assign]
    found = kit.call("DELETE", f"{PODS}/p").json
    assert found["metadata"]["deletionGracePeriodSeconds"] == 5
    kit.settle(1)
    assert kit.runner.signals == [("1-0", signal.SIGTERM)]
    assert kit.get("pods", "p") is not None
    kit.settle(5)
    assert kit.runner.signals[-1] == ("1-0", signal.SIGKILL)
    kit.runner.end("1-0", 137)
    kit.settle(0.5)
    assert kit.get("pods", "p") is None


def test_init_containers_go_first(kit: Kit) -> None:
    first = {"name": "init", "image": "x", "command": ["first"]}
    kit.call("POST", PODS, pod("p", initContainers=[first]))
    kit.settle(0.5)
    assert [list(c.argv) for c in kit.runner.commands.values()] == [["first"]]
    kit.runner.end("1-0")
    kit.settle(0.5)
    assert list(kit.runner.commands["2-0"].argv) == ["work"]
    assert conditions(kit.get("pods", "p"))["Initialized"] == "True"


def test_volumes_variables_and_images(kit: Kit) -> None:
    base = "/api/v1/namespaces/default"
    kit.call("POST", f"{base}/configmaps", {"metadata": {"name": "c"}, "data": {"f.txt": "text"}})
    container = {
        "name": "main",
        "image": "registry/dynamo-planner:1.0",
        "args": ["--config", "/etc/c/f.txt", "--node", "$(NODE)"],
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "f.txt"}}},
        ],
        "volumeMounts": [{"name": "v", "mountPath": "/etc/c"}],
    }
    volumes = [{"name": "v", "configMap": {"name": "c"}}]
    kit.call("POST", PODS, pod("p", containers=[container], volumes=volumes))
    container["env"].append(
        {"name": "GPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.nvidia.com/gpu"}}}
    )
    container["resources"] = {"limits": {"nvidia.com/gpu": 1}}
    renamed = {"name": "c", "items": [{"key": "f.txt", "path": "deep/g.txt"}]}
    moved = {**container, "args": ["--config", "/etc/c/deep/g.txt"]}
    missing = [{"name": "v", "configMap": {"name": "none"}}]
    kit.call("POST", PODS, pod("q", containers=[container], volumes=missing))
    strange = [{"name": "v", "nfs": {"server": "s", "path": "/"}}]
    kit.call("POST", PODS, pod("s", containers=[container], volumes=strange))
    kit.call(
        "POST", PODS, pod("t", containers=[moved], volumes=[{"name": "v", "configMap": renamed}])
    )
    kit.call("POST", PODS, pod("r", containers=[{"name": "m", "image": "unknown"}]))
    kit.settle(0.5)
    command = kit.runner.commands["1-0"]
    assert list(command.argv)[1:4] == ["-m", "profiler", "--config"]
    assert Path(command.argv[4]).read_text() == "text"
    assert list(command.argv)[5:] == ["--node", "node-0"]
    assert command.env["F"] == "text"
    assert Path(kit.runner.commands["2-0"].argv[4]).read_text() == "text"
    assert kit.runner.commands["2-0"].env["GPUS"] == "1"
    for name, reason in (
        ("q", "CreateContainerConfigError"),
        ("s", "CreateContainerConfigError"),
        ("r", "ErrImagePull"),
    ):
        waiting = kit.get("pods", name)["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == reason


def owned(name: str, owner: Any, block: bool = True) -> dict[str, Any]:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": block,
    }
    metadata = {"name": name, "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_dependents_follow_their_owner(kit: Kit, policy: str) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    kit.call("POST", CRDS, widget_definition())
    owner = kit.call("POST", WIDGETS, widget("w")).json
    child = kit.call("POST", maps, owned("child", owner)).json
    kit.call("POST", maps, owned("grandchild", child))
    kit.settle()
    kit.call("DELETE", f"{WIDGETS}/w", propagationPolicy=policy)
    kit.settle()
    assert kit.call("GET", f"{WIDGETS}/w").code == 404
    left = kit.get("configmaps", "child")
    if policy == "Orphan":
        assert "ownerReferences" not in left["metadata"]
    else:
        assert left is None
        assert kit.get("configmaps", "grandchild") is None


def test_foreground_waits_for_dependents(kit: Kit) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    kit.call("POST", CRDS, widget_definition())
    owner = kit.call("POST", WIDGETS, widget("w")).json
    child = owned("child", owner)
    child["metadata"]["finalizers"] = ["x/y"]
    kit.call("POST", maps, child)
    kit.call("DELETE", f"{WIDGETS}/w", {"propagationPolicy": "Foreground"})
    kit.settle(1)
    found = kit.call("GET", f"{WIDGETS}/w").json
    assert found["metadata"]["finalizers"] == ["foregroundDeletion"]
    kit.call("PATCH", f"{maps}/child", {"metadata": {"finalizers": None}}, kind=MERGE)
    kit.settle(1)
    assert kit.call("GET", f"{WIDGETS}/w").code == 404


def test_a_namespace_is_emptied(kit: Kit) -> None:
    kit.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    kit.settle()
    assert kit.get("serviceaccounts", "default", "n") is not None
    kit.call("POST", "/api/v1/namespaces/n/pods", pod("p"))
    kit.settle(0.5)
    found = kit.call("DELETE", "/api/v1/namespaces/n").json
    assert found["status"]["phase"] == "Terminating"
    late = kit.call("POST", "/api/v1/namespaces/n/configmaps", {"metadata": {"name": "c"}})
    assert (late.code, late.json["details"]["causes"][0]["reason"]) == (
        403,
        "NamespaceTerminating",
    )
    kit.settle(2)
    assert kit.get("namespaces", "n", "") is None
    assert kit.runner.running == []
    assert kit.call("DELETE", "/api/v1/namespaces/default").code == 403


def test_services_lead_to_ready_pods(kit: Kit) -> None:
    kit.call("POST", PODS, pod("a"))
    spec = {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": 8000}]}
    body = {"metadata": {"name": "s"}, "spec": spec}
    found = kit.call("POST", "/api/v1/namespaces/default/services", body).json
    assert found["spec"]["clusterIP"]
    kit.settle(0.5)
    address = kit.get("pods", "a")["status"]["podIP"]
    subset = kit.get("endpoints", "s")["subsets"][0]
    assert [item["ip"] for item in subset["addresses"]] == [address]
    assert kit.cluster.services.resolve("default", "s", "80") == (address, 8000)
    kit.runner.end("1-0")
    kit.settle(0.5)
    assert kit.cluster.services.resolve("default", "s", "") is None


def test_a_restart_finds_its_processes(tmp_path: Path) -> None:
    with running(tmp_path, durable=True) as kit:
        kit.call("POST", JOBS, job("j"))
        kit.settle(0.5)
        commands = kit.runner.commands
        with running(tmp_path, durable=True) as again:  # as after kill -9
            again.runner.commands = commands
            again.settle(0.5)
            assert len(again.runner.commands) == 1
            again.runner.end("1-0", 0)
            again.settle(0.5)
            assert conditions(again.get("jobs.batch", "j"))["Complete"] == "True"


def test_a_lost_node_loses_its_pods(kit: Kit) -> None:
    kit.call("POST", DEPLOYMENTS, deployment("web", 1))
    kit.settle(1)
    assert kit.pods()[0]["spec"]["nodeName"] == "node-0"
    fault = kit.call("POST", "/harness/faults", {"kind": "node-loss", "name": "node-0"}).json
    kit.settle(1)
    node = kit.get("nodes", "node-0", "")
    assert conditions(node)["Ready"] == "Unknown"
    assert kit.runner.running == []
    assert conditions(kit.pods()[0])["Ready"] == "False"
    kit.settle(31)
    assert [p["spec"]["nodeName"] for p in kit.pods()] == ["node-1"]
    kit.call("DELETE", f"/harness/faults/{fault['id']}")
    kit.settle(1)
    node = kit.get("nodes", "node-0", "")
    assert (conditions(node)["Ready"], node["spec"].get("taints")) == ("True", None)


def test_image_pull_failure_and_slow_start(kit: Kit) -> None:
    fault = kit.call("POST", "/harness/faults", {"kind": "image-pull", "name": "x"}).json
    kit.call("POST", PODS, pod("p"))
    kit.settle(0.5)
    waiting = kit.get("pods", "p")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "ErrImagePull"
    kit.settle(2)
    waiting = kit.get("pods", "p")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "ImagePullBackOff"
    kit.call("DELETE", f"/harness/faults/{fault['id']}")
    kit.call("POST", "/harness/faults", {"kind": "slow-start", "ms": 3000})
    kit.settle(3)
    assert kit.runner.running == []
    kit.settle(5)
    assert len(kit.runner.running) == 1
