"""Command line of the measured search."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InfeasibleError
from contracts.ports import TimerFactory
from dgdr import Dgdr
from profiler.dgdr.files import write_text
from profiler.dgdr.gpu_file import load_gpu
from profiler.dgdr.settings import utc_text
from profiler.dgdr.status import StatusFile
from profiler.dgdr.step_times import load_step_times
from profiler.thorough.budget import Caps
from profiler.thorough.candidates import engine_candidates
from profiler.thorough.dispatch import load_request, read_text
from profiler.thorough.options import (
    CurveMode,
    DeployerKind,
    MeasurerKind,
    ThoroughOptions,
)
from profiler.thorough.run import run_thorough
from profiler.thorough.settings import identity_from_environment
from profiler.thorough.wish import wish_of

Bars = Callable[[], AbstractContextManager[Callable[[str, int, int], None]]]
Finish = Callable[[Path, Dgdr, TimerFactory], object]


def command(bars: Bars, finish: Finish) -> Callable[..., None]:
    """The command, for a typer application.

    Args:
        bars: shows progress.
        finish: is called with the output folder, the request and its step times at the end.
    """

    def thorough(  # noqa: PLR0913  # options of a command line
        config: Annotated[str, typer.Option(help="DGDR as a file (YAML or JSON) or as JSON text.")],
        output_dir: Annotated[
            Path, typer.Option(help="Where the files go; a search that is there is taken up.")
        ] = Path("profiling_results"),
        deployer: Annotated[
            DeployerKind | None,
            typer.Option(help="Default: kubernetes inside a cluster, sim elsewhere."),
        ] = None,
        measurer: Annotated[
            MeasurerKind, typer.Option(help="auto takes AIPerf for real engines where it is.")
        ] = MeasurerKind.AUTO,
        speed: Annotated[
            float, typer.Option(help="Seconds of mocked engines in a second of wall time.")
        ] = 1.0,
        seed: Annotated[int, typer.Option(help="Chooses the prompts.", min=0)] = 0,
        repeats: Annotated[
            int, typer.Option(help="Measure each load so often, medians count.", min=1)
        ] = 1,
        startup_s: Annotated[
            float, typer.Option(help="Seconds until a worker is ready (sim, plan).", min=0)
        ] = 30,
        deployment_timeout: Annotated[
            float, typer.Option(help="Seconds until a candidate must be ready.", min=1)
        ] = 3600,
        poll_s: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 20,
        max_hours: Annotated[
            float | None, typer.Option(help="Cap on the time with deployments up.")
        ] = None,
        max_gpu_hours: Annotated[float | None, typer.Option(help="Cap on GPU-hours.")] = None,
        prefill_interpolation_granularity: Annotated[
            int, typer.Option(help="Steps of the prefill curve.", min=2)
        ] = 16,
        decode_interpolation_granularity: Annotated[
            int, typer.Option(help="Steps of the decode curve.", min=1)
        ] = 6,
        curves: Annotated[
            CurveMode, typer.Option(help="auto: when a planner or the mocker needs them.")
        ] = CurveMode.AUTO,
        context_tokens: Annotated[
            int | None, typer.Option(help="Longest context on the curves.", min=1)
        ] = None,
        kubeconfig: Annotated[
            str | None, typer.Option(help="Default: service account, then the default file.")
        ] = None,
        tokenizer: Annotated[
            str | None, typer.Option(help="For AIPerf: name or local folder; default the model.")
        ] = None,
        model_config: Annotated[
            Path | None, typer.Option(help="Local config.json of a model that is not bundled.")
        ] = None,
        gpu_file: Annotated[
            Path | None, typer.Option(help="Facts of a GPU of your own (YAML).")
        ] = None,
        step_times: Annotated[
            str, typer.Option(help="Of simulated and mocked engines, see docs/step-times.md.")
        ] = "roofline",
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Check the DGDR and stop.")
        ] = False,
    ) -> None:
        """Deploy every candidate, measure it and pick, see docs/thorough.md."""
        dgdr = load_request(config)
        if dry_run:
            dry(dgdr, output_dir)
            return
        identity = identity_from_environment(dgdr.metadata.name)
        fallback = DeployerKind.SIM if identity is None else DeployerKind.KUBERNETES
        options = ThoroughOptions(
            deployer=deployer or fallback,
            measurer=measurer,
            speed=speed,
            seed=seed,
            repeats=repeats,
            startup_s=startup_s,
            model_config=None if model_config is None else json.loads(read_text(model_config)),
            gpu=None if gpu_file is None else load_gpu(read_text(gpu_file), source=str(gpu_file)),
            timer_for=load_step_times(step_times),
            step_times=step_times,
            caps=Caps(hours=max_hours, gpu_hours=max_gpu_hours),
            curves=curves,
            deployment_timeout_s=deployment_timeout,
            poll_s=poll_s,
            prefill_granularity=prefill_interpolation_granularity,
            decode_granularity=decode_interpolation_granularity,
            context_tokens=context_tokens,
            kubeconfig=kubeconfig,
            identity=identity,
            tokenizer=tokenizer,
        )
        _run(dgdr, output_dir, options, bars)
        finish(output_dir, dgdr, options.timer_for)

    return thorough


def dry(dgdr: Dgdr, output_dir: Path) -> None:
    """Check what can be checked without a deployment; the final configuration is null.

    Raises:
        InputError: the request cannot be measured.
        InfeasibleError: no engine fits.
    """
    wish = wish_of(dgdr)
    found, refused = engine_candidates(wish)
    if not found:
        reasons = [f"{shape.label}: {shape.reason}" for shape in refused]
        raise InfeasibleError(
            f"no engine for {wish.model.model_id} fits",
            binding_constraint=refused[0].reason if refused else "no candidate",
            closest=reasons,
        )
    write_text(output_dir / "final_config.yaml", "null\n")
    StatusFile(output_dir, utc_text).succeeded("final_config.yaml")
    labels = ", ".join(candidate.label for candidate in found)
    sys.stdout.write(f"{dgdr.metadata.name}: valid; engines to be measured: {labels}\n")


def _run(dgdr: Dgdr, output_dir: Path, options: ThoroughOptions, bars: Bars) -> None:
    # A pod that is stopped must delete its deployments, so SIGTERM unwinds as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with bars() as report:
        result = run_thorough(dgdr, output_dir, options, progress=report)
    pools = ", ".join(
        f"{pool.replicas} x {pool.role.value} TP{pool.engine.tp}"
        for pool in result.plan.topology.pools
    )
    sys.stdout.write(
        f"picked {result.picked} ({pools}; {result.plan.gpus} GPUs) with "
        f"{options.deployer.value} -> {output_dir}\n{result.message}\n"
    )
