"""An embedded cluster as a process, and kubectl for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLUSTER = (sys.executable, "-m", "harness", "cluster")


def has_kubectl() -> bool:
    found = shutil.which("kubectl")
    if found is None:
        return False
    text = subprocess.run([found, "version", "--client"], capture_output=True, text=True).stdout
    version = re.search(r"v1\.(\d+)", text)
    return version is not None and int(version[1]) >= 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Attributes: ``folder`` holds the data, ``home`` is for kubectl's caches."""

    kubeconfig: str
    folder: Path
    home: str

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "HOME": self.home}

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.env, cwd=ROOT, capture_output=True, text=True, input=text
        )

    def kubectl(self, *words: str, text: str = "") -> str:
        result = self.run("kubectl", *words, text=text)
        assert result.returncode == 0, f"kubectl {' '.join(words)}: {result.stderr}"
        return result.stdout

    def read(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "--output=json"))


@contextmanager
def cluster(folder: Path, *options: str) -> Iterator[Cluster]:
    data = folder / "c"
    home = folder / "home"
    home.mkdir()
    size = ("--nodes", "2", "--gpus-per-node", "8", "--sku", "h200_sxm")
    started = subprocess.run(
        [*CLUSTER, "up", *size, *options, "--data", str(data), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    try:
        kubeconfig = json.loads(started.stdout)["kubeconfig"]
        yield Cluster(kubeconfig=kubeconfig, folder=data, home=str(home))
    finally:
        down = [*CLUSTER, "down", "--data", str(data)]
        subprocess.run(down, cwd=ROOT, capture_output=True, check=True)


def eventually(check: Callable[[], Any], limit_s: float) -> Any:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")
