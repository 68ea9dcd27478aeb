"""Keeps track of what each fault cost and when it was over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from contracts.errors import InputError
from contracts.plan import Role
from contracts.records import FaultRecord
from contracts.units import ns_to_s


@dataclass(slots=True)
class OpenFault:
    """One fault and what it waits for.

    Attributes:
        ready_before: ready workers of each pool that it hit, before it struck; empty for
            faults that end after a duration.
    """

    record: FaultRecord
    ready_before: dict[Role, int]

    def over(self, now_ns: int) -> None:
        """The fault has ended or its damage is repaired."""
        self.record = replace(self.record, recovered_at_s=ns_to_s(now_ns))

    def suffered(self, hit: int, *, retry: bool) -> None:
        """So many requests were hit, and all of them are retried or given up."""
        self.record = replace(
            self.record,
            requests_hit=hit,
            requests_retried=hit if retry else 0,
            requests_failed=0 if retry else hit,
        )

    def failed(self, count: int) -> None:
        """So many of the requests that were hit are given up."""
        self.record = replace(self.record, requests_failed=count)

    def hit_worker(self, worker_id: str) -> None:
        """One more worker was hit."""
        target = f"{self.record.target},{worker_id}" if self.record.target else worker_id
        self.record = replace(self.record, target=target)


class FaultLog:
    """A loss has recovered when its pools have as many ready workers as before it."""

    def __init__(self) -> None:
        self._faults: list[OpenFault] = []

    def add(
        self,
        kind: str,
        target: str,
        *,
        now_ns: int,
        hit: int = 0,
        retried: int = 0,
        ready_before: Mapping[Role, int] | None = None,
    ) -> OpenFault:
        """A fault struck ``hit`` requests, of which ``retried`` go on."""
        record = FaultRecord(
            kind=kind,
            target=target,
            at_s=ns_to_s(now_ns),
            requests_hit=hit,
            requests_retried=retried,
            requests_failed=0,
            recovered_at_s=None,
        )
        fault = OpenFault(record, dict(ready_before or {}))
        self._faults.append(fault)
        return fault

    def ready(self, ready_now: Mapping[Role, int], now_ns: int) -> None:
        """A pool has gained a ready worker; ``ready_now`` counts those of every pool."""
        for fault in self._faults:
            waits = fault.record.recovered_at_s is None and fault.ready_before
            if waits and all(ready_now[r] >= n for r, n in fault.ready_before.items()):
                fault.over(now_ns)

    def records(self) -> tuple[FaultRecord, ...]:
        """All faults in order.

        Raises:
            InputError: a fault is over and has hit nothing.
        """
        for fault in self._faults:
            record = fault.record
            if not record.target and record.recovered_at_s is not None:
                raise InputError(
                    "the fault hits no worker",
                    path=record.kind,
                    value=f"{record.at_s:g} s to {record.recovered_at_s:g} s",
                    allowed="a window in which workers are ordered",
                )
        return tuple(fault.record for fault in self._faults)
