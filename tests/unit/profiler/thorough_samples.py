"""A small request, fakes at the ports of the measured search, and ways to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dgdr import Dgdr, load_dgdr
from profiler.thorough.options import ThoroughOptions
from profiler.thorough.ports import Burst, Measurement, Order, Served
from profiler.thorough.rigs import Tools
from profiler.thorough.run import run_thorough
from profiler.thorough.search import ThoroughResult
from profiler.thorough.virtual import SimDeployer, VirtualClock, VirtualMeasurer
from profiler.thorough.wish import Wish, wish_of

REQUEST = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: small}
spec:
  model: Qwen/Qwen3-8B
  image: ai-dynamo/dynamo-planner:1.2.1
  backend: BACKEND
  searchStrategy: thorough
  sla: SLA
  workload: WORKLOAD
  hardware: HARDWARE
  features: FEATURES
"""


def request(
    *,
    backend: str = "vllm",
    sla: str = "{ttft: 400, itl: 26}",
    workload: str = "{isl: 500, osl: 20}",
    hardware: str = "{gpuSku: l40s, numGpusPerNode: 4, totalGpus: 4}",
    features: str = "{}",
    model: str = "Qwen/Qwen3-8B",
) -> Dgdr:
    text = REQUEST.replace("Qwen/Qwen3-8B", model).replace("BACKEND", backend)
    text = text.replace("SLA", sla).replace("WORKLOAD", workload).replace("HARDWARE", hardware)
    return load_dgdr(text.replace("FEATURES", features), source="test.yaml")


def wish(**changes: str) -> Wish:
    return wish_of(request(**changes))


class CountingMeasurer:
    """Measures virtually; counts, and fails where it is told to."""

    def __init__(self, clock: VirtualClock) -> None:
        self._inner = VirtualMeasurer(clock)
        self.seen: list[str] = []
        self.fail: Callable[[Served, Burst], Exception | None] = lambda _served, _burst: None

    def measure(self, served: Served, burst: Burst) -> Measurement:
        self.seen.append(f"{served.order.role.value}/{served.order.label}/{burst.name}")
        problem = self.fail(served, burst)
        if problem is not None:
            raise problem
        return self._inner.measure(served, burst)


class FlakyDeployer:
    """Deploys virtually; counts, and fails where it is told to."""

    def __init__(self, clock: VirtualClock, startup_s: float) -> None:
        self._inner = SimDeployer(clock, startup_s)
        self.up: list[str] = []
        self.down: list[str] = []
        self.fail: Callable[[Order], Exception | None] = lambda _order: None

    @contextmanager
    def running(self, order: Order) -> Iterator[Served]:
        name = f"{order.role.value}/{order.label}"
        self.up.append(name)
        problem = self.fail(order)
        if problem is not None:
            raise problem
        try:
            with self._inner.running(order) as served:
                yield served
        finally:
            self.down.append(name)


class Bench:
    """Tools of a virtual search that can be made to fail."""

    def __init__(self, startup_s: float = 30.0) -> None:
        self.clock = VirtualClock()
        self.measurer = CountingMeasurer(self.clock)
        self.deployer = FlakyDeployer(self.clock, startup_s)
        self.tools = Tools(deployer=self.deployer, measurer=self.measurer, clock=self.clock)
        self.phases: list[tuple[str, int, int]] = []

    def run(self, folder: Path, dgdr: Dgdr | None = None, **changes: object) -> ThoroughResult:
        options = replace(ThoroughOptions(plots=False), **changes)  # type: ignore[arg-type]
        return run_thorough(
            dgdr or request(), folder, options, lambda *p: self.phases.append(p), self.tools
        )
