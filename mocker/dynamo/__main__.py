"""``python -m mocker.dynamo vllm|sglang|trtllm|mocker|frontend ARGS``: one container.

The arguments are those of the container. The address comes from the environment: ``POD_IP``
(all addresses when it is missing), ``DYN_SYSTEM_PORT`` for workers, ``DYN_HTTP_PORT`` for the
frontend. ``MOCKER_SPEED`` is simulated seconds in a second of wall time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from contracts.errors import InputError
from contracts.exits import run_command
from mocker.dynamo.engine import BACKENDS, worker_plan, worker_times
from mocker.dynamo.frontend import WORKER_PORT, Frontend, new_client, workers_from
from mocker.server import serve, serve_app
from mocker.settings import ServeSettings

FRONTEND = "frontend"
FRONTEND_PORT = 8000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one container until it is told to stop; errors become one message."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: asyncio.run(_run(words, os.environ)))


async def _run(words: Sequence[str], variables: Mapping[str, str]) -> None:
    kind = words[0] if words else "nothing"
    host = variables.get("POD_IP") or "0.0.0.0"
    if kind == FRONTEND:
        async with new_client() as client:
            app = Frontend(workers_from(variables), client)
            await serve_app(app, FRONTEND, host, _port(variables, "DYN_HTTP_PORT", FRONTEND_PORT))
        return
    if kind not in BACKENDS:
        raise InputError(
            "no such container", value=kind, allowed=", ".join((*BACKENDS, FRONTEND))
        )
    found = worker_plan(kind, words[1:], variables)
    await serve(
        ServeSettings(
            plan=found.plan,
            host=host,
            port=_port(variables, "DYN_SYSTEM_PORT", WORKER_PORT),
            speed=found.speed * _speed(variables),
            timer_for=worker_times,
        )
    )


def _port(variables: Mapping[str, str], name: str, default: int) -> int:
    text = variables.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise InputError("is no port", path=f"${name}", value=text, allowed="1 to 65535")
    return int(text)


def _speed(variables: Mapping[str, str]) -> float:
    text = variables.get("MOCKER_SPEED") or "1"
    try:
        return float(text)
    except ValueError as error:
        raise InputError("is no number", path="$MOCKER_SPEED", value=text) from error


if __name__ == "__main__":
    sys.exit(main())
