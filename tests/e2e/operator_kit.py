"""An embedded cluster as a process, and kubectl for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes_kit import CLUSTER, KUBECTL, ROOT


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
        result = self.run(KUBECTL, *words, text=text)
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
