"""``harness serve`` and ``harness submit``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from contracts.errors import InputError, PermanentError
from harness.service.bundle import bundle

_WAIT_S = 30.0
Token = Annotated[
    str | None,
    typer.Option(envvar="HARNESS_TOKEN", help="Bearer token; not needed on loopback."),
]


def serve_command(  # options of a command line
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8600,
    data: Annotated[Path, typer.Option(help="Folder for runs and the database file.")] = Path(
        "service"
    ),
    db: Annotated[
        str | None,
        typer.Option(help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; default: cores.", min=1)] = None,
    token: Token = None,
) -> None:
    """Serve a queue of runs with its results over HTTP, and pages to look at them."""
    # Only this command needs the web framework; the others start without it.
    from harness.service.serve import ServiceSettings, serve  # noqa: PLC0415

    settings = ServiceSettings(
        host=host,
        port=port,
        data=data,
        database_url=db,
        workers=workers or os.cpu_count() or 1,
        token=token,
    )
    serve(settings)


def submit_command(  # noqa: PLR0913  # options of a command line
    scenario_file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    service: Annotated[
        str, typer.Option(envvar="HARNESS_SERVICE", help="Address of the service.")
    ] = "http://127.0.0.1:8600",
    on: Annotated[str, typer.Option("--on", help="Rungs, separated by commas.")] = "",
    seed: Annotated[list[int] | None, typer.Option(help="Seed; may be repeated.")] = None,
    label: Annotated[str, typer.Option(help="A word to find the run by.")] = "",
    token: Token = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Hand a scenario, with every file that it names, to a service."""
    rungs = tuple(name.strip() for name in on.split(",") if name.strip())
    submission = bundle(scenario_file, rungs=rungs, seeds=tuple(seed or ()), label=label)
    job = _post(f"{service.rstrip('/')}/api/runs", asdict(submission), token)
    address = f"{service.rstrip('/')}/runs/{job['id']}"
    print(json.dumps(job) if as_json else f"run {job['id']} {job['state']}: {address}")


def _post(url: str, body: dict[str, Any], token: str | None) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.post(url, json=body, headers=headers, timeout=_WAIT_S, trust_env=False)
    except httpx.HTTPError as error:
        raise PermanentError(f"{url}: {error or type(error).__name__}") from error
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        found = answer.json()
        raise InputError(str(found.get("error") or found), source=url)
    if not answer.is_success:
        raise PermanentError(f"{url}: HTTP {answer.status_code}: {answer.text[:300]}")
    return dict(answer.json())
