"""``python -m mocker.dynamo vllm|sglang|trtllm|mocker|frontend ARGS``: one container.

The arguments are those of the container. The address comes from the environment: ``POD_IP``
(all addresses when it is missing), ``DYN_SYSTEM_PORT`` for workers, ``DYN_HTTP_PORT`` for the
frontend. ``MOCKER_SPEED`` is simulated seconds in a second of wall time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from contracts.errors import InputError
from contracts.exits import end_with
from mocker.dynamo.engine import BACKENDS, worker_plan
from mocker.dynamo.frontend import WORKER_PORT, Frontend, new_client, workers_from
from mocker.dynamo.settings import port_of, speed_of, variables
from mocker.server import serve
from mocker.serving.run import ServeHooks, serve_app
from mocker.settings import ServeSettings

FRONTEND = "frontend"
FRONTEND_PORT = 8000
# Who spreads requests learns within this time that a server is about to go.
DRAIN_LEAST_S = 1.0
# Kubernetes kills a pod 30 s after it was told to end.
DRAIN_LIMIT_S = 27.0


async def _go_on_serving() -> None:
    await asyncio.sleep(DRAIN_LEAST_S)


_HOOKS = ServeHooks(stopping=_go_on_serving, drain_s=DRAIN_LIMIT_S)


def main(words: Sequence[str]) -> None:
    """Run one container until it is told to stop; errors become one message."""
    end_with(lambda: asyncio.run(_run(words, variables())))


async def _run(words: Sequence[str], found: Mapping[str, str]) -> None:
    kind = words[0] if words else "nothing"
    host = found.get("POD_IP") or "0.0.0.0"
    if kind == FRONTEND:
        async with new_client() as client:
            app = Frontend(workers_from(found), client, speed=speed_of(found))
            port = port_of(found, "DYN_HTTP_PORT", FRONTEND_PORT)
            await serve_app(app, FRONTEND, host, port, hooks=_HOOKS)
        return
    if kind not in BACKENDS:
        raise InputError("no such container", value=kind, allowed=", ".join((*BACKENDS, FRONTEND)))
    worker = worker_plan(kind, words[1:], found)
    await serve(
        ServeSettings(
            plan=worker.plan,
            host=host,
            port=port_of(found, "DYN_SYSTEM_PORT", WORKER_PORT),
            speed=worker.speed * speed_of(found),
            timer_for=worker.timer_for,
        ),
        hooks=_HOOKS,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
