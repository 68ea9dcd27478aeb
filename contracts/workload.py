"""The realised workload: which request arrives when, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError

IntArray = npt.NDArray[np.int64]


class RequestSpec(NamedTuple):
    """One request as the client sends it; lengths in tokens."""

    request_id: int
    arrival_ns: int
    isl: int
    osl: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """Arrival times and lengths of all requests, one array element each.

    Attributes:
        arrival_ns: shape (n,), non-decreasing nanoseconds since the start.
        isl: shape (n,), prompt tokens, at least 1.
        osl: shape (n,), output tokens, at least 1.
        source: where it came from, for people.

    Raises:
        InputError: empty, unsorted, or a length below one token.
    """

    arrival_ns: IntArray
    isl: IntArray
    osl: IntArray
    source: str

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
        )
