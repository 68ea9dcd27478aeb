"""The manifests: they parse, refer to what is there, and grant what the operator uses."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dgdr_fake_api import FakeApi
from dgdr_operator_world import World
from test_dgdr_operator_graphs import Cluster

from dgdr.crds.manifests import WEBHOOK_NAMESPACE, WEBHOOK_SERVICE
from dgdr.operator.__main__ import _parser
from dgdr.operator.election import LeaderElector, LeaseSettings
from dgdr.operator.resources import _PLURALS, GRAPHS, REQUESTS
from dgdr.operator.settings import environment
from dgdr.reconcile.actions import Ref
from dgdr.reconcile.names import JOB_ACCOUNT
from dgdr.reconcile.workloads import ACCOUNTS

DEPLOY = Path(__file__).parents[3] / "deploy"
FOLDERS = ("base", "namespaced")


def _documents(folder: str) -> list[dict[str, Any]]:
    """All objects of a kustomization, its bases included."""
    root = DEPLOY / folder
    found = []
    for entry in yaml.safe_load((root / "kustomization.yaml").read_text())["resources"]:
        path = (root / entry).resolve()
        if path.is_dir():
            found += _documents(str(path.relative_to(DEPLOY)))
        else:
            found += list(yaml.safe_load_all(path.read_text()))
    return found


def _of(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    return {d["metadata"]["name"]: d for d in _documents(folder) if d["kind"] == kind}


def _operator(folder: str) -> dict[str, Any]:
    return _of(folder, "Deployment")["dgdr-operator"]


def test_every_file_parses_and_is_used():
    used = set()
    for path in DEPLOY.rglob("kustomization.yaml"):
        for entry in yaml.safe_load(path.read_text())["resources"]:
            assert (path.parent / entry).exists(), f"{path}: {entry}"
            used.add((path.parent / entry).resolve())
    for path in DEPLOY.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            assert document["apiVersion"]
            assert document["kind"]
        elsewhere = path.name == "kustomization.yaml" or path.parent.name == "kind"
        assert elsewhere or path.resolve() in used, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_references_between_objects(folder):
    documents = _documents(folder)
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
    assert len(set(names)) == len(names)
    roles = {(d["kind"], d["metadata"]["name"]) for d in documents + _documents("base")}
    for document in documents:
        if document["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        assert (document["roleRef"]["kind"], document["roleRef"]["name"]) in roles
        for subject in document["subjects"]:
            assert ("ServiceAccount", subject["namespace"], subject["name"]) in names
    pod = _operator(folder)["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert _operator(folder)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    namespace = _operator(folder)["metadata"]["namespace"]
    assert ("ServiceAccount", namespace, pod["spec"]["serviceAccountName"]) in names


def test_the_webhook_of_the_crds_is_the_service():
    service = _of("base", "Service")[WEBHOOK_SERVICE]
    assert service["metadata"]["namespace"] == WEBHOOK_NAMESPACE
    assert WEBHOOK_NAMESPACE in _of("base", "Namespace")
    pod = _operator("base")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert f"--webhook-port={ports['webhook']}" in container["args"]
    script = (DEPLOY / "certs" / "make-webhook-cert.sh").read_text()
    secret = pod["spec"]["volumes"][0]["secret"]["secretName"]
    assert secret in script
    assert WEBHOOK_SERVICE in script
    for crd in _of("base", "CustomResourceDefinition").values():
        assert crd["spec"]["names"]["plural"] in script
        client = crd["spec"]["conversion"]["webhook"]["clientConfig"]["service"]
        assert (client["name"], client["namespace"]) == (WEBHOOK_SERVICE, WEBHOOK_NAMESPACE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_are_restricted_and_arguments_exist(folder):
    pod = _operator(folder)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["command"] == ["python", "-m", "dgdr.operator"]
    _parser(environment({})).parse_args(container["args"])
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_image_is_not_root_and_copies_what_exists():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert "USER 1000:1000" in lines
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = line.split()[1:]
            assert all((DEPLOY.parent / source).exists() for source in sources), line


def _allowed(folder: str, kind: str, name: str) -> set[tuple[str, str, str]]:
    return {
        (verb, group, resource)
        for rule in _of(folder, kind)[name]["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _record(api: FakeApi) -> set[tuple[str, str, str]]:
    """Verbs and resources of all calls from now on, as RBAC names them."""
    seen: set[tuple[str, str, str]] = set()

    def note(verb: str, target: Any, sub: str = "") -> None:
        group = target.api_version.rpartition("/")[0]
        seen.add((verb, group, _PLURALS[target.kind] + sub))

    def wrap(name: str, verb: str) -> None:
        plain = getattr(api, name)

        def call(target: Any, *rest: Any, **options: Any) -> Any:
            ref = Ref.of(target) if isinstance(target, dict) else target
            note(verb, ref, "/status" if options.get("status") else "")
            return plain(target, *rest, **options)

        setattr(api, name, call)

    for name, verb in (
        *(("get", "get"), ("list", "list"), ("watch", "watch"), ("create", "create")),
        *(("replace", "update"), ("patch", "patch"), ("delete", "delete")),
    ):
        wrap(name, verb)
    return seen


def _operator_calls() -> set[tuple[str, str, str]]:
    world = World()
    seen = _record(world.api)
    world.submit("bad-bad")
    world.submit("hold", {"autoApply": False, "hardware": {}})
    for _ in range(3):
        world.pump()
        world.work()
    cluster = Cluster()
    cluster.sets = True
    wide = {"name": "wide", "type": "decode", "scalingAdapter": {}, "multinode": {"nodeCount": 2}}
    cluster.submit([{"name": "a", "type": "planner", "scalingAdapter": {}}, wide])
    seen_graphs = _record(cluster.api)
    cluster.settle()
    graph = cluster.graph
    adapter = cluster.find("DynamoGraphDeploymentScalingAdapter", "demo-a")
    FakeApi.patch(cluster.api, Ref.of(adapter), {"spec": {"replicas": 4}})
    cluster.settle()
    FakeApi.patch(cluster.api, Ref.of(graph), {"spec": {"components": [{"name": "b"}]}})
    cluster.settle()
    return seen | seen_graphs


def test_the_operator_may_do_what_it_does():
    world = World()
    seen = _record(world.api)
    for name in ("a", "b-bad"):
        world.submit(name)
    mine = _only_operator(world, seen)
    granted = _allowed("base", "ClusterRole", "dgdr-operator")
    assert mine | _operator_calls() <= granted | {("create", "nvidia.com", _PLURALS[REQUESTS.kind])}
    assert len(mine) > 12


def _only_operator(world: World, seen: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Calls of the operator while others drive the cluster unrecorded."""
    mine: set[tuple[str, str, str]] = set()
    for _ in range(40):
        seen.clear()
        world.settle()
        mine |= seen
        if not (world.run_jobs() | world.run_deployments()):
            break
    seen.clear()
    world.edit("b-bad", {"workload": {"isl": 9}})
    seen.clear()
    world.settle()
    return mine | seen


