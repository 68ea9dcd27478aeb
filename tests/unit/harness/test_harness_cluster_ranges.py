"""Clusters of one machine have different loopback addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness_cluster_kit import Kit, running

from contracts.errors import PermanentError
from harness.cluster import ranges
from harness.cluster.node.settings import LOOPBACK_RANGE
from harness.cluster.ranges import FIRST, LAST, LoopbackRanges, addresses, first_address, range_of

SCOPE = f"harness-test-{os.getpid()}"
linux = pytest.mark.skipif(not LOOPBACK_RANGE, reason="127.0.0.1 only, and no abstract sockets")
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "p-"},
    "spec": {"containers": [{"name": "main", "image": "x", "command": ["run"]}]},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"generateName": "s-"},
    "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]},
}


@pytest.fixture
def held() -> Iterator[list[LoopbackRanges]]:
    found: list[LoopbackRanges] = []
    yield found
    for item in found:
        item.close()


def _ranges(held: list[LoopbackRanges], name: str) -> LoopbackRanges:
    held.append(LoopbackRanges(Path(name), scope=SCOPE))
    return held[-1]


def _addresses(kit: Kit, count: int = 3) -> set[str]:
    """Addresses of pods and services once there are so many of each."""
    for _ in range(len(kit.pods()), count):
        kit.call("POST", "/api/v1/namespaces/default/pods", POD)
        kit.call("POST", "/api/v1/namespaces/default/services", SERVICE)
    kit.settle(1.0)
    pods = {pod["status"]["podIP"] for pod in kit.pods()}
    services = {s["spec"]["clusterIP"] for s in kit.cluster.store.list("services")}
    assert len(pods | services) == 2 * count
    return pods | services


@linux
def test_two_clusters_have_no_address_in_common(tmp_path, held):
    first, second = _ranges(held, "/one"), _ranges(held, "/two")
    with (
        running(tmp_path / "a", claim=first.claim) as one,
        running(tmp_path / "b", claim=second.claim) as two,
    ):
        found = [_addresses(kit) for kit in (one, two)]
    assert not found[0] & found[1]
    assert all(len({range_of(text) for text in group}) == 1 for group in found)


@linux
def test_ranges_are_claimed_once_and_come_back(held, monkeypatch):
    monkeypatch.setattr(ranges, "LAST", FIRST + 2)
    taken = [_ranges(held, "/same").claim(()) for _ in range(3)]
    assert sorted(taken) == [FIRST, FIRST + 1, FIRST + 2]
    with pytest.raises(PermanentError, match="all 3 ranges"):
        _ranges(held, "/same").claim(())
    held[1].close()
    assert _ranges(held, "/other").claim(()) == taken[1]


@linux
def test_a_folder_finds_its_range_again(held):
    first = _ranges(held, "/some/folder")
    number = first.claim(())
    first.close()
    assert _ranges(held, "/some/folder").claim(()) == number


@linux
def test_the_end_of_a_process_lets_go(held):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from harness.cluster.ranges import LoopbackRanges\n"
        "found = LoopbackRanges(Path('/dead'), scope=sys.argv[1])\n"
        "print(found.claim(()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, SCOPE], capture_output=True, text=True)
    assert done.returncode == -9
    assert _ranges(held, "/dead").claim(()) == int(done.stdout)


@linux
def test_a_cluster_that_comes_back_keeps_its_range_or_says_why_not(tmp_path, held):
    first = _ranges(held, "/one")
    with running(tmp_path / "a", claim=first.claim, durable=True) as kit:
        _addresses(kit)
        number = range_of(next(iter(kit.pods()))["status"]["podIP"])
    first.close()
    other = _ranges(held, "/elsewhere")
    with running(tmp_path / "a", claim=other.claim, durable=True) as kit:
        assert {range_of(text) for text in _addresses(kit, 6)} == {number}
    with (
        pytest.raises(PermanentError, match=rf"127\.{number}\.0\.0/16"),
        running(tmp_path / "a", claim=_ranges(held, "/x").claim, durable=True),
    ):
        raise AssertionError("the range belongs to somebody else")


def test_elsewhere_everything_is_at_one_address(tmp_path):
    with running(tmp_path, claim=None) as kit:
        kit.call("POST", "/api/v1/namespaces/default/pods", POD)
        kit.settle(1.0)
        assert kit.pods()[0]["status"]["podIP"] == "127.0.0.1"


def test_halves_go_round_without_network_and_broadcast_addresses():
    base = first_address(12, services=True)
    found = [text for _, text in addresses(12, base, services=True)]
    assert (found[0], found[-1], len(found)) == ("127.12.128.1", "127.12.255.254", 128 * 254)
    assert len(set(found)) == len(found)
    after, last = list(addresses(12, base, services=True))[-1]
    assert next(addresses(12, after, services=True))[1] == "127.12.128.1"
    assert last == "127.12.255.254"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("127.10.0.1", 10),
        (f"127.{LAST}.1.1", LAST),
        *((text, None) for text in ("127.0.0.1", "10.20.0.1", "", "None")),
    ],
)
def test_addresses_outside_of_ranges_are_nobodys(text, number):
    assert range_of(text) == number
