"""Writes a run folder. Whatever happens, the folder says how far the run got.

The manifest is there from the first moment with status ``running``. Leaving the
``with`` block sets ``complete``, ``incomplete`` (interrupted, or left early) or
``failed``. While the block is active the process holds a lock on ``.lock``; a reader
that finds ``running`` but can take the lock knows that the writer was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from contracts.errors import InvariantError
from harness.store import tables
from harness.store.files import JsonObject, write_json, write_text
from harness.store.manifest import Manifest, RunStatus
from harness.store.results import RungRun, RunSetup
from harness.store.verdict import Verdict

LOCK_FILE = ".lock"
MANIFEST = TypeAdapter(Manifest)
SETUP = TypeAdapter(RunSetup)
VERDICT = TypeAdapter(Verdict)
DIGESTS = TypeAdapter(dict[str, str | None])
RUNS = TypeAdapter(list[JsonObject])


class RunFolder:
    """One folder below the runs root, open for writing; use it in a ``with`` block.

    Attributes:
        path: the folder.
        manifest: what its manifest currently says.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: int) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._runs: list[RungRun] = []
        self._finished = False
        self._now_text: Callable[[], str] | None = None

    @classmethod
    def create(
        cls, root: Path, manifest: Manifest, *, now_text: Callable[[], str] | None = None
    ) -> Self:
        """Make ``<root>/<started>-<scenario>-<n>`` with the first free n.

        The folder appears under its name together with its manifest, in one rename.

        Args:
            root: folder of all runs, made if missing.
            manifest: its ``started`` is a UTC text fit for a file name.
            now_text: the present UTC time as text, asked for at the end of the run.
        """
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        lock = os.open(temporary / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            temporary.chmod(0o755)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_json(temporary / "manifest.json", manifest, MANIFEST)
            path = _claim(temporary, root, f"{manifest.started}-{manifest.scenario}")
        except BaseException:
            os.close(lock)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        folder = cls(path, manifest, lock)
        folder._now_text = now_text
        return folder

    def add_input(self, name: str, content: bytes) -> None:
        """Keep a copy of an input file under ``inputs/`` and its hash in the manifest."""
        target = self.path / "inputs" / name
        if not target.resolve().is_relative_to((self.path / "inputs").resolve()):
            raise InvariantError(f"input {name!r} would leave the run folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        self._update(replace(self.manifest, inputs={**self.manifest.inputs, name: digest}))

    def write_setup(self, setup: RunSetup) -> None:
        """Write ``setup.json``: the plan and the facts that the report shows."""
        write_json(self.path / "setup.json", setup, SETUP)

    def write_text(self, name: str, text: str) -> Path:
        """Write any further file, for example the report; returns its path."""
        write_text(self.path / name, text)
        return self.path / name

    def add_run(self, run: RungRun) -> None:
        """Add the results of one rung and seed; every file is complete afterwards."""
        if run.key in {known.key for known in self._runs}:
            raise InvariantError(f"results of {run.key} were already stored")
        self._runs.append(run)
        tables.write_table(self.path / "requests.parquet", tables.request_rows(self._runs))
        tables.write_table(self.path / "ticks.parquet", tables.tick_rows(self._runs))
        tables.write_table(self.path / "workers.parquet", tables.worker_rows(self._runs))
        tables.write_table(self.path / "token_gaps.parquet", tables.gap_rows(self._runs))
        digests = {known.key: known.record.digest for known in self._runs}
        write_json(self.path / "digests.json", digests, DIGESTS)
        # runs.json lists the runs to read back, so it comes last.
        write_json(self.path / "runs.json", [_run_entry(known) for known in self._runs], RUNS)

    def finish(self, verdict: Verdict) -> None:
        """Write the verdict; leaving the block then marks the run complete."""
        write_json(self.path / "verdict.json", verdict, VERDICT)
        self._finished = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status, reason = self._ending(error)
        try:
            finished = self._now_text() if self._now_text else None
            self._update(replace(self.manifest, status=status, reason=reason, finished=finished))
        finally:
            (self.path / LOCK_FILE).unlink(missing_ok=True)
            os.close(self._lock)

    def _ending(self, error: BaseException | None) -> tuple[RunStatus, str]:
        if error is None:
            if self._finished:
                return RunStatus.COMPLETE, ""
            return RunStatus.INCOMPLETE, "the run ended before its verdict"
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, Exception):
            return RunStatus.FAILED, text
        return RunStatus.INCOMPLETE, f"interrupted: {text}"

    def _update(self, manifest: Manifest) -> None:
        write_json(self.path / "manifest.json", manifest, MANIFEST)
        self.manifest = manifest


def writer_is_gone(path: Path) -> bool:
    """Whether nobody holds the lock of a folder whose manifest says ``running``."""
    try:
        lock = os.open(path / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _claim(temporary: Path, root: Path, stem: str) -> Path:
    for number in range(1, 10_000):
        path = root / f"{stem}-{number}"
        if path.exists():
            continue
        try:
            temporary.rename(path)
        except OSError:
            if not path.exists():
                raise
        else:
            return path
    raise InvariantError(f"no free folder name for {stem} in {root}")


def _run_entry(run: RungRun) -> JsonObject:
    return {
        "rung": run.rung,
        "seed": run.seed,
        "digest": run.record.digest,
        "duration_s": run.record.duration_s,
        "faults": run.record.faults,
        "load": run.load,
        "facts": run.facts,
    }
