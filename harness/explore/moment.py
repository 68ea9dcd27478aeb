"""When a scenario goes wrong: the shortest traffic with which it still fails."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import InputError, RehearsalError
from harness.explore.trial import Trial, Tries
from harness.scenario import Scenario, TraceWorkload, scenario_from

Document = dict[str, Any]
# How exactly the moment is found: this share of the traffic, or so many seconds.
_SHARE, _LEAST_S = 0.01, 0.1
_TRACE_DEFAULT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The result of a search in time.

    Attributes:
        document: the scenario with the shortest traffic that fails.
        fails: seconds of traffic in it; of a trace, requests.
        holds: the longest that was tried with which it does not fail.
        unit: ``s`` or ``requests``.
        failing: the checks that fail, as with all the traffic.
        runs: scenarios that were tried.
    """

    document: Document
    fails: float
    holds: float
    unit: str
    failing: frozenset[str]
    runs: int


def find_moment(
    scenario: Scenario, report: Callable[[str, int], None], *, tries: Tries | None = None
) -> Moment:
    """Halve the traffic between what holds and what fails.

    Faults that would strike after the end of a shorter traffic are left out. A scenario may go
    wrong, recover and go wrong again; what is found is one change from holding to failing.

    Args:
        scenario: one cell of a scenario file.
        report: told each try and how many there were so far.
        tries: runs the candidates; by default on rung sim.

    Raises:
        InputError: the scenario does not fail in virtual time.
    """
    tries = tries or Trial()
    whole = copy.deepcopy(dict(scenario.document)) | {"rungs": ["sim"]}
    trace = isinstance(scenario.workload, TraceWorkload)
    first = tries.run(scenario_from(whole, scenario.source))
    if not first.failing:
        raise InputError("does not fail on rung sim", source=str(scenario.source))
    runs, document, failing = 1, whole, first.failing
    low, high = 0.0, _length(whole, trace=trace)
    precision = 1.0 if trace else max(_LEAST_S, _SHARE * high)
    while high - low > precision:
        middle = float(int((low + high) / 2)) if trace else round((low + high) / 2, 3)
        shorter = _cut(whole, middle, trace=trace)
        found = _failing(shorter, scenario.source, tries)
        runs += 1
        if found & first.failing:
            high, document, failing = middle, shorter, found & first.failing
        else:
            low = middle
        unit = "requests" if trace else "s"
        report(f"{middle:g} {unit} of traffic: {'fails' if high == middle else 'holds'}", runs)
    return Moment(
        document=document,
        fails=high,
        holds=low,
        unit="requests" if trace else "s",
        failing=failing,
        runs=runs,
    )


def _failing(document: Document, path: Path, tries: Tries) -> frozenset[str]:
    """What fails; nothing when there is no such scenario."""
    try:
        scenario = scenario_from(document, path)
    except RehearsalError:
        return frozenset()
    return tries.run(scenario).failing


def _length(document: Document, *, trace: bool) -> float:
    (section,) = (each for each in document["workload"].values() if isinstance(each, dict))
    return float(section.get("limit", _TRACE_DEFAULT) if trace else section["duration_s"])


def _cut(document: Document, length: float, *, trace: bool) -> Document:
    shorter = copy.deepcopy(document)
    for section in shorter["workload"].values():
        if isinstance(section, dict):
            section |= {"limit": int(length)} if trace else {"duration_s": length}
    if not trace:
        faults = shorter.get("faults", [])
        shorter["faults"] = [each for each in faults if each.get("at_s", 0.0) < length]
    return shorter
