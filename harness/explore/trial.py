"""One scenario tried out in virtual time, without a trace in the runs folder."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.errors import InvariantError, RehearsalError
from harness.run import execute
from harness.scenario import Rung, Scenario
from harness.store import Manifest, Outcome, RunFolder, Verdict, load_run


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What came of it.

    Attributes:
        error: text of the error that ended it; empty when there was a verdict.
        bug: the error is ours.
        digests: by ``rung/seed``.
    """

    verdict: Verdict | None
    error: str
    bug: bool
    digests: dict[str, str | None]

    @property
    def failing(self) -> frozenset[str]:
        """Names of the checks that failed, or the kind of the error."""
        if self.verdict is None:
            return frozenset({f"error: {self.error.partition(':')[0]}"})
        checks = self.verdict.checks
        return frozenset(each.name for each in checks if each.outcome is Outcome.FAIL)


class Tries(Protocol):
    """Runs scenarios to find out what comes of them."""

    def run(self, scenario: Scenario) -> TrialResult:
        """Run to the verdict or to an error; errors of the user and bugs are results here."""
        ...


class Trial:
    """Tries scenarios on rung ``sim`` in temporary folders."""

    def run(self, scenario: Scenario) -> TrialResult:
        """As :meth:`Tries.run`."""
        manifest = Manifest(
            scenario=scenario.name, scenario_text=scenario.text, rungs=(Rung.SIM.value,),
            seeds=scenario.seeds, command_line=(), rerun_line="", versions={}, platform={},
            started="trial",
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="trial-") as name:
            try:
                with RunFolder.create(Path(name), manifest) as folder:
                    done = execute(scenario, folder, rungs=(Rung.SIM,), progress=_ignore)
            except RehearsalError as error:
                text = f"{type(error).__name__}: {error}"
                bug = isinstance(error, InvariantError)
                return TrialResult(verdict=None, error=text, bug=bug, digests={})
            digests = {run.key: run.record.digest for run in load_run(done.folder).runs}
        return TrialResult(verdict=done.verdict, error="", bug=False, digests=digests)


def _ignore(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""
