"""Runs the service until it is told to stop."""

from __future__ import annotations

import fcntl
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError, PermanentError
from contracts.files import folder_for_output
from harness.service.app import build_app
from harness.service.database import Database
from harness.settings import utc_iso
from profiler.page.serve import serve_app


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service runs.

    Attributes:
        data: folder for the database file, scenarios and runs.
        database_url: ``None`` is an SQLite file in ``data``.
        workers: processes that work on runs.
        token: asked of everybody; may be missing on loopback only.
        planner_bench: output of ``harness bench planner`` to show.
    """

    host: str
    port: int
    data: Path
    database_url: str | None
    workers: int
    token: str | None
    planner_bench: Path | None = None


def serve(settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM; prints the address when the port is open.

    Raises:
        InputError: the address is no loopback address and there is no token.
        PermanentError: the database cannot be opened, or another service has the folder.
    """
    if settings.token is None and not _loopback(settings.host):
        raise InputError(
            "needs a token: set HARNESS_TOKEN or --token, or serve on 127.0.0.1",
            path="--host",
            value=settings.host,
        )
    folder_for_output(settings.data, "--data")
    with _alone_in(settings.data):
        _serve(settings)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two services in one folder would each take the other's runs for interrupted ones."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PermanentError(
                f"--data {folder}: another service works in this folder; end it, or name another"
            ) from error
        yield


def _serve(settings: ServiceSettings) -> None:
    url = settings.database_url or f"sqlite:///{settings.data.resolve() / 'service.sqlite'}"
    database = Database(url, utc_iso)
    try:
        app = build_app(
            database,
            settings.data.resolve(),
            workers=settings.workers,
            token=settings.token,
            planner_bench=settings.planner_bench and settings.planner_bench.resolve(),
        )
        serve_app(app, settings.host, settings.port, "service ready {url}")
    finally:
        database.close()


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
