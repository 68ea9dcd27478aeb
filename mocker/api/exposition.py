"""What a server says about itself, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from contracts.observation import WorkerState
from mocker.engines.driver import EngineDriver
from mocker.engines.options import generating_pool
from mocker.engines.profile import StepTrace
from mocker.metrics.dcgm import gpu_families
from mocker.metrics.engines import EngineCard, EngineLoads, engine_families
from mocker.metrics.frontend import frontend_families
from mocker.metrics.pacing import pacing_families


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """Questions that the public routes ask.

    Attributes:
        families: metric families, given the loaded adapters.
        gpus: metric families of the GPUs.
        ready_workers: how many take requests.
        reset_cache: forget cached prompts; false when that is not possible now.
        trace: records engine steps on demand; ``None`` where there are no engines.
    """

    families: Callable[[Mapping[str, str]], Iterator[Metric]]
    gpus: Callable[[], Iterator[Metric]]
    ready_workers: Callable[[], int]
    reset_cache: Callable[[], bool]
    trace: StepTrace | None = None


class Families(Collector):
    """A collector made of a function."""

    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """All families."""
        return self._families()


def exposition_of(driver: EngineDriver) -> Exposition:
    """The exposition of engines in this process."""
    last = generating_pool(driver.plan)

    def loads() -> EngineLoads:
        snapshot = driver.snapshot()
        running = sum(load.running_requests for load in snapshot.loads)
        waiting = sum(load.waiting_requests for load in snapshot.loads)
        return EngineLoads(
            running=running,
            waiting=waiting,
            waiting_prefill_tokens=sum(load.waiting_prefill_tokens for load in snapshot.loads),
            kv_usage_ratio=max((load.kv_usage_ratio for load in snapshot.loads), default=0.0),
            now_s=snapshot.now_s,
            sending=max(0, driver.in_flight - running - waiting),
        )

    def families(adapters: Mapping[str, str]) -> Iterator[Metric]:
        found, metrics = loads(), driver.metrics
        metrics.fold()
        card = EngineCard(
            model_id=driver.plan.model_id,
            backend=last.engine.backend,
            limits=last.engine.limits,
            kv_dtype=last.engine.kv_dtype.value,
            engines=last.replicas,
            adapters=adapters,
        )
        yield from engine_families(card, metrics, found)
        yield from frontend_families(
            driver.plan.model_id, last.engine.limits, metrics, driver.awaiting_first_token
        )
        yield from pacing_families(metrics, driver.speed)

    def ready() -> int:
        return sum(1 for worker in driver.snapshot().workers if worker.state is WorkerState.READY)

    return Exposition(
        families=families,
        gpus=lambda: gpu_families(driver.plan, driver.snapshot()),
        ready_workers=ready,
        reset_cache=driver.reset_prefix_caches,
        trace=StepTrace(driver.step_listeners),
    )
