"""The events of a run in order of time, and where two runs part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from contracts.records import RunRecord
from contracts.units import NS_PER_S, s_to_ns
from harness.store import RungRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first event at which two runs differ; a side without any event left is ``None``.

    Attributes:
        number: position among the events of the run, counted from 1.
    """

    number: int
    at_s: float
    left: str | None
    right: str | None

    def __str__(self) -> str:
        """One sentence."""
        return (
            f"event {self.number} at {self.at_s:.6f} s: "
            f"{self.left or 'nothing more'} | {self.right or 'nothing more'}"
        )


def first_divergence(left: RungRun, right: RungRun) -> Divergence | None:
    """Where two runs part, ``None`` when every recorded event is the same."""
    pairs = zip_longest(_events(left), _events(right))
    for number, (one, other) in enumerate(pairs, start=1):
        if one == other:
            continue
        first = min(each for each in (one, other) if each is not None)
        return Divergence(
            number=number,
            at_s=first[0] / NS_PER_S,
            left=None if one is None else one[2],
            right=None if other is None else other[2],
        )
    return None


def _events(run: RungRun) -> Iterator[tuple[int, int, str]]:
    """Time, rank and text of every event, in order."""
    events = [*_requests(run.record), *_others(run)]
    return iter(sorted(events))


def _requests(record: RunRecord) -> Iterator[tuple[int, int, str]]:
    table = record.table
    columns = zip(
        table.arrival_ns.tolist(),
        table.first_token_ns.tolist(),
        table.finish_ns.tolist(),
        table.isl.tolist(),
        table.osl.tolist(),
        table.status.tolist(),
        strict=True,
    )
    last_ns = int(max(table.arrival_ns.max(), np.max(table.finish_ns))) if len(table) else 0
    for index, (arrival, first, finish, isl, osl, status) in enumerate(columns):
        yield arrival, 2, f"request {index} arrives ({isl} prompt, {osl} output tokens)"
        if first >= 0:
            yield first, 1, f"request {index} has its first token"
        ended = finish if finish >= 0 else last_ns
        yield ended, 0, f"request {index} is {status}"


def _others(run: RungRun) -> Iterator[tuple[int, int, str]]:
    for event in run.record.worker_events:
        yield s_to_ns(event.since_s), 3, f"worker {event.worker_id} is {event.state.value}"
    for fault in run.record.faults:
        yield s_to_ns(fault.at_s), 4, f"fault {fault.kind} hits {fault.target}"
    for decision in run.decisions:
        targets = ", ".join(f"{t.role.value} {t.replicas}" for t in decision.targets)
        text = f"planner: {targets or 'no targets'} ({decision.reason})"
        yield s_to_ns(decision.now_s), 5, text
