"""Keeps track of what each crash cost and when its pool was whole again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from contracts.plan import Role
from contracts.records import FaultRecord
from contracts.units import ns_to_s
from simcore.cluster.worker import Worker


@dataclass(slots=True)
class _Open:
    role: Role
    ready_before: int
    record: FaultRecord


class RecoveryLog:
    """A crash has recovered when its pool has as many ready workers as before it."""

    def __init__(self) -> None:
        self._faults: list[_Open] = []

    def crashed(
        self, worker: Worker, ready_before: int, hit: int, *, retry: bool, now_ns: int
    ) -> None:
        """A worker died with ``hit`` requests."""
        record = FaultRecord(
            kind="worker_crash",
            target=worker.worker_id,
            at_s=ns_to_s(now_ns),
            requests_hit=hit,
            requests_retried=hit if retry else 0,
            requests_failed=0 if retry else hit,
            recovered_at_s=None,
        )
        self._faults.append(_Open(worker.role, ready_before, record))

    def ready(self, role: Role, ready_now: int, now_ns: int) -> None:
        """A pool has gained a ready worker."""
        for fault in self._faults:
            waiting = fault.record.recovered_at_s is None and fault.role is role
            if waiting and ready_now >= fault.ready_before:
                fault.record = replace(fault.record, recovered_at_s=ns_to_s(now_ns))

    def records(self) -> tuple[FaultRecord, ...]:
        """All crashes in order."""
        return tuple(fault.record for fault in self._faults)
