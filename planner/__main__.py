"""``python -m planner``: scale a running deployment over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import httpx

from contracts.errors import InputError
from contracts.exits import run_command
from planner.adapters.connected import TickReport, checked_speed
from planner.adapters.http import HttpPlannerAdapter, checked_endpoint
from planner.core.capacity import CapacityModel
from planner.loop import Planner
from planner.settings import PlannerSettings, load_curves, load_settings, own_deployment, to_config

_TIMEOUT_S_MAX = 10.0
_TIMEOUT_S_MIN = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the planner; decisions are JSON lines on stdout, errors go to stderr."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: asyncio.run(_run(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m planner", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="planner.yaml or .json")
    parser.add_argument(
        "--endpoint", help="base address, http://HOST:PORT; may be missing in a pod of a DGD only"
    )
    parser.add_argument(
        "--profile-dir",
        type=Path,
        help="profiler results; default is profile_results_dir, relative to the config file",
    )
    parser.add_argument("--speed", type=float, default=1.0, help="time dilation of the cluster")
    parser.add_argument("--advisory", action="store_true", help="decide, but never act")
    parser.add_argument("--ticks", type=int, help="stop after this many ticks")
    return parser


async def _run(arguments: argparse.Namespace) -> int:
    settings = _read_settings(arguments.config)
    if not settings.enabled:
        print("the planner is disabled (enabled: false); nothing to do", file=sys.stderr)
        return 0
    if arguments.ticks is not None and arguments.ticks < 1:
        raise InputError(
            "is out of range", path="ticks", value=str(arguments.ticks), allowed="at least 1"
        )
    config = to_config(settings)
    if arguments.endpoint is None:
        return await _hold(own_deployment())
    folder = arguments.profile_dir or arguments.config.parent / settings.profile_results_dir
    prefill, decode = load_curves(folder)
    planner = Planner(config, CapacityModel(prefill=prefill, decode=decode))
    endpoint = checked_endpoint(arguments.endpoint)
    period_s = config.interval_s / checked_speed(arguments.speed)
    print(f"planner for {endpoint}, config digest {config.digest}", file=sys.stderr)
    timeout_s = max(_TIMEOUT_S_MIN, min(_TIMEOUT_S_MAX, period_s))
    async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
        adapter = HttpPlannerAdapter(
            planner,
            client,
            endpoint,
            speed=arguments.speed,
            advisory=arguments.advisory or settings.advisory,
        )
        await adapter.run(_print_report, ticks=arguments.ticks)
    return 0


async def _hold(graph: str | None) -> int:
    """Keep a planner pod of a deployment alive that has nobody to observe yet.

    Raises:
        InputError: this is no pod of a deployment, so the endpoint was forgotten.
    """
    if not graph:
        raise InputError("is required", path="--endpoint", value="nothing")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print(
        f"planner of {graph}: the settings are valid, but there is no Kubernetes adapter yet, so "
        "nothing is decided; scale with kubectl scale dgdsa",
        flush=True,
    )
    await stop.wait()
    return 0


def _read_settings(path: Path) -> PlannerSettings:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    return load_settings(text, str(path))


def _print_report(report: TickReport) -> None:
    line = {
        **asdict(report.decision),
        "applied": report.applied.value,
        "problem": report.problem,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
