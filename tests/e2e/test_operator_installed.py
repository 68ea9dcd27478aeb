"""``deploy/base`` as it stands on the embedded cluster: two replicas, a Lease, webhooks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from kubernetes_kit import KUBECTL, NEEDS_KUBECTL, eventually
from operator_kit import Cluster, cluster

NAMESPACE = "--namespace=dgdr-system"
LEASE_S = 4.0
LIMIT_S = 30.0
pytestmark = [
    pytest.mark.slow,
    NEEDS_KUBECTL,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here"),
]

REQUEST = """
apiVersion: nvidia.com/{version}
kind: DynamoGraphDeploymentRequest
metadata: {{name: {name}}}
spec: {{model: Qwen/Qwen3-0.6B, {spec}}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("installed")) as found:
        found.kubectl("apply", "--kustomize", "deploy/base")
        lease = f'[{{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": \
"--lease-duration-s={LEASE_S}"}}]'
        found.kubectl("patch", "deployment/dgdr-operator", NAMESPACE, "--type=json", "-p", lease)
        made = found.run("sh", "deploy/certs/make-webhook-cert.sh")
        assert made.returncode == 0, made.stderr
        yield found


def holder(found: Cluster) -> str:
    path = "jsonpath={.spec.holderIdentity}"
    return found.run(KUBECTL, "get", "lease/dgdr-operator", NAMESPACE, "-o", path).stdout


def create(found: Cluster, name: str, spec: str, version: str = "v1beta1") -> str:
    text = REQUEST.format(name=name, spec=spec, version=version)
    return found.run(KUBECTL, "create", "-f", "-", text=text).stderr


def test_two_replicas_are_ready_on_addresses_of_their_own(installed: Cluster) -> None:
    def ready() -> bool:
        pods = installed.read("pods", NAMESPACE, "-l", "app=dgdr-operator")["items"]
        statuses = [pod["status"] for pod in pods]
        return len({status["podIP"] for status in statuses}) == 2 and all(
            status["containerStatuses"][0]["ready"] for status in statuses
        )

    assert eventually(ready, LIMIT_S)


def test_what_schemas_cannot_say_is_refused_when_it_is_created(installed: Cluster) -> None:
    nulls = "overrides: {dgd: {spec: {components: [{name: a, replicas: null}]}}}"
    said = create(installed, "nulls", f"image: i, {nulls}")
    assert "spec.overrides.dgd.spec.components[0].replicas: Invalid value: null" in said
    assert 'The DynamoGraphDeploymentRequest "nulls" is invalid' in said
    assert installed.run(KUBECTL, "get", "dgdr", "nulls").returncode == 1


def test_both_versions_are_served(installed: Cluster) -> None:
    old = "backend: vllm, profilingConfig: {profilerImage: i}"
    assert create(installed, "old", old, "v1alpha1") == ""
    found = installed.read("dynamographdeploymentrequests.v1beta1.nvidia.com", "old")
    assert (found["spec"]["image"], found["spec"]["autoApply"]) == ("i", False)
    found = installed.read("dynamographdeploymentrequests.v1alpha1.nvidia.com", "old")
    assert found["spec"]["profilingConfig"]["profilerImage"] == "i"


def test_the_other_replica_takes_over_within_the_lease(installed: Cluster) -> None:
    leader = eventually(lambda: holder(installed), LIMIT_S)
    gone = ("delete", "pod", leader, NAMESPACE, "--grace-period=0", "--force")
    installed.kubectl(*gone)
    begin_s = time.monotonic()
    follower = eventually(lambda: holder(installed) not in ("", leader), LIMIT_S)
    taken_s = time.monotonic() - begin_s
    assert follower
    # The Lease runs out, and the others look at it every duration / 7.5.
    assert taken_s < LEASE_S * 1.5 + 1.0
    assert create(installed, "after", "image: i, autoApply: false") == ""
    phase = "jsonpath={.status.phase}=Ready"
    installed.kubectl("wait", "dgdr/after", f"--for={phase}", f"--timeout={LIMIT_S:.0f}s")
