"""Rung ``vmock``: the mocker's own server and application in virtual time, in this process.

Requests, faults and the planner take the same way as on rung ``mock``: HTTP over sockets, the
ASGI application, the driver. Only time is virtual, so the run must equal rung ``sim`` to the
nanosecond; see :mod:`mocker.virtual` for the order of what falls on one instant.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import numpy as np

from contracts.errors import UnsupportedError
from contracts.records import RunRecord
from contracts.units import s_to_ns
from contracts.workload import SessionPlan, Workload
from harness.faults import ControlPlane
from harness.load import LoadResult
from harness.run.prepare import Prepared
from harness.run.session import Clocks, Driver, ServerRecord, Session
from harness.run.workload import Offered
from harness.scenario import Rung
from harness.store import RungRun
from mocker.api import AppOptions, build_app, exposition_of
from mocker.engines.driver import EngineDriver
from mocker.engines.options import RECORD_KEEP, DriverOptions
from mocker.serving.connection import HttpConnection
from mocker.serving.http_server import HttpServer
from mocker.virtual import PollClock, Turn, VirtualClock, VirtualLoop
from planner.adapters.http import TickReport
from simcore.simulation import DRAIN_LIMIT_S

# Of the virtual network; nothing outside the process can be reached there.
HOST, PORT = "127.0.0.1", 8000


class VirtualMockBackend:
    """Runs server, load generator and planner on one virtual event loop."""

    def run(
        self,
        prepared: Prepared,
        offered: Offered,
        seed: int,
        progress: Callable[[str, int, int], None],
    ) -> RungRun:
        """Run in virtual time; see :class:`harness.run.backends.Backend`.

        Raises:
            UnsupportedError: the load generator cannot send what the traffic consists of.
        """
        refuse_unsent(offered.traffic)
        planner = prepared.make_planner()
        plane = ControlPlane(prepared.scenario.control_faults)
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            world = _Virtual(loop, prepared, offered, seed, ticking=planner is not None)
            session = Session(
                world, prepared, offered, planner=planner, plane=plane, progress=progress
            )
            load, _server = runner.run(session.run())
        record = _merged(world.record(), world.client_ids, load)
        faults = (*record.faults, *plane.records(), *offered.faults)
        record = replace(record, faults=tuple(sorted(faults, key=lambda each: each.at_s)))
        decisions = tuple(planner.decisions) if planner else ()
        return RungRun(rung=Rung.VMOCK.value, seed=seed, record=record, decisions=decisions)


def refuse_unsent(traffic: object, rung: str = Rung.VMOCK.value) -> None:
    """Refuse traffic of which the load generator sends lengths and times only.

    Raises:
        UnsupportedError: names what it cannot send.
    """
    missing = []
    if isinstance(traffic, SessionPlan):
        missing.append("conversations")
    elif isinstance(traffic, Workload):
        if traffic.texts is not None and any(traffic.texts):
            missing.append("prompts that share text")
        if traffic.priority is not None and bool(traffic.priority.any()):
            missing.append("priorities")
        if traffic.adapters is not None and any(traffic.adapters):
            missing.append("LoRA adapters")
        if traffic.timeout_ns:
            missing.append("clients that give up")
    if missing:
        raise UnsupportedError(f"rung {rung} does not support {', '.join(missing)}")


class _Virtual:
    """A mocker on a virtual loop.

    Args:
        loop: not running yet.
        ticking: a planner ticks.

    Attributes:
        client_ids: what clients call the rows of :meth:`record`.
    """

    speed = 1.0
    timeout_s = DRAIN_LIMIT_S
    driver: Driver | None = None

    def __init__(
        self,
        loop: VirtualLoop,
        prepared: Prepared,
        offered: Offered,
        seed: int,
        *,
        ticking: bool,
    ) -> None:
        self._loop = loop
        self._clock = VirtualClock(loop)
        self.clocks = Clocks(
            load=VirtualClock(loop, Turn.ARRIVAL),
            faults=VirtualClock(loop, Turn.FAULT),
            trigger=lambda: PollClock(loop),
            planner=VirtualClock(loop, Turn.TICK),
        )
        requests = len(offered.traffic) if isinstance(offered.traffic, Workload) else 0
        self._driver = EngineDriver(
            prepared.plan,
            clock=self._clock,
            options=DriverOptions(
                lost_policy=prepared.scenario.on_worker_lost,
                timer_for=prepared.timer_for,
                record_keep=max(RECORD_KEEP, requests),
            ),
        )
        self._limit_ns = s_to_ns(offered.until_s + DRAIN_LIMIT_S)
        self._seed = seed
        self._ticking = ticking
        self._ended = False
        self._quiet = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve the application on the virtual network."""
        driver, loop = self._driver, self._loop
        options = AppOptions(seed=self._seed, clock=self._clock)
        server = HttpServer(build_app(driver, exposition_of(driver), options))
        loop.listen(HOST, PORT, lambda: HttpConnection(server, loop))
        try:
            yield f"http://{HOST}:{PORT}"
        finally:
            await server.stop(0.0)
            driver.close()

    def on_tick(self, _report: TickReport) -> None:
        """The last tick is the first one that finds all at rest, as in the simulator."""
        if self._ended and self._driver.next_event_ns is None:
            self._quiet.set()

    async def settle(self, record: Callable[[], Awaitable[ServerRecord]]) -> ServerRecord:
        """Let everything happen that the cluster still has in store."""
        self._ended = True
        if self._ticking:
            await self._quiet.wait()
        while (next_ns := self._driver.next_event_ns) is not None and next_ns <= self._limit_ns:
            await self._clock.sleep_until_ns(next_ns)
        return await record()

    def record(self) -> RunRecord:
        """What the server has recorded."""
        return self._driver.record()

    @property
    def client_ids(self) -> list[str | None]:
        """What clients call the rows of :meth:`record`."""
        return self._driver.recorded_clients()


def _merged(record: RunRecord, client_ids: list[str | None], load: LoadResult) -> RunRecord:
    """The times that the client has seen, beside what only the server knows."""
    names = {name: row for row, name in enumerate(client_ids)}
    rows = np.array([names.get(f"load-{index}", -1) for index in range(len(load.table))])
    columns = {
        name: np.where(rows >= 0, getattr(record.table, name)[rows], 0)
        for name in ("retries", "preemptions")
    }
    ended_ns = np.where(rows >= 0, record.table.finish_ns[rows], -1)
    finish_ns = np.where(load.table.finish_ns >= 0, load.table.finish_ns, ended_ns)
    return replace(record, table=replace(load.table, finish_ns=finish_ns, **columns))
