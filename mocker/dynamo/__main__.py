"""``python -m mocker.dynamo vllm|sglang|trtllm|mocker|frontend ARGS``: one container.

The arguments are those of the container. The address comes from the environment: ``POD_IP``
(all addresses when it is missing), ``DYN_SYSTEM_PORT`` for workers, ``DYN_HTTP_PORT`` for the
frontend. ``MOCKER_SPEED`` is simulated seconds in a second of wall time, at the workers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from contracts.errors import InputError
from contracts.exits import end_with
from mocker.dynamo.engine import BACKENDS, worker_plan
from mocker.dynamo.frontend import frontend_settings
from mocker.dynamo.settings import DRAIN_LIMIT_S, host_of, port_of, speed_of, variables
from mocker.fleet.run import WorkerSettings, run_frontend, run_worker
from mocker.settings import ServeSettings

FRONTEND = "frontend"
WORKER_PORT = 9090
# Of a LeaderWorkerSet's pods; the first of a group speaks for all.
GROUP_INDEX = "LWS_WORKER_INDEX"


def main(words: Sequence[str]) -> None:
    """Run one container until it is told to stop; errors become one message."""
    end_with(lambda: asyncio.run(_run(words, variables())))


async def _run(words: Sequence[str], found: Mapping[str, str]) -> None:
    kind = words[0] if words else "nothing"
    if kind in {"-h", "--help"}:
        sys.stdout.write(f"{__doc__}\n")
        return
    if kind == FRONTEND:
        await run_frontend(frontend_settings(words[1:], found, sys.stderr.write))
        return
    if kind not in BACKENDS:
        raise InputError("no such container", value=kind, allowed=", ".join((*BACKENDS, FRONTEND)))
    worker = worker_plan(kind, words[1:], found)
    serve = ServeSettings(
        plan=worker.plan,
        host=host_of(found),
        port=port_of(found, "DYN_SYSTEM_PORT", WORKER_PORT),
        speed=worker.speed * speed_of(found),
        timer_for=worker.timer_for,
    )
    await run_worker(
        WorkerSettings(
            serve=serve,
            role=worker.role,
            worker_id=found.get("POD_NAME") or kind,
            drain_limit_s=DRAIN_LIMIT_S,
            takes_requests=found.get(GROUP_INDEX, "0") == "0",
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
