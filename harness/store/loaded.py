"""Reads a run folder back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter

from contracts.errors import InputError
from contracts.records import FaultRecord, RunRecord
from harness.store.files import read_json
from harness.store.folder import MANIFEST, SETUP, VERDICT, writer_is_gone
from harness.store.manifest import Manifest, RunStatus
from harness.store.pareto import ParetoSet
from harness.store.results import LoadCheck, RungRun, RunSetup
from harness.store.tables import RunTables
from harness.store.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunEntry:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rung: str
    seed: int
    digest: str | None
    duration_s: float
    faults: tuple[FaultRecord, ...]
    load: LoadCheck | None
    facts: dict[str, str] = field(default_factory=dict)


_ENTRIES = TypeAdapter(tuple[_RunEntry, ...])
_PARETO = TypeAdapter(ParetoSet)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedRun:
    """A run folder in memory; what was not reached yet is ``None`` or empty."""

    path: Path
    manifest: Manifest
    setup: RunSetup | None
    runs: tuple[RungRun, ...]
    verdict: Verdict | None
    pareto: ParetoSet | None

    def rungs(self) -> tuple[str, ...]:
        """Rungs that have results, in the order in which they ran."""
        return tuple(dict.fromkeys(run.rung for run in self.runs))

    def of_rung(self, rung: str) -> tuple[RungRun, ...]:
        """The runs of one rung, one for each seed."""
        return tuple(run for run in self.runs if run.rung == rung)


def load_run(path: Path) -> LoadedRun:
    """Return what a run folder holds, however far the run got.

    Raises:
        InputError: not a run folder, or a file in it is damaged.
    """
    manifest = read_json(path / "manifest.json", MANIFEST)
    if manifest is None:
        raise InputError("is not a run folder: it has no manifest.json", source=str(path))
    if manifest.status is RunStatus.RUNNING and writer_is_gone(path):
        reason = "interrupted: the process that wrote it is gone"
        manifest = replace(manifest, status=RunStatus.INCOMPLETE, reason=reason)
    tables = RunTables(path)
    entries = read_json(path / "runs.json", _ENTRIES) or ()
    return LoadedRun(
        path=path,
        manifest=manifest,
        setup=read_json(path / "setup.json", SETUP),
        runs=tuple(_run(entry, tables) for entry in entries),
        verdict=read_json(path / "verdict.json", VERDICT),
        pareto=read_json(path / "profile" / "pareto.json", _PARETO),
    )


def _run(entry: _RunEntry, tables: RunTables) -> RungRun:
    record = RunRecord(
        table=tables.requests(entry.rung, entry.seed),
        worker_events=tables.worker_events(entry.rung, entry.seed),
        faults=entry.faults,
        digest=entry.digest,
        duration_s=entry.duration_s,
        token_gaps=tables.token_gaps(entry.rung, entry.seed),
    )
    return RungRun(
        rung=entry.rung,
        seed=entry.seed,
        record=record,
        decisions=tables.decisions(entry.rung, entry.seed),
        load=entry.load,
        facts=entry.facts,
    )
