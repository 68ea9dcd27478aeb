"""Serves a cluster on loopback and drives its controllers, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from contracts.errors import PermanentError
from harness.cluster.certificate import Certificate
from harness.cluster.clock import WallClock
from harness.cluster.cluster import Cluster, ClusterSettings, Outside
from harness.cluster.node.probes import ThreadProber
from harness.cluster.node.process import ProcessRunner
from harness.cluster.node.settings import LOOPBACK_RANGE
from harness.cluster.ranges import LoopbackRanges

_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 2.0
_STEPS = 200  # keys worked on before requests get their turn
_LOGS = {
    "handlers": {
        name: {
            "class": "logging.StreamHandler",
            "formatter": formatter,
            "stream": "ext://sys.stderr",
        }
        for name, formatter in (("console", "generic"), ("access", "access"))
    }
}


async def serve(
    settings: ClusterSettings, port: int, tls: Certificate, ready: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM, which end all pods.

    Args:
        settings: of the cluster; ``url`` must carry the port.
        port: on 127.0.0.1.
        tls: the server's certificate.
        ready: called when requests are answered.

    Raises:
        PermanentError: the server does not come up, for example because the port is taken.
    """
    prober = ThreadProber()
    ranges = LoopbackRanges(settings.folder)
    outside = Outside(
        clock=WallClock(),
        runner=ProcessRunner(),
        prober=prober,
        claim=ranges.claim if LOOPBACK_RANGE else None,
    )
    cluster = Cluster(settings, outside)
    server = Server(
        cluster.app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        http1_settings=HTTP1Settings(keep_alive=True),
        websockets=True,
        ssl_cert=tls.cert,
        ssl_key=tls.key,
        log_level=LogLevels.error,
        log_dictconfig=_LOGS,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    tasks = {
        serving,
        asyncio.create_task(drive(cluster)),
        asyncio.create_task(stop.wait()),
    }
    try:
        await _until_listening(port, tasks)
        ready()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        cluster.watches.drop_all()
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({serving}, timeout=_STOP_LIMIT_S)
        for task in tasks:
            task.cancel()
        cluster.close()
        ranges.close()
        prober.close()


async def drive(cluster: Cluster) -> None:
    """Run the controllers whenever something is due."""
    wake = asyncio.Event()
    cluster.loop.wake = wake.set
    clock = WallClock()
    while True:
        wake.clear()
        steps = cluster.loop.run_due(_STEPS)
        await cluster.forwarder.sync()
        if steps == _STEPS:
            await asyncio.sleep(0)
            continue
        next_s = cluster.loop.next_s()
        timeout_s = None if next_s is None else max(0.0, next_s - clock.unix_s())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), timeout_s)


async def _until_listening(port: int, tasks: set[asyncio.Task[None]]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_LIMIT_S
    while loop.time() < deadline and not any(task.done() for task in tasks):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    raise PermanentError(f"the server did not come up on port {port}; is it taken?")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_tail(path: Path, size: int = 2000) -> str:
    """The end of a log file, for messages."""
    if not path.exists():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")[-size:].strip()
