"""Runs a run folder again from what lies in it, and compares event by event."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError
from harness.compare import Divergence, first_divergence
from harness.run import REPLAY_FILE, Execution, execute
from harness.scenario import Scenario, load_scenario
from harness.store import LoadedRun, RunFolder, load_run

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay.

    Attributes:
        folder: of the new run.
        same: runs (``rung/seed``) whose digests and events are equal; ``verdict`` when the
            recorded run was refused, as its scenario expects, and is refused again.
        diverged: the first event that differs, by run.
        not_compared: runs on a wall clock, which never repeat bit for bit.
    """

    folder: Path
    same: tuple[str, ...]
    diverged: dict[str, Divergence]
    not_compared: tuple[str, ...]


def replay_scenario(folder: Path) -> Scenario:
    """The scenario of a run folder, read from its copies of all inputs.

    Raises:
        InputError: the folder lacks a copy, or one was changed since.
    """
    recorded = load_run(folder)
    path = folder / "inputs" / REPLAY_FILE
    if REPLAY_FILE not in recorded.manifest.inputs or not path.is_file():
        raise InputError(f"cannot be replayed: it has no inputs/{REPLAY_FILE}", source=str(folder))
    for name, digest in recorded.manifest.inputs.items():
        found = hashlib.sha256((folder / "inputs" / name).read_bytes()).hexdigest()
        if found != digest:
            raise InputError(
                "was changed since the run", source=str(folder / "inputs" / name),
                value=found[:12], allowed=digest[:12],
            )  # fmt: skip
    return load_scenario(path)


def replay(recorded: LoadedRun, scenario: Scenario, into: RunFolder, progress: Progress) -> Replay:
    """Run the scenario of ``recorded`` into a new folder and compare.

    Args:
        recorded: the run to repeat.
        scenario: what :func:`replay_scenario` said.
        into: an entered run folder.
        progress: as for :func:`harness.run.execute`.
    """
    done = execute(scenario, into, rungs=scenario.rungs, progress=progress)
    if not recorded.runs:
        return _refused(recorded, done)
    again = {run.key: run for run in load_run(into.path).runs}
    same, diverged, skipped = [], {}, []
    for run in recorded.runs:
        if run.record.digest is None:
            skipped.append(run.key)
            continue
        other = again.get(run.key)
        if other is not None and other.record.digest == run.record.digest:
            same.append(run.key)
            continue
        found = None if other is None else first_divergence(run, other)
        diverged[run.key] = found or Divergence(
            number=0, at_s=0.0, left=f"digest {run.record.digest}",
            right=f"digest {other.record.digest}, every recorded event is equal" if other else None,
        )  # fmt: skip
    return Replay(
        folder=into.path, same=tuple(same), diverged=diverged, not_compared=tuple(skipped)
    )


def _refused(recorded: LoadedRun, done: Execution) -> Replay:
    """A run without results has nothing but its verdict to compare."""
    checks = [verdict.checks if verdict else () for verdict in (recorded.verdict, done.verdict)]
    notes = ["; ".join(check.note for check in side) or "no verdict" for side in checks]
    outcome = None if recorded.verdict is None else recorded.verdict.outcome
    same = outcome is done.verdict.outcome
    apart = Divergence(number=0, at_s=0.0, left=notes[0], right=notes[1])
    return Replay(
        folder=done.folder,
        same=("verdict",) if same else (),
        diverged={} if same else {"verdict": apart},
        not_compared=(),
    )
