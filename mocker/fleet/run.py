"""Starts a frontend or a worker and runs it until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import Metric

from contracts.errors import InputError, TransientError
from contracts.faults import LostRequestPolicy
from contracts.plan import DeploymentPlan, Role, RouterPolicy
from mocker.api import AppOptions, Exposition, build_app, exposition_of
from mocker.clock import WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions, generating_pool
from mocker.fleet import wire
from mocker.fleet.discovery import Discovery, follow
from mocker.fleet.fleet import Fleet
from mocker.fleet.worker import WorkerEnd
from mocker.fleet.worker_plan import plan_of_worker, times_of_worker
from mocker.metrics.frontend import frontend_families
from mocker.metrics.pacing import pacing_families
from mocker.serving.run import ServeHooks, serve_app
from mocker.settings import ServeSettings
from mocker.text.tokenizer import load_tokenizer

FIRST_WORKER_S = 60.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Options of ``worker``.

    Attributes:
        drain_limit_s: how long requests may go on after the signal.
    """

    serve: ServeSettings
    role: Role
    worker_id: str
    drain_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendSettings:
    """Options of ``frontend``."""

    discovery: Discovery
    policy: RouterPolicy
    on_worker_lost: LostRequestPolicy
    host: str
    port: int
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
        InputError: the plan has no pool of the role.
    """
    given, clock = settings.serve, WallClock()
    driver = EngineDriver(
        worker_of(given.plan, settings.role),
        clock=clock,
        options=DriverOptions(speed=given.speed, timer_for=times_of_worker(given.timer_for)),
    )
    end = WorkerEnd(driver, settings.role, settings.worker_id)

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
        TransientError: no worker answers at first.
        InputError: the place of discovery cannot be read at first.
    """
    settings.discovery.addresses()
    clock = WallClock()
    fleet = Fleet(clock, policy=settings.policy, lost_policy=settings.on_worker_lost)
    following = asyncio.create_task(follow(settings.discovery, fleet.set_addresses, _LOG.warning))
    try:
        try:
            await asyncio.wait_for(fleet.first_worker(), FIRST_WORKER_S)
        except TimeoutError as error:
            raise TransientError(
                f"no worker answered in {FIRST_WORKER_S:g} s", retry_after_s=1.0
            ) from error
        options = AppOptions(
            seed=settings.seed,
            tokenizer=load_tokenizer(settings.tokenizer),
            api_key=settings.api_key,
            queue_limit=settings.queue_limit,
            clock=clock,
        )
        app = build_app(fleet, exposition_of_fleet(fleet), options)
        await serve_app(app, "frontend", settings.host, settings.port)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        fleet.close()


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
                card.model_id, limits, fleet.metrics, fleet.awaiting_first_token
            )
            yield from pacing_families(fleet.metrics, worker.speed)

    return Exposition(
        families=families,
        gpus=lambda: iter(()),
        ready_workers=fleet.ready_workers,
        reset_cache=lambda: False,
    )
