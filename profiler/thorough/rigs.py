"""Which deployer, measurer and clock the options name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import UnsupportedError
from contracts.units import ns_to_s
from dgdr import Dgdr
from profiler.load import clock as load
from profiler.thorough.log import ProfileLog
from profiler.thorough.options import DeployerKind, ThoroughOptions
from profiler.thorough.ports import Clock, Deployer, Measurer
from profiler.thorough.virtual import SimDeployer, VirtualClock, VirtualMeasurer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a search works with."""

    deployer: Deployer
    measurer: Measurer
    clock: Clock


class WallClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Seconds since an arbitrary instant."""
        return ns_to_s(load.WallClock().now_ns())


@contextmanager
def tools_for(
    dgdr: Dgdr, folder: Path, options: ThoroughOptions, log: ProfileLog
) -> Iterator[Tools]:
    """Tools that are ready while the block is active.

    Raises:
        UnsupportedError: AIPerf is asked for and not installed.
        PermanentError: there is no cluster to talk to.
    """
    if options.deployer is DeployerKind.SIM:
        clock = VirtualClock()
        yield Tools(
            deployer=SimDeployer(clock, options.startup_s, options.timer_for),
            measurer=VirtualMeasurer(clock, options.timer_for),
            clock=clock,
        )
        return
    raise UnsupportedError(f"{dgdr.metadata.name} {folder} {log}")
