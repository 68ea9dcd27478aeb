"""Runs the application in this process and asks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from contracts.plan import DeploymentPlan
from mocker.api import AppOptions, build_app, exposition_of
from mocker.clock import WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions
from mocker.serving.http_server import HttpServer

T = TypeVar("T")
MODEL = "meta-llama/Llama-3.1-8B"


def with_server(
    plan: DeploymentPlan,
    act: Callable[[httpx.AsyncClient, EngineDriver], Awaitable[T]],
    *,
    speed: float = float("inf"),
    options: AppOptions | None = None,
    own_server: bool = False,
) -> T:
    """Run ``act(client, driver)`` against a server of the plan; never sleeps by default."""

    async def body() -> T:
        driver = EngineDriver(plan, clock=WallClock(), options=DriverOptions(speed=speed))
        app = build_app(driver, exposition_of(driver), options)
        server = HttpServer(app)
        base, transport = "http://mocker", httpx.ASGITransport(app=app)
        if own_server:
            port = await server.start("127.0.0.1", 0)
            base, transport = f"http://127.0.0.1:{port}", httpx.AsyncHTTPTransport()
        try:
            async with httpx.AsyncClient(transport=transport, base_url=base, timeout=20) as client:
                return await act(client, driver)
        finally:
            if own_server:
                await server.stop(0.0)
            driver.close()

    return asyncio.run(body())


def chat(words: str = "one two three", **changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": words}], **changes}


def events(text: str) -> list[dict[str, Any]]:
    """Chunks of a stream, the end mark left out."""
    lines = [line for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
