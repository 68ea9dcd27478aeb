"""``profiler_status.yaml``: phase, message and outcome, readable at any moment."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import yaml

from profiler.dgdr.files import write_text

STATUS_FILE = "profiler_status.yaml"


class Phase(StrEnum):
    """Phases in their order, under the names of the DGDR status."""

    INITIALIZING = "Initializing"
    SWEEPING_PREFILL = "SweepingPrefill"
    SWEEPING_DECODE = "SweepingDecode"
    SELECTING_CONFIG = "SelectingConfig"
    BUILDING_CURVES = "BuildingCurves"
    GENERATING_DGD = "GeneratingDGD"
    DONE = "Done"


class StatusFile:
    """Rewrites the status file at every change.

    Args:
        folder: output folder of the profiler.
        now_text: the present UTC time as text.
    """

    def __init__(self, folder: Path, now_text: Callable[[], str]) -> None:
        self._path = folder / STATUS_FILE
        self._now_text = now_text
        self._phase = Phase.INITIALIZING

    def running(self, phase: Phase, message: str) -> None:
        """A phase has begun."""
        self._phase = phase
        self._write({"status": "running", "message": message})

    def succeeded(
        self, final_config: str, message: str = "Profiler completed successfully"
    ) -> None:
        """All files are there."""
        self._phase = Phase.DONE
        self._write(
            {
                "status": "success",
                "message": message,
                "outputs": {"final_config": final_config},
            }
        )

    def failed(self, error: BaseException) -> None:
        """The profiler gave up in the phase it had reached."""
        kind = type(error).__name__
        message = f"Profiler failed with exception: {kind}"
        self._write({"status": "failed", "message": message, "error": str(error) or kind})

    def _write(self, entries: dict[str, object]) -> None:
        content = {**entries, "phase": self._phase.value, "timestamp": self._now_text()}
        write_text(self._path, yaml.safe_dump(content, sort_keys=False))
