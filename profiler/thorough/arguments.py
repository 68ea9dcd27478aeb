"""Options of the measured search on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from profiler.dgdr.gpu_file import load_gpu
from profiler.dgdr.inputs import model_config_of, read_text
from profiler.dgdr.settings import model_cache
from profiler.dgdr.step_times import load_step_times
from profiler.thorough.budget import Caps
from profiler.thorough.options import CurveMode, DeployerKind, MeasurerKind, ThoroughOptions
from profiler.thorough.settings import identity_from_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoroughArguments:
    """What ``python -m profiler`` takes for a thorough request."""

    config: Annotated[str, typer.Option(help="DGDR as a file (YAML or JSON) or as JSON text.")]
    output_dir: Annotated[
        Path, typer.Option(help="Where the files go; a search that is there is taken up.")
    ] = Path("profiling_results")
    deployer: Annotated[
        DeployerKind | None,
        typer.Option(help="Default: kubernetes inside a cluster, sim elsewhere."),
    ] = None
    measurer: Annotated[
        MeasurerKind, typer.Option(help="auto takes AIPerf for real engines where it is.")
    ] = MeasurerKind.AUTO
    speed: Annotated[
        float, typer.Option(help="Seconds of mocked engines in a second of wall time.")
    ] = 1.0
    seed: Annotated[int, typer.Option(help="Chooses the prompts.", min=0)] = 0
    repeats: Annotated[
        int, typer.Option(help="Measure each load so often, medians count.", min=1)
    ] = 1
    startup_s: Annotated[
        float, typer.Option(help="Seconds until a worker is ready (sim, plan).", min=0)
    ] = 30
    deployment_timeout: Annotated[
        float, typer.Option(help="Seconds until a candidate must be ready.", min=1)
    ] = 3600
    poll_s: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 20
    max_hours: Annotated[
        float | None, typer.Option(help="Cap on the time with deployments up.")
    ] = None
    max_gpu_hours: Annotated[float | None, typer.Option(help="Cap on GPU-hours.")] = None
    prefill_interpolation_granularity: Annotated[
        int, typer.Option(help="Steps of the prefill curve.", min=2)
    ] = 16
    decode_interpolation_granularity: Annotated[
        int, typer.Option(help="Steps of the decode curve.", min=1)
    ] = 6
    curves: Annotated[
        CurveMode, typer.Option(help="auto: when a planner or the mocker needs them.")
    ] = CurveMode.AUTO
    context_tokens: Annotated[
        int | None, typer.Option(help="Longest context on the curves.", min=1)
    ] = None
    kubeconfig: Annotated[
        str | None, typer.Option(help="Default: service account, then the default file.")
    ] = None
    tokenizer: Annotated[
        str | None, typer.Option(help="For AIPerf: name or local folder; default the model.")
    ] = None
    model_config: Annotated[
        Path | None, typer.Option(help="Local config.json of a model that is not bundled.")
    ] = None
    gpu_file: Annotated[Path | None, typer.Option(help="Facts of a GPU of your own (YAML).")] = None
    step_times: Annotated[
        str, typer.Option(help="Of simulated and mocked engines, see docs/step-times.md.")
    ] = "roofline"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the DGDR and stop.")] = False

    def options(self, name: str, model: str) -> ThoroughOptions:
        """The options of the search; reads the files they name.

        Args:
            name: of the request.
            model: id of its model.

        Raises:
            InputError: a file is missing or damaged, or a value is out of range.
        """
        identity = identity_from_environment(name)
        fallback = DeployerKind.SIM if identity is None else DeployerKind.KUBERNETES
        gpu = self.gpu_file
        return ThoroughOptions(
            deployer=self.deployer or fallback,
            measurer=self.measurer,
            speed=self.speed,
            seed=self.seed,
            repeats=self.repeats,
            startup_s=self.startup_s,
            model_config=model_config_of(model, self.model_config, model_cache()),
            gpu=None if gpu is None else load_gpu(read_text(gpu), source=str(gpu)),
            timer_for=load_step_times(self.step_times),
            step_times=self.step_times,
            caps=Caps(hours=self.max_hours, gpu_hours=self.max_gpu_hours),
            curves=self.curves,
            deployment_timeout_s=self.deployment_timeout,
            poll_s=self.poll_s,
            prefill_granularity=self.prefill_interpolation_granularity,
            decode_granularity=self.decode_interpolation_granularity,
            context_tokens=self.context_tokens,
            kubeconfig=self.kubeconfig,
            identity=identity,
            tokenizer=self.tokenizer,
        )
