"""The worker's side: an engine whose requests come over frames."""

from __future__ import annotations

import asyncio
import json
from array import array
from typing import Any

from pydantic import TypeAdapter

from contracts.plan import DeploymentPlan, Role
from mocker.engines.driver import EngineDriver
from mocker.engines.port import Outcome
from mocker.fleet import wire
from mocker.fleet.wire import FrameProtocol, Kind

_PLAN = TypeAdapter(DeploymentPlan)


class WorkerEnd:
    """Serves an engine to all frontends that connect.

    Args:
        driver: the engine.
        role: what it does with requests.
        worker_id: for people.
    """

    def __init__(self, driver: EngineDriver, role: Role, worker_id: str) -> None:
        self._driver = driver
        self._hello = {
            "worker_id": worker_id,
            "role": role.value,
            "speed": str(driver.speed),
            "plan": json.loads(_PLAN.dump_json(driver.plan)),
        }
        self._desks: set[_Desk] = set()
        self._draining = False

    def connect(self) -> FrameProtocol:
        """The protocol of a new connection; call :meth:`greet` once it has its transport."""
        desk = _Desk(self._driver, self._desks.discard, expects=not self._draining)
        self._desks.add(desk)
        return desk.protocol

    def greet(self, protocol: FrameProtocol) -> None:
        """Say who this is, and whether it takes requests."""
        protocol.send(wire.json_frame(Kind.HELLO, {**self._hello, "taking": not self._draining}))

    def drain(self) -> None:
        """Tell frontends to send nothing more."""
        self._draining = True
        for desk in self._desks:
            desk.protocol.send(wire.frame(Kind.DRAINING))

    async def drained(self, limit_s: float) -> bool:
        """Wait until nothing is in flight and nothing can come; False when the limit came first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while self._busy and loop.time() < deadline:
            await asyncio.sleep(0.02)
        return not self._busy

    @property
    def _busy(self) -> bool:
        """A frontend that has not noted the end yet may have sent a request."""
        return self._driver.in_flight > 0 or any(desk.expects for desk in self._desks)

    def close(self) -> None:
        """End all connections."""
        for desk in list(self._desks):
            desk.protocol.close()


class _Desk:
    """One frontend's requests; ids are the frontend's.

    Attributes:
        expects: requests may still come.
    """

    def __init__(self, driver: EngineDriver, on_lost: Any, *, expects: bool) -> None:  # noqa: ANN401  # of a set
        self.expects = expects
        self._driver = driver
        self._forget = on_lost
        self._ours: dict[int, int] = {}
        self._news = array("I")
        self.protocol = FrameProtocol(self._on_frame, self._on_lost)

    def _on_frame(self, kind: Kind, content: bytes) -> None:
        if kind is Kind.SUBMIT:
            request_id, request = wire.read_submit(content)
            self._ours[request_id] = self._driver.submit(request, _Wire(self, request_id))
        elif kind is Kind.CANCEL:
            ours = self._ours.get(wire.read_cancel(content))
            if ours is not None:
                self._driver.cancel(ours)
        elif kind is Kind.NOTED:
            self.expects = False

    def _on_lost(self) -> None:
        self._forget(self)
        for ours in list(self._ours.values()):
            self._driver.cancel(ours)

    def tokens(self, request_id: int, generated: int) -> None:
        """Note progress; everything of one turn of the event loop is one frame."""
        if not self._news:
            asyncio.get_running_loop().call_soon(self._flush)
        self._news.append(request_id)
        self._news.append(generated)

    def end(self, request_id: int, outcome: Outcome) -> None:
        """Pass an end on, after the tokens before it."""
        self._flush()
        self._ours.pop(request_id, None)
        self.protocol.send(wire.end_frame(request_id, outcome))

    def _flush(self) -> None:
        news, self._news = self._news, array("I")
        if news:
            self.protocol.send(wire.tokens_frame(news))


class _Wire:
    """The sink of one request."""

    __slots__ = ("_desk", "_request_id")

    def __init__(self, desk: _Desk, request_id: int) -> None:
        self._desk = desk
        self._request_id = request_id

    def on_tokens(self, generated: int) -> None:
        """Tokens so far."""
        self._desk.tokens(self._request_id, generated)

    def on_end(self, outcome: Outcome) -> None:
        """The end."""
        self._desk.end(self._request_id, outcome)
