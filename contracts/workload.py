"""The realised workload: which request arrives when, and how long it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError

IntArray = npt.NDArray[np.int64]

# Rows that become Python objects at a time, so that a million requests stay compact.
_PORTION = 4096


class PromptText(NamedTuple):
    """What a prompt says, as far as sharing matters.

    The prompt is cut into segments. An id stands for everything from the start of the
    prompt to the end of its segment, so equal ids mean equal beginnings.

    Attributes:
        ids: one for each segment; not negative.
        ends: prompt tokens up to the end of each segment, increasing; the last is the ISL.
        output_id: id that a later prompt uses for this prompt plus its whole output,
            -1 when nobody will.
    """

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    output_id: int = -1


class RequestSpec(NamedTuple):
    """One request as the client sends it; lengths in tokens.

    Attributes:
        text: what the prompt shares with others; ``None`` shares nothing.
        priority: lower is served first by engines that look at it.
        adapter: LoRA adapter, empty for the base model.
        session: requests of one session share a number; -1 is none.
        timeout_ns: the client gives up this long after the arrival; 0 waits for ever.
    """

    request_id: int
    arrival_ns: int
    isl: int
    osl: int
    text: PromptText | None = None
    priority: int = 0
    adapter: str = ""
    session: int = -1
    timeout_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """Arrival times and lengths of all requests, one array element each.

    Attributes:
        arrival_ns: shape (n,), non-decreasing nanoseconds since the start.
        isl: shape (n,), prompt tokens, at least 1.
        osl: shape (n,), output tokens, at least 1.
        source: where it came from, for people.
        texts: what each prompt shares with others; ``None`` when nothing is shared.
        priority: shape (n,), lower first; ``None`` when all are equal.
        adapters: LoRA adapter of each request; ``None`` when all use the base model.
        sessions: shape (n,), session number or -1; ``None`` when there are none.
        timeout_ns: every client gives up this long after its arrival; 0 waits for ever.
        reasoning_tokens: shape (n,), how many of the output tokens are thinking;
            ``None`` when nothing thinks.

    Raises:
        InputError: empty, unsorted, a length below one token, a text that does not
            end where its prompt ends, or more thinking than output.
    """

    arrival_ns: IntArray
    isl: IntArray
    osl: IntArray
    source: str
    texts: tuple[PromptText | None, ...] | None = None
    priority: IntArray | None = None
    adapters: tuple[str, ...] | None = None
    sessions: IntArray | None = None
    timeout_ns: int = 0
    reasoning_tokens: IntArray | None = None

    def __post_init__(self) -> None:
        if len(self.arrival_ns) == 0:
            raise InputError("the workload has no requests", source=self.source)
        if not len(self.arrival_ns) == len(self.isl) == len(self.osl):
            raise InputError("arrival, isl and osl differ in number", source=self.source)
        if int(self.arrival_ns[0]) < 0 or bool(np.any(np.diff(self.arrival_ns) < 0)):
            raise InputError("arrival times must start at 0 and not decrease", source=self.source)
        for name, lengths in (("isl", self.isl), ("osl", self.osl)):
            _check_lengths(name, lengths, self.source)
        for name in ("texts", "priority", "adapters", "sessions", "reasoning_tokens"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.arrival_ns):
                raise InputError(f"{name} and arrivals differ in number", source=self.source)
        _check_texts(self.texts, self.isl, self.source)
        _check_reasoning(self.reasoning_tokens, self.osl, self.source)
        if self.timeout_ns < 0:
            raise InputError(
                "must not be negative", source=self.source, path="timeout_ns",
                value=str(self.timeout_ns),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def duration_ns(self) -> int:
        """Time of the last arrival."""
        return int(self.arrival_ns[-1])

    @property
    def rate_per_s(self) -> float:
        """Mean arrival rate over the span of the workload."""
        return len(self) / max(self.duration_ns / 1e9, 1e-9)

    def request(self, index: int) -> RequestSpec:
        """The request at one position; its id is the position."""
        return next(self._specs(index, index + 1))

    def requests(self) -> Iterator[RequestSpec]:
        """All requests in order of arrival; ids are positions."""
        for start in range(0, len(self), _PORTION):
            yield from self._specs(start, min(start + _PORTION, len(self)))

    def _specs(self, start: int, stop: int) -> Iterator[RequestSpec]:
        part = slice(start, stop)
        columns = (
            range(start, stop),
            self.arrival_ns[part].tolist(),
            self.isl[part].tolist(),
            self.osl[part].tolist(),
            repeat(None) if self.texts is None else self.texts[part],
            repeat(0) if self.priority is None else self.priority[part].tolist(),
            repeat("") if self.adapters is None else self.adapters[part],
            repeat(-1) if self.sessions is None else self.sessions[part].tolist(),
            repeat(self.timeout_ns),
        )
        return map(RequestSpec._make, zip(*columns, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionPlan:
    """Conversations: the first turn arrives, each further one follows the turn before.

    All turns of session 0 come first, then those of session 1, and so on.

    Attributes:
        start_ns: shape (s,), non-decreasing arrival of each session's first turn.
        first_turn: shape (s + 1,), position of each session's first turn; the last
            element is the number of turns.
        isl: shape (t,), tokens of the whole prompt of a turn, history included.
        osl: shape (t,), output tokens.
        think_ns: shape (t,), from the end of the turn before until this one is sent;
            0 in first turns.
        source: where it came from, for people.
        texts: what each prompt shares with others; ``None`` when nothing is shared.
        priority: shape (s,), lower first; ``None`` when all are equal.
        adapters: LoRA adapter of each session; ``None`` when all use the base model.
        reasoning_tokens: shape (t,), how many of the output tokens are thinking.
        timeout_ns: a client gives up this long after sending a turn; 0 waits for ever.

    Raises:
        InputError: no session, unsorted, a session without turns, a length below one
            token, a negative pause, or columns that differ in number.
    """

    start_ns: IntArray
    first_turn: IntArray
    isl: IntArray
    osl: IntArray
    think_ns: IntArray
    source: str
    texts: tuple[PromptText | None, ...] | None = None
    priority: IntArray | None = None
    adapters: tuple[str, ...] | None = None
    reasoning_tokens: IntArray | None = None
    timeout_ns: int = 0

    def __post_init__(self) -> None:
        sessions, turns = len(self.start_ns), len(self.isl)
        if sessions == 0:
            raise InputError("there are no sessions", source=self.source)
        if int(self.start_ns[0]) < 0 or bool(np.any(np.diff(self.start_ns) < 0)):
            raise InputError("sessions must start at 0 and not decrease", source=self.source)
        for name, wanted in (("first_turn", sessions + 1), ("osl", turns), ("think_ns", turns),
                             ("texts", turns), ("priority", sessions), ("adapters", sessions),
                             ("reasoning_tokens", turns)):  # fmt: skip
            column = getattr(self, name)
            if column is not None and len(column) != wanted:
                raise InputError(
                    f"{name} has a wrong number of elements",
                    source=self.source,
                    value=str(len(column)),
                    allowed=str(wanted),
                )
        ends = int(self.first_turn[0]), int(self.first_turn[-1])
        if ends != (0, turns) or int(np.diff(self.first_turn).min()) < 1:
            raise InputError("every session needs at least one turn", source=self.source)
        for name, lengths in (("isl", self.isl), ("osl", self.osl)):
            _check_lengths(name, lengths, self.source)
        if int(self.think_ns.min()) < 0 or self.timeout_ns < 0:
            raise InputError("pauses and time-outs must not be negative", source=self.source)
        _check_texts(self.texts, self.isl, self.source)
        _check_reasoning(self.reasoning_tokens, self.osl, self.source)

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def turns(self) -> int:
        """Turns of all sessions together."""
        return len(self.isl)


def _check_lengths(name: str, lengths: IntArray, source: str) -> None:
    if int(lengths.min()) < 1:
        at = int(np.argmin(lengths))
        raise InputError(
            "lengths must be at least one token",
            source=source,
            path=f"request {at} {name}",
            value=str(int(lengths[at])),
        )


def _check_texts(texts: tuple[PromptText | None, ...] | None, isl: IntArray, source: str) -> None:
    if texts is None:
        return
    for at, (text, tokens) in enumerate(zip(texts, isl.tolist(), strict=True)):
        if text is not None and (text.ends[-1] != tokens or len(text.ids) != len(text.ends)):
            raise InputError(
                "the text must end where the prompt ends",
                source=source,
                path=f"request {at} text",
                value=f"{text.ends[-1]} of {tokens} tokens",
            )


def _check_reasoning(tokens: IntArray | None, osl: IntArray, source: str) -> None:
    if tokens is not None and bool(np.any((tokens < 0) | (tokens > osl))):
        at = int(np.argmax((tokens < 0) | (tokens > osl)))
        raise InputError(
            "thinking must be a part of the output",
            source=source,
            path=f"request {at} reasoning_tokens",
            value=str(int(tokens[at])),
            allowed=f"0 to {int(osl[at])}",
        )
