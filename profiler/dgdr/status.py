"""``profiler_status.yaml``: phase, message and outcome, readable at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from dgdr import ProfilingPhase
from profiler.dgdr.files import write_text

STATUS_FILE = "profiler_status.yaml"


class StatusFile:
    """Rewrites the status file at every change.

    Args:
        folder: output folder of the profiler.
        now_text: the present UTC time as text.
    """

    def __init__(self, folder: Path, now_text: Callable[[], str]) -> None:
        self._path = folder / STATUS_FILE
        self._now_text = now_text
        self._phase = ProfilingPhase.INITIALIZING
        self._phases: list[str] = []

    def running(self, phase: ProfilingPhase, message: str) -> None:
        """A phase has begun, or goes on."""
        self._phase = phase
        self._write({"status": "running", "message": message})

    def succeeded(self, final_config: str, note: str = "") -> None:
        """The deployment is written; a note says what the user should know about the result.

        Plots and the page may still be on their way: they are there when the process ends.
        """
        self._phase = ProfilingPhase.DONE
        message = "Profiler completed successfully"
        self._write(
            {
                "status": "success",
                "message": f"{message}; {note}" if note else message,
                "outputs": {"final_config": final_config},
            }
        )

    def failed(self, error: BaseException) -> None:
        """The profiler gave up in the phase it had reached."""
        kind = type(error).__name__
        message = f"Profiler failed with exception: {kind}"
        self._write({"status": "failed", "message": message, "error": str(error) or kind})

    def _write(self, entries: dict[str, object]) -> None:
        if self._phase.value not in self._phases:
            self._phases.append(self._phase.value)
        content = {
            **entries,
            "phase": self._phase.value,
            # Readers look now and then: the shortest phase is not lost on them.
            "phases": self._phases,
            "timestamp": self._now_text(),
        }
        write_text(self._path, yaml.safe_dump(content, sort_keys=False))
