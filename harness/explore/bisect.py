"""The smallest scenario that still fails in the same way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import InputError, RehearsalError
from harness.explore.trial import Trial, TrialResult, Tries
from harness.scenario import Scenario, scenario_from

Document = dict[str, Any]
# Each accepted step makes the scenario smaller, so this is never reached in practice.
STEPS_MAX = 200
_SHORTEST_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """The result of a bisection.

    Attributes:
        document: the smallest scenario found.
        failing: the checks that fail in it, as in the one given.
        steps: what was taken away, in order.
        runs: scenarios that were tried.
    """

    document: Document
    failing: frozenset[str]
    steps: tuple[str, ...]
    runs: int


def shrink(
    scenario: Scenario, report: Callable[[str, int], None], *, tries: Tries | None = None
) -> Shrunk:
    """Take away what does not matter until nothing more can go.

    Tries, in this order and again after each success: one seed, no planner, one fault less,
    half the traffic, options back to their defaults, expectations that held.

    Args:
        scenario: one cell of a scenario file.
        report: told what was taken away and how many runs it took so far.
        tries: runs the candidates; by default on rung sim.

    Raises:
        InputError: the scenario does not fail in virtual time.
    """
    trial = _Counted(tries or Trial())
    document = copy.deepcopy(dict(scenario.document))
    path = scenario.source
    document["rungs"] = ["sim"]
    document["seeds"] = list(scenario.seeds)
    document.pop("repeats", None)
    first = _tried(trial, document, path)
    if first is None or not first.failing:
        raise InputError("does not fail on rung sim, so there is nothing to shrink",
                         source=str(path))  # fmt: skip
    steps: list[str] = []
    progress = True
    while progress and len(steps) < STEPS_MAX:
        progress = False
        for name, smaller in _smaller(document, first.failing):
            result = _tried(trial, smaller, path)
            if result is not None and first.failing & result.failing:
                document, progress = smaller, True
                steps.append(name)
                report(name, trial.runs)
                break
    final = _tried(trial, document, path)
    failing = first.failing if final is None else final.failing
    return Shrunk(document=document, failing=failing, steps=tuple(steps), runs=trial.runs)


class _Counted:
    def __init__(self, tries: Tries) -> None:
        self._tries = tries
        self.runs = 0

    def run(self, scenario: Scenario) -> TrialResult:
        self.runs += 1
        return self._tries.run(scenario)


def _tried(trial: Tries, document: Document, path: Path) -> TrialResult | None:
    """The result of a candidate, ``None`` when it is no valid scenario."""
    try:
        scenario = scenario_from(document, path)
    except RehearsalError:
        return None
    return trial.run(scenario)


def _smaller(document: Document, failing: frozenset[str]) -> Iterator[tuple[str, Document]]:
    yield from _fewer_seeds(document)
    if document.get("planner", {}).get("enabled", "planner" in document):
        yield "planner off", _without(document, "planner")
    for index, fault in enumerate(document.get("faults", [])):
        smaller = copy.deepcopy(document)
        del smaller["faults"][index]
        yield f"without fault {fault['kind']}", smaller
    yield from _less_traffic(document)
    for key in ("tolerance", "mock", "on_worker_lost", "description"):
        if key in document:
            yield f"without {key}", _without(document, key)
    for section in ("deploy", "planner"):
        for key in document.get(section, {}):
            if key not in ("dgdr", "enabled"):
                smaller = copy.deepcopy(document)
                del smaller[section][key]
                yield f"without {section}.{key}", smaller
    yield from _fewer_expectations(document, failing)


def _fewer_seeds(document: Document) -> Iterator[tuple[str, Document]]:
    if len(document["seeds"]) > 1:
        for seed in document["seeds"]:
            yield f"only seed {seed}", document | {"seeds": [seed]}


def _less_traffic(document: Document) -> Iterator[tuple[str, Document]]:
    workload = document["workload"]
    for kind, section in workload.items():
        if not isinstance(section, dict):
            continue
        duration_s = section.get("duration_s", 0.0)
        if duration_s >= 2 * _SHORTEST_S:
            half = {**section, "duration_s": duration_s / 2}
            yield f"{duration_s / 2:g} s of traffic", document | {"workload": {kind: half}}
        if kind == "trace":
            limit = section.get("limit", 1024)
            if limit > 1:
                half = {**section, "limit": limit // 2}
                yield f"{limit // 2} requests", document | {"workload": {kind: half}}
        if section.get("mix"):
            yield "without mix", document | {"workload": {kind: _without(section, "mix")}}
        for key in ("isl", "osl"):
            if section.get(key, {}).get("cv"):
                fixed = {**section, key: {"mean": section[key]["mean"]}}
                yield f"fixed {key}", document | {"workload": {kind: fixed}}


def _fewer_expectations(
    document: Document, failing: frozenset[str]
) -> Iterator[tuple[str, Document]]:
    """Expectations whose names are not among those that fail, then single list entries."""
    expect = document["expect"]
    for key, value in expect.items():
        if key not in failing and len(expect) > 1:
            yield f"without expect.{key}", document | {"expect": _without(expect, key)}
        if isinstance(value, list) and len(value) > 1:
            for index in range(len(value)):
                rest = [each for at, each in enumerate(value) if at != index]
                yield f"without expect.{key}[{index}]", document | {"expect": {**expect, key: rest}}


def _without(document: Document, key: str) -> Document:
    return {name: value for name, value in document.items() if name != key}
