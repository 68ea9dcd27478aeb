"""``python -m planner``: scale a running deployment, replay a journal, divide a budget."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from contracts.errors import InputError
from contracts.exits import end_with, run_command
from planner.adapters.connected import TickReport, checked_speed
from planner.adapters.dashboard import served
from planner.adapters.http import HttpPlannerAdapter, checked_endpoint
from planner.adapters.journal import read_journal, replay
from planner.adapters.kubernetes.settings import pod_settings
from planner.command.common import (
    journal,
    make_planner,
    print_report,
    read_settings,
    timeout_s,
)
from planner.loop import Planner
from planner.settings import PlannerSettings

_GLOBAL = "global"


def main() -> None:
    """Run the planner; decisions are JSON lines on stdout, errors go to stderr."""
    end_with(lambda: _command(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """The exit code of a planner run inside this process."""
    return run_command(lambda: _command(words))


def _command(words: Sequence[str]) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if list(words[:1]) == [_GLOBAL]:
        arguments = _global_parser().parse_args(words[1:])
        asyncio.run(_divide(arguments))
        return 0
    arguments = _parser().parse_args(words)
    return asyncio.run(_run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m planner",
        description="Scales a deployment. 'global' as first word divides a budget among several.",
    )
    parser.add_argument("--config", required=True, type=Path, help="planner.yaml or .json")
    parser.add_argument("--endpoint", help="base address of a frontend, http://HOST:PORT")
    parser.add_argument(
        "--graph", help="name of a DynamoGraphDeployment; default is the one this is a pod of"
    )
    parser.add_argument("--replay", type=Path, help="decide on a journal, offline")
    parser.add_argument("--journal", type=Path, help="record what the planner sees")
    parser.add_argument(
        "--profile-dir",
        type=Path,
        help="profiler results; default is profile_results_dir, relative to the config file, "
        "else to the working directory",
    )
    parser.add_argument("--speed", type=float, default=1.0, help="time dilation of the cluster")
    parser.add_argument("--namespace", help="of the deployment")
    _add_common(parser)
    return parser


def _global_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m planner global")
    parser.add_argument("--config", required=True, type=Path, help="budget and deployments, YAML")
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", help="default is the pod's service account")
    parser.add_argument(
        "--prometheus", help="base address of a Prometheus server; default $PROMETHEUS_ENDPOINT"
    )
    parser.add_argument("--advisory", action="store_true", help="decide, but never act")
    parser.add_argument("--ticks", type=int, help="stop after this many ticks")


async def _run(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments.config)
    if not settings.enabled:
        print("the planner is disabled (enabled: false); nothing to do", file=sys.stderr)
        return 0
    _check(arguments)
    planner = make_planner(arguments.config, settings, profile_dir=arguments.profile_dir)
    if arguments.replay is not None:
        _replay(arguments.replay, planner)
    elif arguments.endpoint is not None:
        await _scale_endpoint(arguments, settings, planner)
    else:
        await _scale_graph(arguments, settings, planner)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    _check_ticks(arguments.ticks)
    if arguments.endpoint is not None:
        checked_endpoint(arguments.endpoint)
    checked_speed(arguments.speed)
    if arguments.replay is arguments.endpoint is arguments.graph is pod_settings().graph is None:
        raise InputError(
            "is required", path="--endpoint", value="nothing", allowed="or --graph, or --replay"
        )


def _check_ticks(ticks: int | None) -> None:
    if ticks is not None and ticks < 1:
        raise InputError("is out of range", path="ticks", value=str(ticks), allowed="at least 1")


async def _scale_endpoint(
    arguments: argparse.Namespace, settings: PlannerSettings, planner: Planner
) -> None:
    endpoint, digest = checked_endpoint(arguments.endpoint), planner.config.digest
    limit_s = timeout_s(planner.config.interval_s / checked_speed(arguments.speed))
    print(f"planner for {endpoint}, config digest {digest}", file=sys.stderr)
    async with httpx.AsyncClient(timeout=limit_s, trust_env=False) as client:
        page = served(planner.config, endpoint, "127.0.0.1", settings.live_dashboard_port)
        with journal(arguments.journal, digest) as on_view, page as dashboard:
            adapter = HttpPlannerAdapter(
                planner,
                client,
                endpoint,
                speed=arguments.speed,
                advisory=arguments.advisory or settings.advisory,
                on_view=on_view,
            )

            def report(found: TickReport) -> None:
                print_report(found)
                if dashboard is not None:
                    dashboard(found)

            await adapter.run(report, ticks=arguments.ticks)


async def _scale_graph(
    arguments: argparse.Namespace, settings: PlannerSettings, planner: Planner
) -> None:
    from planner.adapters.kubernetes import GraphName
    from planner.command.pod import PodOptions, scale_graph

    pod = pod_settings()
    pod = dataclasses.replace(pod, prometheus=arguments.prometheus or pod.prometheus)
    graph = GraphName(
        namespace=arguments.namespace or pod.namespace, name=arguments.graph or str(pod.graph)
    )
    options = PodOptions(
        graph=graph,
        pod=pod,
        kubeconfig=arguments.kubeconfig,
        ticks=arguments.ticks,
        advisory=arguments.advisory,
        journal=arguments.journal,
    )
    await scale_graph(options, settings, planner)


async def _divide(arguments: argparse.Namespace) -> None:
    from planner.command.fleet import FleetOptions, scale_fleet

    _check_ticks(arguments.ticks)
    await scale_fleet(
        FleetOptions(
            config=arguments.config,
            kubeconfig=arguments.kubeconfig,
            prometheus=arguments.prometheus or pod_settings().prometheus,
            advisory=arguments.advisory,
            ticks=arguments.ticks,
        )
    )


def _replay(path: Path, planner: Planner) -> None:
    found = read_journal(path)
    if found.config_digest != planner.config.digest:
        print(
            f"{path} was recorded with config digest {found.config_digest}, this is "
            f"{planner.config.digest}: decisions may differ from those of then",
            file=sys.stderr,
        )
    for decision in replay(planner, found.views):
        print(json.dumps(dataclasses.asdict(decision)))


if __name__ == "__main__":
    main()
