"""Random scenarios, one after the other, until the time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from harness.executor.local import Executor, Serial
from harness.explore.sample import sample
from harness.explore.trial import Trial, TrialResult, Tries
from harness.scenario import scenario_from
from harness.store import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A scenario that broke an invariant or did not recover.

    Attributes:
        number: of the scenario; seed and number give it again.
        problem: what went wrong.
        bug: it is ours, whatever the scenario asks for.
    """

    number: int
    problem: str
    bug: bool
    document: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search saw.

    Attributes:
        refused: scenarios that the deployment could not take, for example for lack of
            GPUs or because a fault found nobody left; no finding.
    """

    seed: int
    tried: int
    refused: int
    findings: tuple[Finding, ...]


class _Fine(Enum):
    """What becomes of a scenario that is no finding."""

    HELD = "held"
    REFUSED = "refused"


def search(  # noqa: PLR0913  # the last four have defaults
    *,
    seed: int,
    folder: Path,
    more: Callable[[int], bool],
    first: int = 0,
    report: Callable[[int, int], None] = lambda _tried, _found: None,
    tries: Tries | None = None,
    executor: Executor | None = None,
) -> SearchResult:
    """Try scenarios while ``more(tried)`` says so.

    Invariants are checked in every one (requests, tokens, blocks, bytes, the clock), each
    runs twice to the same digest, and what it expects after its faults have healed must
    hold.

    Args:
        seed: root seed of the scenarios.
        folder: the scenarios folder, where their paths start.
        more: asked before each one with the number of those begun.
        first: number of the first scenario.
        report: told after each one how many were tried and found.
        tries: runs them; by default on rung sim.
        executor: where they run; by default one after the other in this process.
    """
    attempt = partial(_attempt, seed, folder, tries or Trial())
    findings, tried, refused = list[Finding](), 0, 0
    for result in (executor or Serial()).map(attempt, _numbers(first, more)):
        tried += 1
        refused += result is _Fine.REFUSED
        if isinstance(result, Finding):
            findings.append(result)
        report(tried, len(findings))
    return SearchResult(seed=seed, tried=tried, refused=refused, findings=tuple(findings))


def _numbers(first: int, more: Callable[[int], bool]) -> Iterator[int]:
    begun = 0
    while more(begun):
        yield first + begun
        begun += 1


def _attempt(seed: int, folder: Path, tries: Tries, number: int) -> Finding | _Fine:
    document = sample(seed, number)
    scenario = scenario_from(document, folder / f"{document['name']}.yaml")
    result = tries.run(scenario)
    problem = _problem(result)
    if not problem and result.verdict is not None:
        again = tries.run(scenario)
        if again.digests != result.digests:
            problem = f"the same seed gave other digests: {result.digests}, {again.digests}"
    if problem:
        bug = result.bug or "digests" in problem
        return Finding(number=number, problem=problem, bug=bug, document=document)
    return _Fine.REFUSED if result.verdict is None else _Fine.HELD


def _problem(result: TrialResult) -> str:
    if result.bug:
        return result.error
    if result.verdict is not None and result.verdict.outcome is Outcome.FAIL:
        return "; ".join(result.verdict.reasons)
    return ""
