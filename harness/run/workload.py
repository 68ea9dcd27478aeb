"""The traffic of a scenario: drawn from the seed, or read from a trace file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.errors import InputError
from contracts.records import FaultRecord
from contracts.streams import RandomStreams
from contracts.units import NS_PER_S
from contracts.workload import IntArray, SessionPlan, Workload
from harness.scenario import (
    ClosedLoopWorkload,
    ScenarioWorkload,
    SessionsWorkload,
    SyntheticWorkload,
    TraceWorkload,
    TrafficShift,
)
from profiler import load_trace
from simcore.workload import (
    Lengths,
    synthesize,
    synthesize_sessions,
)
from simcore.workload.lengths import draw_lengths


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClosedLoop:
    """Requests of which ``concurrency`` are in flight until ``duration_s``.

    Attributes:
        isl: shape (n,), prompt tokens; used again from the start when they run out.
        osl: shape (n,), output tokens.
    """

    isl: IntArray
    osl: IntArray
    concurrency: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offered:
    """The traffic of one run and what was done to it.

    Attributes:
        traffic: requests with their times, or conversations and loops that wait for answers.
        faults: one record for each shift of the traffic.
        until_s: nothing new is sent from here on, apart from further turns.
    """

    traffic: Workload | SessionPlan | ClosedLoop
    faults: tuple[FaultRecord, ...]
    until_s: float

    @property
    def requests(self) -> int | None:
        """How many there will be, ``None`` when the answers decide."""
        match self.traffic:
            case Workload():
                return len(self.traffic)
            case SessionPlan():
                return self.traffic.turns
            case ClosedLoop():
                return None


def realise(
    workload: ScenarioWorkload,
    *,
    isl: int,
    osl: int,
    seed: int,
    shifts: Sequence[TrafficShift] = (),
) -> Offered:
    """Return the traffic of one run.

    Args:
        workload: what the scenario asks for.
        isl: prompt tokens of the DGDR, used where the scenario gives none.
        osl: output tokens of the DGDR, likewise.
        seed: root seed; a trace does not depend on it.
        shifts: changes of the traffic, in any order.

    Raises:
        InputError: a malformed trace line, impossible parameters, or a shift that hits
            no request.
    """
    streams = RandomStreams(seed)
    if isinstance(workload, SessionsWorkload):
        plan = _sessions(workload, isl, osl, streams)
        return Offered(traffic=plan, faults=(), until_s=workload.duration_s)
    if isinstance(workload, ClosedLoopWorkload):
        loop = _closed_loop(workload, isl, osl, streams)
        return Offered(traffic=loop, faults=(), until_s=workload.duration_s)
    if isinstance(workload, TraceWorkload):
        requests = load_trace(
            workload.path, kind=workload.format.value, limit=workload.limit, speed=workload.speed
        )
        until_s = requests.duration_ns / NS_PER_S
    else:
        requests = _synthetic(workload, isl, osl, streams)
        until_s = workload.duration_s
    records = []
    for shift in sorted(shifts, key=lambda each: each.at_s):
        requests, record = shifted(requests, shift)
        records.append(record)
    return Offered(traffic=requests, faults=tuple(records), until_s=until_s)


def shifted(workload: Workload, shift: TrafficShift) -> tuple[Workload, FaultRecord]:
    """The workload with other lengths in the window, and what the shift hit.

    Raises:
        InputError: no request arrives within the window.
    """
    end_s = shift.at_s + shift.duration_s
    start_ns, end_ns = round(shift.at_s * NS_PER_S), round(end_s * NS_PER_S)
    hit = (workload.arrival_ns >= start_ns) & (workload.arrival_ns < end_ns)
    count = int(np.count_nonzero(hit))
    if count == 0:
        raise InputError(
            "the fault hits no request", path=shift.kind, value=f"{shift.at_s:g} s to {end_s:g} s"
        )
    texts = workload.texts
    if texts is not None and shift.isl_factor != 1.0:
        texts = tuple(None if h else t for h, t in zip(hit.tolist(), texts, strict=True))
    changed = replace(
        workload,
        isl=_scaled(workload.isl, hit, shift.isl_factor),
        osl=_scaled(workload.osl, hit, shift.osl_factor),
        texts=texts,
        reasoning_tokens=None if shift.osl_factor != 1.0 else workload.reasoning_tokens,
    )
    record = FaultRecord(
        kind=shift.kind,
        target=f"{count} requests",
        at_s=shift.at_s,
        requests_hit=count,
        requests_retried=0,
        requests_failed=0,
        recovered_at_s=end_s,
    )
    return changed, record


def _scaled(
    tokens: IntArray, hit: np.ndarray[tuple[int], np.dtype[np.bool_]], factor: float
) -> IntArray:
    longer = np.maximum(1, np.round(tokens * factor)).astype(np.int64)
    return np.where(hit, longer, tokens)


def _synthetic(workload: SyntheticWorkload, isl: int, osl: int, streams: RandomStreams) -> Workload:
    return synthesize(
        workload.arrivals,
        duration_s=workload.duration_s,
        isl=workload.isl or Lengths(mean=isl),
        osl=workload.osl or Lengths(mean=osl),
        streams=streams,
        mix=workload.mix,
    )


def _sessions(
    workload: SessionsWorkload, isl: int, osl: int, streams: RandomStreams
) -> SessionPlan:
    conversation = workload.conversation
    if workload.isl_from_dgdr:
        conversation = replace(conversation, first_isl=Lengths(mean=isl))
    if workload.osl_from_dgdr:
        conversation = replace(conversation, osl=Lengths(mean=osl))
    return synthesize_sessions(
        conversation,
        arrivals=workload.arrivals,
        duration_s=workload.duration_s,
        streams=streams,
        mix=workload.mix,
    )


def _closed_loop(
    workload: ClosedLoopWorkload, isl: int, osl: int, streams: RandomStreams
) -> ClosedLoop:
    count = workload.different_requests
    drawn = [
        draw_lengths(name, lengths, count, streams.stream(f"workload.{name}"))
        for name, lengths in (
            ("isl", workload.isl or Lengths(mean=isl)),
            ("osl", workload.osl or Lengths(mean=osl)),
        )
    ]
    return ClosedLoop(
        isl=drawn[0],
        osl=drawn[1],
        concurrency=workload.concurrency,
        duration_s=workload.duration_s,
    )
