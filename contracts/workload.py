"""The realised workload: which request arrives when, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError

IntArray = npt.NDArray[np.int64]


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

    Raises:
        InputError: empty, unsorted, or a length below one token.
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

    def __post_init__(self) -> None:
        if len(self.arrival_ns) == 0:
            raise InputError("the workload has no requests", source=self.source)
        if not len(self.arrival_ns) == len(self.isl) == len(self.osl):
            raise InputError("arrival, isl and osl differ in number", source=self.source)
        if int(self.arrival_ns[0]) < 0 or bool(np.any(np.diff(self.arrival_ns) < 0)):
            raise InputError("arrival times must start at 0 and not decrease", source=self.source)
        for name, lengths in (("isl", self.isl), ("osl", self.osl)):
            if int(lengths.min()) < 1:
                at = int(np.argmin(lengths))
                raise InputError(
                    "lengths must be at least one token",
                    source=self.source,
                    path=f"request {at} {name}",
                    value=str(int(lengths[at])),
                )
        for name in ("texts", "priority", "adapters", "sessions"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.arrival_ns):
                raise InputError(f"{name} and arrivals differ in number", source=self.source)

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
        return RequestSpec(
            request_id=index,
            arrival_ns=int(self.arrival_ns[index]),
            isl=int(self.isl[index]),
            osl=int(self.osl[index]),
            text=None if self.texts is None else self.texts[index],
            priority=0 if self.priority is None else int(self.priority[index]),
            adapter="" if self.adapters is None else self.adapters[index],
            session=-1 if self.sessions is None else int(self.sessions[index]),
            timeout_ns=self.timeout_ns,
        )
