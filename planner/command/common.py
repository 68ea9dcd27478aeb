"""What all commands share: reading files, printing decisions, ending on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict
from pathlib import Path

from contracts.errors import InputError
from planner.adapters.connected import TickReport
from planner.adapters.curves import curves_folder, read_curves
from planner.adapters.journal import JournalWriter
from planner.core.capacity import CapacityModel
from planner.core.config import PlannerConfig
from planner.loop import Planner, View
from planner.settings import PlannerSettings, load_settings, to_config

TIMEOUT_S_MAX, TIMEOUT_S_MIN = 10.0, 1.0


def read_settings(path: Path) -> PlannerSettings:
    """The settings of a file.

    Raises:
        InputError: the file cannot be read, or a setting is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    return load_settings(text, str(path))


def make_planner(
    path: Path,
    settings: PlannerSettings,
    *,
    profile_dir: Path | None,
    config: PlannerConfig | None = None,
) -> Planner:
    """A planner that knows nothing yet.

    Args:
        path: file of the settings.
        settings: its content.
        profile_dir: the profiler's results; None looks where the settings say.
        config: instead of the one that follows from the settings.

    Raises:
        InputError: the settings are not complete, or curves are missing or unusable.
    """
    config = config or to_config(settings)
    folder = profile_dir or curves_folder(path, settings.profile_results_dir)
    prefill, decode = read_curves(folder)
    return Planner(config, CapacityModel(prefill=prefill, decode=decode))


def timeout_s(period_s: float) -> float:
    """How long a request may take when a tick takes so long."""
    return max(TIMEOUT_S_MIN, min(TIMEOUT_S_MAX, period_s))


def print_report(report: TickReport, **more: object) -> None:
    """One decision as a line of JSON on stdout."""
    line = {
        **more,
        **asdict(report.decision),
        "applied": report.applied.value,
        "problem": report.problem,
        "changes": report.changes,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def journal(path: Path | None, digest: str) -> Iterator[Callable[[View], None] | None]:
    """Records what a planner sees while the block is active.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        sink = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error}", source=str(path)) from error
    with sink:
        yield JournalWriter(sink, digest)


async def until_signal(work: Coroutine[None, None, None]) -> None:
    """Run until the work is done, or cancel it on SIGTERM."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
