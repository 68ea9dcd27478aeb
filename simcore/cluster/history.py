"""What is kept of a run beside the rows of its requests: workers, faults, transfers."""

from __future__ import annotations

from contracts.faults import Fault
from contracts.observation import WorkerState, WorkerView
from contracts.streams import stable_hash
from simcore.cluster.request import LiveRequest
from simcore.cluster.worker import Worker
from simcore.kernel import Kernel
from simcore.observe import EventDigest
from simcore.observe.digest import DigestKind

_STATE_CODES = {state: code for code, state in enumerate(WorkerState)}


class History:
    """Writes down what happens, at the time at which it is told.

    Attributes:
        worker_events: every change of the state of a worker.
        digest: of all of it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.worker_events: list[WorkerView] = []
        self.digest = EventDigest()

    def state(self, worker: Worker) -> None:
        """A worker has changed its state."""
        self.worker_events.append(worker.view())
        code = _STATE_CODES[worker.state]
        self.digest.add(self._kernel.now_ns, DigestKind.WORKER, worker.code, code)

    def fault(self, fault: Fault) -> None:
        """A fault strikes."""
        self.digest.add(self._kernel.now_ns, DigestKind.FAULT, stable_hash(fault.kind) >> 1, 0)

    def adapter_load(self, worker: Worker, adapter: str) -> None:
        """A worker begins to load an adapter."""
        name = stable_hash(adapter) >> 1
        self.digest.add(self._kernel.now_ns, DigestKind.ADAPTER, worker.code, name)

    def reserved(self, live: LiveRequest, worker: Worker) -> None:
        """A decode worker has set memory aside for a request."""
        self.digest.add(self._kernel.now_ns, DigestKind.RESERVED, live.request_id, worker.code)

    def transferred(self, live: LiveRequest) -> None:
        """A KV cache has arrived."""
        self.digest.add(self._kernel.now_ns, DigestKind.TRANSFER, live.request_id, live.isl)
