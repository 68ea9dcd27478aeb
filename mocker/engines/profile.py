"""Engine steps as a Chrome trace and as a stream of forward-pass metrics."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from contracts.observation import WorkerState
from simcore.cluster.worker import Worker
from simcore.engine import StepReport

Listener = Callable[[Worker, StepReport], None]
# A trace keeps the newest so many steps.
STEPS_KEPT = 100_000
# A reader of the stream that is so many steps behind loses the oldest.
BEHIND_MAX = 10_000


class StepTrace:
    """Records steps between start and stop.

    Args:
        listeners: of the driver; the trace adds itself while it records.
    """

    def __init__(self, listeners: list[Listener]) -> None:
        self.listeners = listeners
        self._steps: deque[tuple[str, StepReport]] = deque(maxlen=STEPS_KEPT)

    @property
    def recording(self) -> bool:
        """Between start and stop."""
        return self._record in self.listeners

    def start(self) -> bool:
        """Begin with an empty trace; False when one is being recorded."""
        if self.recording:
            return False
        self._steps.clear()
        self.listeners.append(self._record)
        return True

    def stop(self) -> bool:
        """End the trace; False when there is none."""
        if not self.recording:
            return False
        self.listeners.remove(self._record)
        return True

    def chrome(self) -> bytes:
        """The trace in Chrome's format: one row for each worker, microseconds.

        A run of decode-only steps is one bar that says how many steps it stands for.
        """
        rows: dict[str, int] = {}
        events: list[dict[str, Any]] = []
        for worker_id, step in self._steps:
            row = rows.setdefault(worker_id, len(rows))
            kind = "decode"
            if step.prefill_tokens:
                kind = "mixed" if step.decode_requests else "prefill"
            events.append(
                {
                    "name": kind,
                    "ph": "X",
                    "ts": step.start_ns / 1000,
                    "dur": (step.end_ns - step.start_ns) / 1000,
                    "pid": 0,
                    "tid": row,
                    "args": _numbers(step),
                }
            )
        names = [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": row, "args": {"name": worker_id}}
            for worker_id, row in rows.items()
        ]
        return json.dumps({"traceEvents": names + events, "displayTimeUnit": "ms"}).encode()

    def _record(self, worker: Worker, step: StepReport) -> None:
        self._steps.append((worker.worker_id, step))


class StepFeed:
    """Forward-pass metrics for one reader: one JSON line for each step.

    Args:
        listeners: of the driver.
        wake: called when there is something to read.
    """

    def __init__(self, listeners: list[Listener], wake: Callable[[], None]) -> None:
        self._listeners = listeners
        self._wake = wake
        self._lines: deque[bytes] = deque(maxlen=BEHIND_MAX)
        listeners.append(self._hear)

    def take(self) -> bytes:
        """Lines since the last call."""
        lines = b"".join(self._lines)
        self._lines.clear()
        return lines

    def close(self) -> None:
        """Hear no more."""
        self._listeners.remove(self._hear)

    def _hear(self, worker: Worker, step: StepReport) -> None:
        load = {
            "worker_id": worker.worker_id,
            "role": worker.role.value,
            "draining": worker.state is WorkerState.DRAINING,
            "start_ns": step.start_ns,
            "end_ns": step.end_ns,
            "wall_time_s": (step.end_ns - step.start_ns) / step.steps / 1e9,
            **_numbers(step),
        }
        self._lines.append(json.dumps(load).encode() + b"\n")
        self._wake()


def _numbers(step: StepReport) -> dict[str, int]:
    return {
        "steps": step.steps,
        "num_decode_requests": step.decode_requests,
        "sum_decode_kv_tokens": step.context_tokens,
        "sum_prefill_tokens": step.prefill_tokens,
        "num_admitted": len(step.admitted),
        "num_preempted": len(step.preempted),
    }
