"""A server under load, and what it has used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import TypeAdapter

from contracts.plan import DeploymentPlan
from tests.bench.mocker_load.client import waited_s

ROOT = Path(__file__).parents[3]
MODEL = "meta-llama/Llama-3.1-8B"
ITL_MS = 10
# Every step takes as long, whatever it does, so that the schedule is known.
STEPS = "kind,tokens,batch,context,ms\n" + "\n".join(
    [f"prefill,{tokens},,0,{ITL_MS}" for tokens in (1, 100_000)]
    + [f"decode,,{batch},{context},{ITL_MS}" for batch in (1, 4096) for context in (10, 100_000)]
)


def stolen_s() -> float:
    """Seconds that the host of a virtual machine has given to others, of all cores."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


class Process:
    """A server process; its first line ends with its port."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", *words]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().rpartition(":")[2].strip()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def load(self, *options: str) -> dict[str, float]:
        """Run the client; adds the server's CPU time, its wait for a core and its memory."""
        before, waited, stolen = self.cpu_s(), waited_s(self.process.pid), stolen_s()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.mocker_load.client", "--port", self.port,
             "--model", MODEL, *options],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found: dict[str, float] = json.loads(done.stdout)
        return {
            **found,
            "server_cpu_s": self.cpu_s() - before,
            "server_waited_s": waited_s(self.process.pid) - waited,
            "stolen_s": stolen_s() - stolen,
            "rss_mb": self.rss_mb(),
        }

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


class Mocker(Process):
    """A mocker in which every step takes :data:`ITL_MS`."""

    def __init__(self, folder: Path, plan: DeploymentPlan, speed: float) -> None:
        (folder / "plan.json").write_bytes(TypeAdapter(DeploymentPlan).dump_json(plan))
        (folder / "steps.csv").write_text(STEPS + "\n", encoding="utf-8")
        super().__init__(
            "mocker", "serve", "--plan", str(folder / "plan.json"), "--port", "0",
            "--speed", str(speed), "--step-times", f"table:{folder}/steps.csv",
        )  # fmt: skip


class Sampler:
    """Looks at the memory of a process twice a second, in a thread of its own."""

    def __init__(self, process: Process) -> None:
        self.rss_mb: list[float] = []
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            self.rss_mb.append(self._process.rss_mb())