def test_nothing_is_granted_that_is_not_needed():
    granted = _allowed("base", "ClusterRole", "dgdr-operator")
    assert not [rule for rule in granted if "*" in rule]
    assert not [rule for rule in granted if rule[2] == "secrets"]
    bind = [r for r in _of("base", "ClusterRole")["dgdr-operator"]["rules"] if "bind" in r["verbs"]]
    assert [rule["resourceNames"] for rule in bind] == [[JOB_ACCOUNT, *ACCOUNTS.values()]]
    assert {JOB_ACCOUNT, *ACCOUNTS.values()} <= set(_of("base", "ClusterRole"))
    # For one namespace the same, without nodes and without handing out rights.
    local = _allowed("namespaced", "Role", "dgdr-operator")
    assert local - granted == {
        (verb, "coordination.k8s.io", "leases") for verb in ("get", "create", "update")
    }
    assert {rule[2] for rule in granted - local} == {"nodes", "rolebindings", "clusterroles"}


def test_the_election_may_use_its_lease():
    cluster = Cluster()
    seen = _record(cluster.api)
    settings = LeaseSettings(namespace="ops")
    elector = LeaderElector(cluster.api, cluster.clock, "a", settings)
    assert elector.step()
    assert elector.step()
    elector.release()
    assert seen == _allowed("base", "Role", "dgdr-operator-lease")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
@pytest.mark.parametrize("folder", [*FOLDERS, "crds"])
def test_kubectl_builds_the_same(folder):
    command = ["kubectl", "kustomize", str(DEPLOY / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    built = list(yaml.safe_load_all(text))
    assert len(built) == len(_documents(folder))
    assert {d["kind"] for d in built} == {d["kind"] for d in _documents(folder)}
    assert not re.search(r"namespace: default\b", text)
    assert GRAPHS.kind in text or folder == "namespaced"
