"""The thorough strategy: every candidate is deployed and measured."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from contracts.errors import RehearsalError
from dgdr import Dgdr, ProfilingPhase
from profiler.dgdr.settings import utc_text
from profiler.dgdr.status import StatusFile
from profiler.thorough.bench import Rig
from profiler.thorough.budget import Meter
from profiler.thorough.journal import Journal
from profiler.thorough.log import ProfileLog, profile_log
from profiler.thorough.options import ThoroughOptions
from profiler.thorough.ports import OutputError
from profiler.thorough.rigs import Tools, tools_for
from profiler.thorough.search import Search, ThoroughResult
from profiler.thorough.sweep import Progress
from profiler.thorough.wish import wish_of


def run_thorough(
    dgdr: Dgdr,
    output_dir: Path,
    options: ThoroughOptions,
    progress: Progress | None = None,
    tools: Tools | None = None,
) -> ThoroughResult:
    """Deploy and measure candidates, pick, and write all files into ``output_dir``.

    A folder that a search left behind is taken up: what its journal holds is not measured
    again. Whatever happens, ``profiler_status.yaml`` tells it.

    Args:
        dgdr: a validated request.
        output_dir: output folder.
        options: how to search.
        progress: told about every candidate.
        tools: deployer, measurer and clock in place of those that the options name.

    Raises:
        InputError: the DGDR lacks something, or the folder holds another search.
        UnsupportedError: something that the options name is not there.
        InfeasibleError: nothing fits or nothing could be measured.
        PermanentError: the cluster, the disk or a picked engine failed.
    """
    folder = output_dir.resolve()
    status = StatusFile(folder, utc_text)
    try:
        with _disk(folder), profile_log(folder) as log:
            log.info("search of %s with %s", dgdr.metadata.name, options.deployer.value)
            try:
                return _run(dgdr, folder, options, status, log, progress or _silent, tools)
            except BaseException as error:
                log.log(logging.ERROR, "%s: %s", type(error).__name__, error)
                raise
    except (RehearsalError, OSError, KeyboardInterrupt) as error:
        _tell(status, error)
        raise


def _run(  # noqa: PLR0913  # the parts of a search
    dgdr: Dgdr,
    folder: Path,
    options: ThoroughOptions,
    status: StatusFile,
    log: ProfileLog,
    progress: Progress,
    tools: Tools | None,
) -> ThoroughResult:
    status.running(ProfilingPhase.INITIALIZING, "Profiler job started")
    wish = wish_of(dgdr, options.model_config, options.gpu)
    journal = Journal(folder, options.digest(dgdr))
    if journal.resumed:
        log.info("going on with what is in the journal")
    with contextlib.ExitStack() as stack:
        if tools is None:
            tools = stack.enter_context(tools_for(dgdr, options, log))
        rig = Rig(
            deployer=tools.deployer,
            measurer=tools.measurer,
            meter=Meter(options.caps, journal, tools.clock),
            journal=journal,
            log=log,
            seed=options.seed,
            repeats=options.repeats,
        )
        return Search(dgdr, wish, options, folder, rig, status, progress).run()


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Errors of the file system that nobody else explained."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}") from error


def _tell(status: StatusFile, error: BaseException) -> None:
    """Write the failure; when even that fails, the old status stays readable."""
    try:
        status.failed(error)
    except OSError as second:
        sys.stderr.write(f"the status file cannot be written: {second}\n")


def _silent(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""
