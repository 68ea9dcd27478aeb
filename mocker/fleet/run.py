"""Starts a frontend or a worker and runs it until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import Metric

from contracts.errors import InputError, TransientError
from contracts.plan import DeploymentPlan, Role, RouterPolicy, RouterSettings
from mocker.api import AppOptions, Exposition, build_app, exposition_of
from mocker.clock import WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions, generating_pool
from mocker.fleet import wire
from mocker.fleet.discovery import Discovery, follow
from mocker.fleet.entrance import Entrance
from mocker.fleet.fleet import Fleet
from mocker.fleet.worker import WorkerEnd
from mocker.fleet.worker_plan import plan_of_worker, times_of_worker
from mocker.metrics.frontend import frontend_families
from mocker.metrics.pacing import pacing_families
from mocker.serving.run import DRAIN_S, ServeHooks, serve_app
from mocker.settings import ServeSettings
from mocker.text.tokenizer import load_tokenizer

FIRST_WORKER_S = 60.0
# What a frontend says whose requests may lose any number of workers.
UNLIMITED = 2**32 - 1
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Options of ``worker``.

    Attributes:
        serve: with the deployment of this worker alone, see :func:`worker_of`.
        drain_limit_s: how long requests may go on after the signal.
        takes_requests: otherwise it only says that it is there, as a machine of a worker does
            that spans several and has another one to talk to.
    """

    serve: ServeSettings
    role: Role
    worker_id: str
    drain_limit_s: float
    takes_requests: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendSettings:
    """Options of ``frontend``.

    Attributes:
        moves_max: workers that a request may lose before it fails; ``None`` is no limit.
        first_worker_s: a worker must have answered by then, or the frontend gives up; it listens
            once one has. ``None`` listens at once, and is not ready until a worker is there.
        linger_s: after the signal it takes requests for so long, because whoever spreads them
            does not know yet that it goes.
        drain_limit_s: how long answers may go on after that.
    """

    discovery: Discovery
    policy: RouterPolicy
    host: str
    port: int
    routing: RouterSettings = field(default_factory=RouterSettings)
    moves_max: int | None = None
    first_worker_s: float | None = FIRST_WORKER_S
    linger_s: float = 0.0
    drain_limit_s: float = DRAIN_S
    seed: int = 0
    tokenizer: Path | None = None
    api_key: str | None = None
    queue_limit: int | None = None


def worker_of(plan: DeploymentPlan, role: Role) -> DeploymentPlan:
    """The part of a deployment that one worker runs.

    Raises:
        InputError: the deployment has no such pool.
    """
    for pool in plan.topology.pools:
        if pool.role is role:
            return plan_of_worker(pool.engine, role)
    allowed = ", ".join(pool.role.value for pool in plan.topology.pools)
    raise InputError("the plan has no such pool", path="--role", value=role.value, allowed=allowed)


async def run_worker(settings: WorkerSettings) -> None:
    """Serve one engine until SIGINT or SIGTERM, then let its requests end.

    Raises:
        PermanentError: the port is taken.
    """
    given, clock = settings.serve, WallClock()
    driver = EngineDriver(
        given.plan,
        clock=clock,
        options=DriverOptions(speed=given.speed, timer_for=times_of_worker(given.timer_for)),
    )
    end = WorkerEnd(driver, settings.role, settings.worker_id)
    if not settings.takes_requests:
        end.drain()

    def connect() -> tuple[wire.FrameProtocol, wire.Begun]:
        protocol = end.connect()
        return protocol, lambda: end.greet(protocol)

    async def stopping() -> None:
        end.drain()
        await end.drained(settings.drain_limit_s)
        end.close()

    if given.startup_s:
        await asyncio.sleep(given.startup_s / given.speed)
    options = AppOptions(seed=given.seed, tokenizer=load_tokenizer(given.tokenizer), clock=clock)
    hooks = ServeHooks(upgrades={wire.UPGRADE: connect}, stopping=stopping)
    try:
        app = build_app(driver, exposition_of(driver), options)
        await serve_app(app, "worker", given.host, given.port, hooks=hooks)
    finally:
        driver.close()


async def run_frontend(settings: FrontendSettings) -> None:
    """Serve clients until SIGINT or SIGTERM.

    Raises:
        PermanentError: the port is taken.
        TransientError: no worker answers in the time that the settings give it.
        InputError: the place of discovery cannot be read at first.
    """
    fleet = Fleet(
        WallClock(),
        policy=settings.policy,
        routing=settings.routing,
        moves_max=settings.moves_max,
    )
    tokenizer = load_tokenizer(settings.tokenizer)
    entrance = Entrance(fleet.metrics)

    async def open_up() -> None:
        await fleet.first_worker()
        options = AppOptions(
            seed=settings.seed,
            tokenizer=tokenizer,
            api_key=settings.api_key,
            queue_limit=settings.queue_limit,
        )
        entrance.open(build_app(fleet, exposition_of_fleet(fleet), options))

    async def linger() -> None:
        await asyncio.sleep(settings.linger_s)

    if settings.first_worker_s is not None:
        settings.discovery.addresses()
    following = asyncio.create_task(follow(settings.discovery, fleet.set_addresses, _LOG.warning))
    opening = asyncio.create_task(open_up())
    try:
        if settings.first_worker_s is not None:
            await _in_time(opening, settings.first_worker_s)
        hooks = ServeHooks(stopping=linger, drain_s=settings.drain_limit_s)
        await serve_app(entrance, "frontend", settings.host, settings.port, hooks=hooks)
    finally:
        for task in (following, opening):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        fleet.close()


async def _in_time(opening: asyncio.Task[None], limit_s: float) -> None:
    try:
        await asyncio.wait_for(asyncio.shield(opening), limit_s)
    except TimeoutError as error:
        raise TransientError(f"no worker answered in {limit_s:g} s", retry_after_s=1.0) from error


def exposition_of_fleet(fleet: Fleet) -> Exposition:
    """What a frontend says about itself; engines speak for themselves, at their workers."""

    def families(adapters: Mapping[str, str]) -> Iterator[Metric]:
        del adapters
        fleet.metrics.fold()
        worker = fleet.pool_worker
        if worker is not None and worker.plan is not None:
            limits = generating_pool(worker.plan).engine.limits
            card = fleet.card
            yield from frontend_families(
                card.model_id,
                limits,
                fleet.metrics,
                fleet.awaiting_first_token,
                migration_limit=UNLIMITED if fleet.moves_max is None else fleet.moves_max,
            )
            yield from pacing_families(fleet.metrics, worker.speed)

    return Exposition(
        families=families,
        gpus=lambda: iter(()),
        ready_workers=fleet.ready_workers,
        reset_cache=lambda: False,
    )
