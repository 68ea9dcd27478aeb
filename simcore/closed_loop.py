"""Requests that wait for answers: a fixed number in flight, and conversations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from contracts.errors import InputError, InvariantError
from contracts.plan import DeploymentPlan
from contracts.ports import TimerFactory
from contracts.records import RequestStatus, RequestTable, RunRecord
from contracts.units import s_to_ns
from contracts.workload import IntArray, PromptText, RequestSpec, SessionPlan, Workload
from simcore.perf.roofline import roofline
from simcore.simulation import RequestPort, RunSettings, run_source


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopWindow:
    """Which requests of a closed loop are sent, and which of them count.

    Attributes:
        warmup_requests: the first so many are sent and left out of the result.
        client_delays_ns: shape (n,), how long a client takes from the end of a request to
            its next one; used in turn. ``None`` is no time at all.
        duration_s: nothing is sent from here on, what is in flight ends; the lengths are
            used again from the start when they run out. ``None`` sends each length once.
    """

    warmup_requests: int = 0
    duration_s: float | None = None
    client_delays_ns: IntArray | None = None


class _ClosedLoop:
    """Sends the next request at the instant at which one ends."""

    reacts = True

    def __init__(
        self,
        lengths: list[tuple[int, int]],
        texts: Sequence[PromptText | None] | None,
        concurrency: int,
        end_ns: int | None,
        delays_ns: list[int],
    ) -> None:
        self._lengths = lengths
        self._texts = texts
        self._concurrency = concurrency
        self._end_ns = end_ns
        self._delays_ns = delays_ns
        self._next = 0
        self._port: RequestPort | None = None

    def begin(self, port: RequestPort) -> None:
        self._port = port
        for _ in range(self._concurrency):
            port.call_at(0, self._send)

    def ended(self, request_id: int, status: RequestStatus) -> None:
        """One place is free, however the request ended; it is taken after this instant."""
        del request_id, status
        port = _begun(self._port)
        delays = self._delays_ns
        delay_ns = delays[self._next % len(delays)] if delays else 0
        port.call_at(port.now_ns + delay_ns, self._send)

    def _send(self) -> None:
        port, index = _begun(self._port), self._next
        if self._end_ns is None:
            if index == len(self._lengths):
                return
        elif port.now_ns >= self._end_ns:
            return
        self._next += 1
        row = index % len(self._lengths)
        isl, osl = self._lengths[row]
        text = None if self._texts is None else self._texts[row]
        port.send(RequestSpec(index, port.now_ns, isl, osl, text))


def simulate_closed_loop(  # noqa: PLR0913  # texts, window and timer have defaults
    plan: DeploymentPlan,
    *,
    isl: IntArray,
    osl: IntArray,
    concurrency: int,
    texts: Sequence[PromptText | None] | None = None,
    window: ClosedLoopWindow | None = None,
    timer_for: TimerFactory = roofline,
    settings: RunSettings | None = None,
) -> RunRecord:
    """Keep ``concurrency`` requests in flight until the window closes.

    The first ``concurrency`` requests start together at time zero, as benchmark clients
    do; each further one starts when one has ended.

    Args:
        plan: the deployment.
        isl: shape (n,), prompt tokens of each request, at least 1.
        osl: shape (n,), output tokens of each request, at least 1.
        concurrency: requests in flight.
        texts: n elements, what each prompt shares with others.
        window: warm-up and end; by default everything is sent once and counts.
        timer_for: step times of an engine.
        settings: faults and control; has step times of its own then.

    Raises:
        InputError: no request, a length below one token, no concurrency, a duration that
            is not positive, or a warm-up that leaves nothing.
    """
    window = window or ClosedLoopWindow()
    end_ns = _check_closed_loop(isl, osl, concurrency, window)
    if texts is not None and len(texts) != len(isl):
        raise InputError("texts and lengths differ in number", value=str(len(texts)))
    lengths = list(zip(isl.tolist(), osl.tolist(), strict=True))
    delays = [] if window.client_delays_ns is None else window.client_delays_ns.tolist()
    source = _ClosedLoop(lengths, texts, concurrency, end_ns, delays)
    record = run_source(plan, source, settings or RunSettings(timer_for=timer_for))
    if window.warmup_requests == 0:
        return record
    if len(record.table) <= window.warmup_requests:
        raise InputError(
            "the warm-up leaves no request",
            path="warmup_requests",
            value=str(window.warmup_requests),
            allowed=f"fewer than the {len(record.table)} that were sent",
        )
    return replace(record, table=_rows_from(record.table, window.warmup_requests))


def _check_closed_loop(
    isl: IntArray, osl: IntArray, concurrency: int, window: ClosedLoopWindow
) -> int | None:
    """The time at which sending ends, ``None`` when the requests run out first."""
    if concurrency < 1 or len(isl) == 0 or len(isl) != len(osl):
        raise InputError("needs requests and a concurrency of at least 1", value=str(concurrency))
    if int(isl.min()) < 1 or int(osl.min()) < 1:
        raise InputError("lengths must be at least one token")
    if window.warmup_requests < 0:
        raise InputError(
            "must not be negative", path="warmup_requests", value=str(window.warmup_requests)
        )
    if window.duration_s is None:
        return None
    if not (window.duration_s > 0 and math.isfinite(window.duration_s)):
        raise InputError(
            "must be a positive number", path="duration_s", value=str(window.duration_s)
        )
    return s_to_ns(window.duration_s)


def _rows_from(table: RequestTable, first: int) -> RequestTable:
    columns = {field.name: getattr(table, field.name)[first:] for field in fields(table)}
    return RequestTable(**columns)


class SessionRun(NamedTuple):
    """What became of conversations.

    Attributes:
        record: one row for each turn that was sent, in the order of sending.
        workload: these turns as a workload, row by row; an open-loop run of it sends
            the same requests at the same times.
        turn_index: shape (n,), position of each row in the session plan.
        turns_abandoned: turns never sent because one before them did not complete.
    """

    record: RunRecord
    workload: Workload
    turn_index: IntArray
    turns_abandoned: int


class _Sessions:
    """Sends the next turn of a session some time after the one before has ended."""

    reacts = True

    def __init__(self, plan: SessionPlan) -> None:
        self._plan = plan
        self._isl, self._osl = plan.isl.tolist(), plan.osl.tolist()
        self._think_ns = plan.think_ns.tolist()
        self._starts, self._first = plan.start_ns.tolist(), plan.first_turn.tolist()
        self._session = np.repeat(np.arange(len(plan)), np.diff(plan.first_turn)).tolist()
        self._next_session = 0
        self._port: RequestPort | None = None
        self.sent_turns: list[int] = []
        self.sent_ns: list[int] = []

    def begin(self, port: RequestPort) -> None:
        self._port = port
        self._schedule_session()

    def _schedule_session(self) -> None:
        if self._next_session < len(self._starts):
            _begun(self._port).call_at(self._starts[self._next_session], self._start_sessions)

    def _start_sessions(self) -> None:
        """Send the first turns of all sessions that start now."""
        now_ns = _begun(self._port).now_ns
        while self._next_session < len(self._starts) and self._starts[self._next_session] == now_ns:
            self._next_session += 1
            self._send(self._first[self._next_session - 1])
        self._schedule_session()

    def ended(self, request_id: int, status: RequestStatus) -> None:
        """The client reads the answer, thinks, and goes on; without an answer it leaves."""
        turn = self.sent_turns[request_id]
        last = turn + 1 == self._first[self._session[turn] + 1]
        if last or status is not RequestStatus.COMPLETED:
            return
        port = _begun(self._port)
        port.call_at(port.now_ns + self._think_ns[turn + 1], lambda: self._send(turn + 1))

    def _send(self, turn: int) -> None:
        plan, port = self._plan, _begun(self._port)
        session = self._session[turn]
        request_id = len(self.sent_turns)
        self.sent_turns.append(turn)
        self.sent_ns.append(port.now_ns)
        port.send(
            RequestSpec(
                request_id=request_id,
                arrival_ns=port.now_ns,
                isl=self._isl[turn],
                osl=self._osl[turn],
                text=None if plan.texts is None else plan.texts[turn],
                priority=0 if plan.priority is None else int(plan.priority[session]),
                adapter="" if plan.adapters is None else plan.adapters[session],
                session=session,
                timeout_ns=plan.timeout_ns,
            )
        )

    def realised(self) -> Workload:
        """The turns that were sent."""
        plan = self._plan
        turns = np.array(self.sent_turns, dtype=np.int64)
        sessions = np.array(self._session, dtype=np.int64)[turns]
        texts, adapters, thinking = plan.texts, plan.adapters, plan.reasoning_tokens
        return Workload(
            arrival_ns=np.array(self.sent_ns, dtype=np.int64),
            isl=plan.isl[turns],
            osl=plan.osl[turns],
            source=plan.source,
            texts=None if texts is None else tuple(texts[turn] for turn in self.sent_turns),
            priority=None if plan.priority is None else plan.priority[sessions],
            adapters=None if adapters is None else tuple(adapters[s] for s in sessions),
            sessions=sessions,
            timeout_ns=plan.timeout_ns,
            reasoning_tokens=None if thinking is None else thinking[turns],
        )


def simulate_sessions(
    plan: DeploymentPlan, sessions: SessionPlan, settings: RunSettings | None = None
) -> SessionRun:
    """Run conversations: each further turn is sent its pause after the one before ended.

    A session ends early when one of its turns is not completed.

    Raises:
        InputError: a fault hits nothing, or control wants what the plan forbids.
        InvariantError: requests, tokens or KV blocks were lost; our bug.
    """
    source = _Sessions(sessions)
    record = run_source(plan, source, settings or RunSettings())
    return SessionRun(
        record=record,
        workload=source.realised(),
        turn_index=np.array(source.sent_turns, dtype=np.int64),
        turns_abandoned=sessions.turns - len(source.sent_turns),
    )


def _begun(port: RequestPort | None) -> RequestPort:
    if port is None:
        raise InvariantError("the run has not begun")
    return port
