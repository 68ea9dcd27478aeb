"""What a simulation costs: sweeps over requests, workers and output length.

    python tools/plot_cost.py [--out docs/images/cost.png] [--scale 1.0]

Prints one line for each run and draws CPU-seconds (process time of the simulation alone)
against each swept number. Everything else stays at the middle of its sweep, with the
arrival rate in proportion to the workers, so that every worker has the same load.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl

from contracts.engine import EngineLimits
from contracts.errors import InputError
from contracts.model import Dtype
from contracts.plan import AggPlan, DeploymentPlan, EngineSpec, PoolPlan, Role, RouterPolicy
from contracts.sla import SlaTarget
from contracts.streams import RandomStreams
from simcore.perf import architecture, gpu_spec
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize

RATE_PER_WORKER_S = 10.0
ISL = 1024
SWEEPS: dict[str, tuple[int, ...]] = {
    "requests": (1_000, 3_000, 10_000, 30_000, 100_000),
    "workers": (1, 4, 16, 64),
    "osl": (32, 128, 512, 2_048),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run; ``osl`` in tokens."""

    requests: int = 20_000
    workers: int = 8
    osl: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a case took, on the process clock."""

    case: Case
    cpu_s: float

    @property
    def tokens_per_cpu_s(self) -> float:
        """Output tokens simulated in a CPU-second."""
        return self.case.requests * self.case.osl / max(self.cpu_s, 1e-9)


def measure(case: Case) -> Cost:
    """Simulate a case once."""
    rate_per_s = RATE_PER_WORKER_S * case.workers
    workload = synthesize(
        PoissonArrivals(rate_per_s=rate_per_s),
        duration_s=case.requests / rate_per_s,
        isl=Lengths(mean=ISL),
        osl=Lengths(mean=case.osl),
        streams=RandomStreams(1),
    )
    plan = _plan(case.workers)
    before_s = time.process_time()
    record = simulate(plan, workload)
    cpu_s = time.process_time() - before_s
    return Cost(case=replace(case, requests=len(record.table)), cpu_s=cpu_s)


def sweep(name: str, scale: float) -> list[Cost]:
    """Measure all cases of one sweep; ``scale`` shrinks the number of requests."""
    base = Case()
    cases = [replace(base, **{name: value}) for value in SWEEPS[name]]
    return [measure(replace(case, requests=max(1, round(case.requests * scale)))) for case in cases]


def draw(costs: dict[str, list[Cost]], path: Path) -> None:
    """Write the picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend is chosen first

    figure, axes = plt.subplots(1, len(costs), figsize=(9, 3), sharey=True, layout="constrained")
    for axis, (name, points) in zip(axes, costs.items(), strict=True):
        values = [getattr(point.case, name) for point in points]
        axis.loglog(values, [point.cpu_s for point in points], marker="o", color="#2a6f97")
        axis.set_xlabel({"osl": "output tokens of a request"}.get(name, name))
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].set_ylabel("CPU-seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all sweeps, print the table, and draw the picture.

    Raises:
        InputError: the scale is not positive.
    """
    parser = argparse.ArgumentParser(description="Plot what simulations cost.")
    parser.add_argument("--out", type=Path, default=Path("docs/images/cost.png"))
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks the number of requests")
    options = parser.parse_args(arguments)
    if not 0 < options.scale <= 10:
        raise InputError("must lie between 0 and 10", path="--scale", value=str(options.scale))
    sys.stdout.write("sweep    requests workers   osl  CPU-s  M tokens/CPU-s\n")
    costs: dict[str, list[Cost]] = {}
    for name in SWEEPS:
        costs[name] = sweep(name, options.scale)
        for cost in costs[name]:
            case = cost.case
            sys.stdout.write(
                f"{name:8} {case.requests:8} {case.workers:7} {case.osl:5} {cost.cpu_s:6.3f} "
                f"{cost.tokens_per_cpu_s / 1e6:15.2f}\n"
            )
    draw(costs, options.out)


def _plan(workers: int) -> DeploymentPlan:
    engine = EngineSpec(
        model=architecture("meta-llama/Llama-3.1-8B"),
        gpu=gpu_spec("h200_sxm"),
        tp=1,
        weight_dtype=Dtype.BF16,
        kv_dtype=Dtype.BF16,
        limits=EngineLimits(block_size_tokens=64, kv_blocks_total=16_384),
    )
    return DeploymentPlan(
        name="cost",
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=workers)),
        router=RouterPolicy.LEAST_LOADED,
        startup_s=0.0,
        gpu_budget=workers,
        sla=SlaTarget(ttft_ms=1000.0, itl_ms=50.0),
    )


if __name__ == "__main__":
    main()
