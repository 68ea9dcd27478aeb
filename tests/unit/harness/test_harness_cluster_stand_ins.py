"""Containers of generated deployments on the embedded cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness_cluster_kit import Kit, pod, running

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path) as found:
        yield found


def test_workers_become_their_stand_ins(kit: Kit) -> None:
    text = '{"mountPath": "/cache"}'
    container = {
        "name": "main",
        "image": "registry/vllm-runtime:1.0",
        "command": ["python3", "-m", "dynamo.vllm"],
        "args": ["--model", "/cache/m", "--speculative-config", text],
        "volumeMounts": [{"name": "v", "mountPath": "/cache"}],
    }
    kit.call(
        "POST", PODS, pod("p", containers=[container], volumes=[{"name": "v", "emptyDir": {}}])
    )
    kit.settle(0.5)
    command = kit.runner.commands["1-0"]
    words = list(command.argv)
    assert words[1:5] == ["-m", "mocker.dynamo", "vllm", "--model"]
    assert Path(words[5]).name == "m"
    assert words[5] != "/cache/m"
    # A JSON document speaks of other pods, so its paths stay.
    assert words[6:] == ["--speculative-config", text]
    assert command.env["GPU_PRODUCT"] == "NVIDIA-H200"
    assert command.env["POD_IP"].startswith("127.")


def test_folders_of_this_machine_are_not_replaced_again(kit: Kit, tmp_path: Path) -> None:
    top = f"/{tmp_path.parts[1]}"
    container = {
        "name": "main",
        "image": "any",
        "command": ["work", "/data/x", f"{top}/y"],
        "env": [{"name": "GIVEN", "value": f"{top}/z"}],
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "scratch", "mountPath": top},
        ],
    }
    volumes = [{"name": name, "emptyDir": {}} for name in ("data", "scratch")]
    kit.call("POST", PODS, pod("p", containers=[container], volumes=volumes))
    kit.settle(0.5)
    command = kit.runner.commands["1-0"]
    folders = [Path(word).parent for word in list(command.argv)[1:]]
    assert [folder.name for folder in folders] == ["data", "scratch"]
    assert all(folder.is_dir() for folder in folders)
    assert Path(command.env["GIVEN"]).parent == folders[1]
    assert Path(command.env["KUBECONFIG"]).is_file()
