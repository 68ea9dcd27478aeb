"""Options of the rapid search on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from contracts.plan import RouterPolicy
from profiler.core.request import WhenInfeasible
from profiler.dgdr.gpu_file import load_gpu
from profiler.dgdr.inputs import model_config_of, read_text
from profiler.dgdr.prices import load_prices
from profiler.dgdr.rapid import RapidOptions
from profiler.dgdr.settings import model_cache
from profiler.dgdr.step_times import load_step_times
from profiler.dgdr.trace import FORMATS, load_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class RapidArguments:
    """What ``python -m profiler`` takes."""

    config: Annotated[str, typer.Option(help="DGDR as a file (YAML or JSON) or as JSON text.")]
    output_dir: Annotated[Path, typer.Option(help="Where the files go.")] = Path(
        "profiling_results"
    )
    seed: Annotated[int, typer.Option(help="Seed of the simulated load.", min=0)] = 0
    startup_s: Annotated[float, typer.Option(help="Seconds until a worker is ready.", min=0)] = 30
    router: Annotated[
        RouterPolicy, typer.Option(help="How requests find a worker in the simulated check.")
    ] = RouterPolicy.LEAST_LOADED
    model_config: Annotated[
        Path | None, typer.Option(help="Local config.json of a model that is not bundled.")
    ] = None
    gpu_file: Annotated[
        Path | None, typer.Option(help="Facts of a GPU of your own (YAML), see docs/gpus.md.")
    ] = None
    step_times: Annotated[
        str, typer.Option(help="roofline, profile:DIR, table:FILE or aic, see docs/step-times.md.")
    ] = "roofline"
    trace: Annotated[
        Path | None, typer.Option(help="Requests to serve in place of the declared load.")
    ] = None
    trace_format: Annotated[
        str, typer.Option(help=f"Format of the trace: {', '.join(FORMATS)}.")
    ] = "auto"
    prices: Annotated[Path | None, typer.Option(help="Currency for a GPU-hour by SKU (YAML).")] = (
        None
    )
    when_infeasible: Annotated[
        WhenInfeasible | None,
        typer.Option(help="When nothing meets the targets; default: the annotation, else closest."),
    ] = None
    allow_quantization: Annotated[
        bool | None,
        typer.Option(
            "--allow-quantization/--no-quantization",
            help="Also search smaller types than the checkpoint's; default: annotation, else no.",
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the DGDR and stop.")] = False

    def options(self, model: str) -> RapidOptions:
        """The options of the search for a model; reads the files they name.

        Raises:
            InputError: a file is missing or damaged.
        """
        gpu, prices = self.gpu_file, self.prices
        trace, kind = self.trace, self.trace_format
        return RapidOptions(
            seed=self.seed,
            startup_s=self.startup_s,
            router=self.router,
            model_config=model_config_of(model, self.model_config, model_cache()),
            gpu=None if gpu is None else load_gpu(read_text(gpu), source=str(gpu)),
            timer_for=load_step_times(self.step_times),
            trace=None if trace is None else load_trace(trace, kind=kind),
            prices=None if prices is None else load_prices(read_text(prices), source=str(prices)),
            when_infeasible=self.when_infeasible,
            allow_quantization=self.allow_quantization,
        )
