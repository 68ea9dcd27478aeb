"""Command line of the measured search."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from contracts.command_line import with_options
from contracts.errors import InfeasibleError
from contracts.ports import TimerFactory
from dgdr import Dgdr
from profiler.dgdr.files import write_text
from profiler.dgdr.inputs import load_request
from profiler.dgdr.settings import utc_text
from profiler.dgdr.status import StatusFile
from profiler.thorough.arguments import ThoroughArguments
from profiler.thorough.candidates import engine_candidates
from profiler.thorough.options import ThoroughOptions
from profiler.thorough.run import run_thorough
from profiler.thorough.wish import wish_of

Bars = Callable[[], AbstractContextManager[Callable[[str, int, int], None]]]
Finish = Callable[[Path, Dgdr, TimerFactory], object]


def command(bars: Bars, finish: Finish) -> Callable[..., object]:
    """The command, for a typer application.

    Args:
        bars: shows progress.
        finish: is called with the output folder, the request and its step times at the end.
    """

    def thorough(given: ThoroughArguments) -> None:
        """Deploy every candidate, measure it and pick, see docs/thorough.md."""
        dgdr = load_request(given.config)
        if given.dry_run:
            dry(dgdr, given.output_dir)
            return
        options = given.options(dgdr.metadata.name, dgdr.spec.model)
        _run(dgdr, given.output_dir, options, bars)
        finish(given.output_dir, dgdr, options.timer_for)

    return with_options(ThoroughArguments, thorough)


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
