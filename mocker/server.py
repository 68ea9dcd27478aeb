"""The all-in-one server: frontend, workers and clock of one deployment in one process."""

from __future__ import annotations

from dataclasses import replace

from mocker.api import AppOptions, build_app, exposition_of
from mocker.clock import WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions
from mocker.serving.run import ServeHooks, serve_app
from mocker.settings import ServeSettings
from mocker.text.tokenizer import load_tokenizer


async def serve(
    settings: ServeSettings, name: str = "mocker", *, hooks: ServeHooks | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; prints one line when ready.

    Args:
        settings: what to serve.
        name: for the line that says it is ready.
        hooks: what else happens at start and end.

    Raises:
        PermanentError: the server does not come up, for example because the port is taken.
        InputError: the tokenizer cannot be used.
    """
    plan, clock = settings.plan, WallClock()
    startup_s = settings.startup_s
    if startup_s is not None:
        plan = replace(plan, startup_s=startup_s)
    driver = EngineDriver(
        plan,
        clock=clock,
        options=DriverOptions(
            speed=settings.speed,
            lost_policy=settings.on_worker_lost,
            timer_for=settings.timer_for,
        ),
    )
    options = AppOptions(
        seed=settings.seed,
        tokenizer=load_tokenizer(settings.tokenizer),
        api_key=settings.api_key,
        queue_limit=settings.queue_limit,
        startup_s=(startup_s or 0.0) / settings.speed,
        clock=clock,
    )
    try:
        app = build_app(driver, exposition_of(driver), options)
        await serve_app(app, name, settings.host, settings.port, kind=settings.server, hooks=hooks)
    finally:
        driver.close()
