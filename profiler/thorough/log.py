"""``profile_sla.log``: everything that happened, for people."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiler.thorough.ports import OutputError

LOG_FILE = "profile_sla.log"
ProfileLog = logging.Logger


@contextmanager
def profile_log(folder: Path) -> Iterator[ProfileLog]:
    """A logger that appends to the file of a folder.

    Raises:
        OutputError: the file cannot be opened.
    """
    log = logging.Logger("profiler.thorough", level=logging.INFO)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder / LOG_FILE} cannot be written: {error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        handler.close()
