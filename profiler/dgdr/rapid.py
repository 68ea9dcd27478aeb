"""The rapid strategy: everything simulated, seconds instead of GPU hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import RehearsalError, UnsupportedError
from contracts.hardware import GpuSpec
from contracts.plan import DeploymentPlan, RouterPolicy
from contracts.ports import TimerFactory
from contracts.workload import Workload
from dgdr import Backend, Dgdr, ProfilingPhase, SearchStrategy, trusts_remote_code
from profiler.core.explain import backend_notes, load_served_pct
from profiler.core.pick import shortfall
from profiler.core.request import WhenInfeasible
from profiler.core.search import SearchResult, search
from profiler.dgdr import outputs
from profiler.dgdr.candidates_file import write_candidates
from profiler.dgdr.draw import draw_plots
from profiler.dgdr.prices import cost_per_million_tokens, price_of
from profiler.dgdr.search_request import SearchWish, fabric, search_request
from profiler.dgdr.settings import utc_text
from profiler.dgdr.status import STATUS_FILE, StatusFile
from profiler.measure import (
    EngineFactory,
    SimcoreEstimator,
    SimcoreSimulator,
)
from profiler.measure.curves import curves_of
from simcore.perf import roofline

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """What the profiler decided, and where the files are.

    Attributes:
        plan: the picked deployment.
        picked: label of the picked candidate.
        files: written files by name.
        sla_note: what the pick misses; empty when it meets the targets.
        backend_notes: one line for each backend that was compared.
    """

    plan: DeploymentPlan
    prefill_curves: PrefillCurves
    decode_curves: DecodeCurves
    picked: str
    files: dict[str, Path]
    sla_note: str = ""
    backend_notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RapidOptions:
    """How to search and what to assume about the cluster.

    Attributes:
        startup_s: time from ordering a worker until it is ready.
        seed: root seed of the simulated load.
        model_config: content of a local ``config.json``.
        gpu: facts to use in place of those of the DGDR's gpuSku.
        timer_for: step times of an engine.
        trace: requests to serve in place of the declared load.
        prices: currency for a GPU-hour by SKU.
        when_infeasible: ``None`` follows the annotation of the request.
        allow_quantization: ``None`` follows the annotation of the request.
        draw: write plots; :func:`profiler.dgdr.draw.draw_missing` draws them later.
    """

    startup_s: float = 30.0
    router: RouterPolicy = RouterPolicy.LEAST_LOADED
    seed: int = 0
    model_config: Mapping[str, Any] | None = None
    gpu: GpuSpec | None = None
    timer_for: TimerFactory = roofline
    trace: Workload | None = None
    prices: Mapping[str, float] | None = None
    when_infeasible: WhenInfeasible | None = None
    allow_quantization: bool | None = None
    draw: bool = True

    @property
    def wish(self) -> SearchWish:
        """The part that the search request is read from."""
        return SearchWish(
            model_config=self.model_config,
            own_gpu=self.gpu,
            trace=self.trace,
            when_infeasible=self.when_infeasible,
            allow_quantization=self.allow_quantization,
        )


def run_rapid(
    dgdr: Dgdr, output_dir: Path, options: RapidOptions, *, progress: Progress | None = None
) -> ProfileResult:
    """Search, pick and write all files into ``output_dir``.

    Whatever happens, ``profiler_status.yaml`` tells it.

    Raises:
        InputError: the DGDR lacks something or names something unknown.
        UnsupportedError: the DGDR asks for what this version cannot do.
        InfeasibleError: nothing fits; names the binding constraint.
    """
    status = StatusFile(output_dir, utc_text)
    try:
        return _run(dgdr, output_dir, options, status, progress or _silent)
    except (RehearsalError, OSError, KeyboardInterrupt) as error:
        status.failed(error)
        raise


def _run(
    dgdr: Dgdr,
    folder: Path,
    options: RapidOptions,
    status: StatusFile,
    progress: Progress,
) -> ProfileResult:
    status.running(ProfilingPhase.INITIALIZING, "Profiler job started")
    trusts_remote_code(dgdr, options.model_config)  # refused before any work, if at all
    if dgdr.spec.search_strategy is not SearchStrategy.RAPID:
        raise UnsupportedError(
            "spec.searchStrategy: thorough does not run here, this is the rapid search"
        )
    request = search_request(dgdr, options.wish)
    price = None if options.prices is None else price_of(options.prices, request.gpu.sku)
    engines = EngineFactory(request, options.timer_for, fabric(dgdr))
    simulator = SimcoreSimulator(request, engines, router=options.router, seed=options.seed)

    def report(phase: str, done: int, total: int) -> None:
        status.running(
            ProfilingPhase.SWEEPING_PREFILL,
            f"Sweeping parallelization strategies: {phase} {done}/{total}",
        )
        progress(phase, done, total)

    result = search(request, SimcoreEstimator(engines), simulator, report)
    status.running(
        ProfilingPhase.SELECTING_CONFIG,
        "Filtering results and selecting cost-efficient configuration "
        f"({len(result.points)} simulated of {len(result.screened)}, "
        f"{len(result.rejections)} ruled out)",
    )
    plan = engines.plan(
        result.picked.sized,
        name=dgdr.metadata.name,
        startup_s=options.startup_s,
        router=options.router,
    )
    status.running(ProfilingPhase.BUILDING_CURVES, "Building the curves of the picked engines")
    curves = curves_of(plan, request.isl, request.osl, options.timer_for)
    paths = [
        outputs.write_plan(folder, plan),
        *outputs.write_curves(folder, *curves),
        write_candidates(folder, result, engines, price, options.startup_s),
        outputs.write_pareto(folder, result, price),
    ]
    status.running(ProfilingPhase.GENERATING_DGD, "Generating the deployment")
    paths += _deploy(folder, with_backend(dgdr, plan), plan, options)
    note = _sla_note(result)
    status.succeeded("final_config.yaml", note or _outcome(result, price))
    # Readers of the status need no plots: they are drawn while the result travels.
    paths += [folder / STATUS_FILE, *(draw_plots(folder) if options.draw else ())]
    return ProfileResult(
        plan=plan,
        prefill_curves=curves[0],
        decode_curves=curves[1],
        picked=result.picked.sized.candidate.label,
        files={str(path.relative_to(folder)): path for path in paths},
        sla_note=note,
        backend_notes=tuple(backend_notes(result)),
    )


def check_request(dgdr: Dgdr, folder: Path, options: RapidOptions) -> None:
    """Check the request without a search; ``final_config.yaml`` is null.

    Raises:
        InputError: the DGDR lacks something or names something unknown.
    """
    status = StatusFile(folder, utc_text)
    try:
        search_request(dgdr, options.wish)
    except RehearsalError as error:
        status.failed(error)
        raise
    outputs.write_no_config(folder)
    status.succeeded("final_config.yaml", "dry run, nothing was searched")


def with_backend(dgdr: Dgdr, plan: DeploymentPlan) -> Dgdr:
    """The request with the backend of the plan where it left the choice open."""
    backend = plan.topology.pools[0].engine.backend
    spec = dgdr.spec.model_copy(update={"backend": Backend(backend.value)})
    return dgdr.model_copy(update={"spec": spec})


def _deploy(folder: Path, dgdr: Dgdr, plan: DeploymentPlan, options: RapidOptions) -> list[Path]:
    planner_config = outputs.write_planner_config(folder, dgdr, plan)
    written = [] if planner_config is None else [folder / "planner_config.json"]
    final_config = outputs.write_final_config(
        folder, dgdr, plan, planner_config, model_config=options.model_config
    )
    return [*written, final_config]


def _outcome(result: SearchResult, price: float | None) -> str:
    """The pick and the Pareto set in one line."""
    point = result.picked
    cost = None if price is None else cost_per_million_tokens(price, point.tokens_per_s_per_gpu)
    parts = [
        f"{point.sized.candidate.label} on {point.sized.gpus} GPUs",
        f"TTFT {point.ttft_ms:.0f} ms",
        f"ITL {point.itl_ms:.1f} ms",
        f"{point.tokens_per_s_per_gpu:.0f} output tokens/s per GPU",
        *([] if cost is None else [f"{cost:.3g} per million output tokens"]),
        f"{sum(result.pareto)} of {len(result.points)} simulated candidates on the Pareto set",
    ]
    return ", ".join(parts)


def _sla_note(result: SearchResult) -> str:
    if result.sla_met:
        return ""
    missed = f"SLA not met ({result.binding}): {shortfall(result.picked, result.request.sla)}"
    served = load_served_pct(result, result.picked)
    return missed if served in (None, 100.0) else f"{missed}; {served} % of the load served"


def _silent(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""
