"""Two rungs in virtual time must agree to the nanosecond: where they first differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from contracts.decision import Decision
from contracts.records import RequestStatus, RequestTable
from harness.scenario import Rung
from harness.store import Bound, Check, Outcome, RungRun

# Neighbours that differ in code paths only.
EXACT = frozenset({(Rung.SIM.value, Rung.VMOCK.value)})


def exact_check(reference: RungRun, other: RungRun) -> Check:
    """Tolerance 0 between two runs of one seed.

    Compares of every request how it ended, when its first token came and, if it completed,
    when it finished; of the planner every decision; of the workers every change of state.
    """
    found = differences(reference, other)
    return Check(
        name="differences",
        rung=f"{reference.rung} -> {other.rung}",
        seed=reference.seed,
        bound=Bound.AT_MOST,
        asked=0.0,
        measured=float(len(found)),
        unit="events",
        outcome=Outcome.FAIL if found else Outcome.PASS,
        note=f"first: {found[0]}" if found else "",
    )


def differences(reference: RungRun, other: RungRun) -> list[str]:
    """Everything in which two runs of one seed differ, requests first."""
    return [
        *_requests(reference.record.table, other.record.table),
        *_rows("decision", _comparable(reference.decisions), _comparable(other.decisions)),
        *_rows(
            "worker event",
            [asdict(each) for each in reference.record.worker_events],
            [asdict(each) for each in other.record.worker_events],
        ),
    ]


def _comparable(decisions: Sequence[Decision]) -> list[Decision]:
    """Decisions without what depends on how the planner is connected.

    The first one is made before the run, where a simulation has no workers to show yet; the
    reason of one without telemetry quotes how it was lost.
    """
    return [
        replace(each, reason="", figures={} if index == 0 else each.figures)
        if index == 0 or (each.held and "unknown_age_s" in each.figures)
        else each
        for index, each in enumerate(decisions)
    ]


def _requests(left: RequestTable, right: RequestTable) -> list[str]:
    if len(left) != len(right):
        return [f"{len(left)} requests here, {len(right)} there"]
    completed = left.status == RequestStatus.COMPLETED.value
    apart = left.status != right.status
    for name in ("arrival_ns", "first_token_ns"):
        apart |= getattr(left, name) != getattr(right, name)
    apart |= completed & (left.finish_ns != right.finish_ns)
    return [_request(index, left, right) for index in np.flatnonzero(apart).tolist()]


def _request(index: int, left: RequestTable, right: RequestTable) -> str:
    parts = []
    for name in ("status", "arrival_ns", "first_token_ns", "finish_ns"):
        here, there = getattr(left, name)[index], getattr(right, name)[index]
        if here != there:
            parts.append(f"{name} {here} here, {there} there")
    return f"request {index}: {', '.join(parts)}"


def _rows(name: str, left: Sequence[object], right: Sequence[object]) -> list[str]:
    found = [
        f"{name} {index}: {here} here, {there} there"
        for index, (here, there) in enumerate(zip(left, right, strict=False))
        if here != there
    ]
    if len(left) != len(right):
        found.append(f"{len(left)} {name}s here, {len(right)} there")
    return found
