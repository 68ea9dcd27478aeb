"""Many requests while the operator is killed again and again, all as real processes.

``STORM_REQUESTS`` and ``STORM_KILLS`` make it larger (the numbers of docs/operator.md are
those of 200 and 20; ``figures.json`` in the test's folder has them). Profiling Jobs are real
pods whose images are shell scripts, so that the operator and not the profiler is measured.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes_kit import NEEDS_KUBECTL, ROOT
from operator_kit import Cluster, cluster
from urllib3.exceptions import HTTPError

REQUESTS = int(os.environ.get("STORM_REQUESTS", "40"))
KILLS = int(os.environ.get("STORM_KILLS", "5"))
FAIL_EVERY = 10
LIMIT_S = 30.0 + REQUESTS
PLACE = ("nvidia.com", "v1beta1", "default", "dynamographdeploymentrequests")
pytestmark = [pytest.mark.slow, NEEDS_KUBECTL]

DGD = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: picked}
spec: {components: [{name: Frontend, type: frontend, replicas: 1}]}
"""
# Writes what the copier would write: without Python, a Job costs 0.1 s of CPU and not 2 s.
COPIER = r"""
case "$DGDR_NAME" in
  *0) outcome='"profiler_status": "failed", "profiler_error": "nothing fits"' ;;
  *) outcome='"profiler_status": "success", "final_config.yaml": FINAL' ;;
esac
printf '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dgdr-output-%s",
"labels": {"dgdr.nvidia.com/name": "%s", "dgdr.nvidia.com/namespace": "default"},
"ownerReferences": [{"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeploymentRequest",
"name": "%s", "uid": "%s", "controller": true}]},
"data": {"phase": "Done", "message": "done", %s}}' \
"$DGDR_NAME" "$DGDR_NAME" "$DGDR_NAME" "$DGDR_UID" "$outcome" |
kubectl create --raw /api/v1/namespaces/default/configmaps -f -
"""


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Cluster]:
    script = COPIER.replace("FINAL", json.dumps(DGD))
    rules = [
        {"image": "quick", "command": ["sh", "-c", "exit 0"], "override": True},
        {"image": "copier", "command": ["sh", "-c", script], "override": True},
    ]
    path = tmp_path / "images.yaml"
    path.write_text(yaml.safe_dump(rules))
    with cluster(tmp_path, "--images", str(path)) as made:
        made.kubectl("apply", "--kustomize", "deploy/crds")
        made.kubectl("apply", "-f", "deploy/base/roles.yaml")
        yield made


class Operator:
    """The operator as a process that can be killed and started again."""

    def __init__(self, found: Cluster, log: Path) -> None:
        self._found = found
        self._sink = log.open("w")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "dgdr.operator", "--kubeconfig", self._found.kubeconfig]
        options = ["--no-manage-dgd", "--copier-image=copier"]
        return subprocess.Popen([*words, *options], cwd=ROOT, stdout=self._sink, stderr=self._sink)

    def kill_and_start(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._start()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        self._sink.close()


class Jobs:
    """Every Job that was ever there, by name."""

    def __init__(self, api: client.ApiClient) -> None:
        self.uids: dict[str, set[str]] = {}
        self._api = client.BatchV1Api(api)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        version = "0"
        while not self._stop.is_set():
            try:
                stream = watch.Watch().stream(
                    self._api.list_namespaced_job,
                    "default",
                    resource_version=version,
                    timeout_seconds=2,
                )
                for event in stream:
                    metadata = event["raw_object"]["metadata"]
                    version = metadata["resourceVersion"]
                    self.uids.setdefault(metadata["name"], set()).add(metadata["uid"])
            except (HTTPError, ApiException):
                time.sleep(0.1)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


def request(name: str) -> dict[str, object]:
    hardware = {"gpuSku": "h200_sxm", "numGpusPerNode": 8, "totalGpus": 8, "vramMb": 141000}
    hardware |= {"interconnect": "nvlink", "rdma": False}
    spec = {"model": "m", "image": "quick", "autoApply": False, "hardware": hardware}
    kind = "DynamoGraphDeploymentRequest"
    metadata = {"name": name}
    return {"apiVersion": "nvidia.com/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}


def phases(custom: client.CustomObjectsApi) -> Counter[str]:
    items = custom.list_namespaced_custom_object(*PLACE)["items"]
    return Counter((item.get("status") or {}).get("phase", "") for item in items)


def test_every_request_ends_and_no_job_is_made_twice(found: Cluster, tmp_path: Path) -> None:
    chance = random.Random(1)
    failed = REQUESTS // FAIL_EVERY
    wanted = Counter({"Ready": REQUESTS - failed, "Failed": failed})
    with (
        config.new_client_from_config(config_file=found.kubeconfig) as api,
        closing(Jobs(api)) as jobs,
        closing(Operator(found, tmp_path / "log")) as operator,
    ):
        custom = client.CustomObjectsApi(api)
        begin_s = time.monotonic()
        for number in range(1, REQUESTS + 1):
            custom.create_namespaced_custom_object(*PLACE, request(f"r{number}"))
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.5, 2.5))
            operator.kill_and_start()
        kills_s = time.monotonic() - begin_s
        end_s = begin_s + kills_s + LIMIT_S
        while phases(custom) != wanted and time.monotonic() < end_s:
            time.sleep(0.25)
        total_s = time.monotonic() - begin_s
        assert phases(custom) == wanted
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {"kills_s": kills_s, "total_s": total_s, "cpu_s": spent.ru_utime + spent.ru_stime}
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    assert {name: len(uids) for name, uids in jobs.uids.items()} == {
        f"profile-r{number}": 1 for number in range(1, REQUESTS + 1)
    }
    assert "Traceback" not in (tmp_path / "log").read_text()
