"""Reports and plots of run folders, made when somebody wants to see them.

Drawing takes as long as the run itself and needs much memory, so it happens in a process of
its own, one at a time; ``python -m harness.service.reports FOLDER`` is that process.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from contracts.errors import PermanentError

REPORT_FILE = "report.html"
_LIMIT_S = 120.0


class Reports:
    """Makes reports that are missing."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def ready(self, folder: Path) -> Path:
        """The report of a complete run folder.

        Raises:
            PermanentError: it cannot be made.
        """
        path = folder / REPORT_FILE
        async with self._one:
            if not path.is_file():
                await _make(folder)
        return path


async def _make(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.service.reports", str(folder),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise PermanentError(f"no report of {folder.name}: {last}")


def main() -> int:
    """Write the report of the folder that the command line names, and plots it lacks."""
    # The service itself imports this file, and never draws.
    from harness.report import write_report  # noqa: PLC0415
    from profiler import draw_missing  # noqa: PLC0415

    folder = Path(sys.argv[1])
    write_report(folder)
    draw_missing(folder / "profile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
