"""A worker elsewhere as the frontend sees it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import OrderedDict
from typing import Protocol

from pydantic import TypeAdapter

from contracts.plan import DeploymentPlan, PoolPlan, Role
from contracts.workload import PromptText
from mocker.engines.options import generating_pool
from mocker.engines.port import Outcome, Submitted
from mocker.fleet import wire
from mocker.fleet.wire import FrameProtocol, Kind

_PLAN = TypeAdapter(DeploymentPlan)
_ASK = (
    b"GET /frames HTTP/1.1\r\nhost: worker\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n"
    % wire.UPGRADE
)
RETRY_S = 0.2
# After 2 s without a word the kernel asks every second; after 5 s the worker is lost.
_SILENCE = (
    ("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 5000),
)  # fmt: skip


class Listener(Protocol):
    """The frontend that a worker reports to."""

    def joined(self, worker: RemoteWorker) -> None:
        """It has said who it is."""
        ...

    def left(self, worker: RemoteWorker) -> None:
        """It takes no more requests; those that it has go on."""
        ...

    def lost(self, worker: RemoteWorker) -> None:
        """It has gone, with the requests that it had."""
        ...

    def tokens(self, request_id: int, generated: int) -> None:
        """Tokens of a request so far."""
        ...

    def ended(self, request_id: int, outcome: Outcome) -> None:
        """A request has ended."""
        ...


class RemoteWorker:
    """One connection to one worker; routers know it by ``slot``.

    Attributes:
        slot: number that no other worker of this frontend has had.
        taking: it may get requests.
        held: requests that it has.
    """

    def __init__(self, address: str, listener: Listener) -> None:
        self.address = address
        self.slot = -1
        self.taking = False
        self.held = 0
        self.worker_id = address
        self.role = Role.AGG
        self.plan: DeploymentPlan | None = None
        self.speed = 1.0
        self._listener = listener
        self._protocol: FrameProtocol | None = None
        self._prefixes: OrderedDict[int, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._gone = asyncio.Event()

    @property
    def pool(self) -> PoolPlan:
        """The pool that it is part of."""
        assert self.plan is not None
        return generating_pool(self.plan)

    def open(self) -> None:
        """Connect, and again whenever the connection is lost."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def close(self) -> None:
        """Do not connect again."""
        self._closed = True
        if self._protocol is not None:
            self._protocol.close()
        if self._task is not None:
            self._task.cancel()

    def retire(self) -> None:
        """Take no more requests, and do not connect again; those that it has go on."""
        self._closed = True
        self._stop_taking()

    def submit(self, request_id: int, request: Submitted) -> None:
        """Send a request, and believe that its prompt will be cached there."""
        assert self._protocol is not None
        if request.text is not None:
            self._remember(request.text)
        self._protocol.send(wire.submit_frame(request_id, request))

    def cancel(self, request_id: int) -> None:
        """Nobody wants the answer any more."""
        if self._protocol is not None:
            self._protocol.send(wire.cancel_frame(request_id))

    def cached_prefix_tokens(self, text: PromptText | None) -> int:
        """Leading tokens of a prompt that this frontend believes to be cached there."""
        known = 0
        if text is not None:
            for each, end in zip(text.ids, text.ends, strict=True):
                if each not in self._prefixes:
                    break
                known = end
        return known

    def _remember(self, text: PromptText) -> None:
        prefixes = self._prefixes
        for each in (*text.ids, text.output_id):
            prefixes[each] = None
            prefixes.move_to_end(each)
        limits = self.pool.engine.limits
        while len(prefixes) > limits.kv_blocks_total:
            prefixes.popitem(last=False)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        host, _, port = self.address.rpartition(":")
        while not self._closed:
            self._gone.clear()
            try:
                transport, self._protocol = await loop.create_connection(
                    self._connection, host, int(port)
                )
                _notice_silence(transport)
                await self._gone.wait()
            except OSError:
                pass  # it does not listen yet, or no more
            await asyncio.sleep(RETRY_S)

    def _connection(self) -> FrameProtocol:
        return FrameProtocol(self._on_frame, self._on_lost, _ASK)

    def _on_frame(self, kind: Kind, content: bytes) -> None:
        if kind is Kind.TOKENS:
            pairs = iter(wire.read_tokens(content))
            for request_id in pairs:
                self._listener.tokens(request_id, next(pairs))
        elif kind is Kind.END:
            self._listener.ended(*wire.read_end(content))
        elif kind is Kind.HELLO:
            hello = json.loads(content)
            self.worker_id = str(hello["worker_id"])
            self.role = Role(hello["role"])
            self.speed = float(hello["speed"])
            self.plan = _PLAN.validate_json(json.dumps(hello["plan"]), strict=True)
            if hello["taking"] and not self._closed:
                self.taking = True
                self._listener.joined(self)
        elif kind is Kind.DRAINING:
            self._stop_taking()
            if self._protocol is not None:
                self._protocol.send(wire.frame(Kind.NOTED))

    def _on_lost(self) -> None:
        self._protocol = None
        self._prefixes.clear()
        self._stop_taking()
        self._listener.lost(self)
        self._gone.set()

    def _stop_taking(self) -> None:
        if self.taking:
            self.taking = False
            self._listener.left(self)


def _notice_silence(transport: asyncio.BaseTransport) -> None:
    """A machine that vanishes ends no connection: the kernel shall ask it now and then."""
    found = transport.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SILENCE:
        option = getattr(socket, name, None)  # not every system has every one
        if option is not None:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
