"""``python -m planner global``: several deployments that share one pool of GPUs."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import CombinedInputError, InputError
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import SystemClock
from planner.adapters.connected import ConnectedPlanner, TickReport
from planner.adapters.fleet import FleetPlanner, Member
from planner.adapters.kubernetes import GraphApi, GraphName, KubernetesConnector
from planner.command.common import (
    make_planner,
    print_report,
    read_settings,
    timeout_s,
    until_signal,
)
from planner.command.pod import traffic_source
from planner.settings import to_config

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FleetMember(_Section):
    """One deployment.

    Attributes:
        config: its planner's settings, relative to this file.
        profile_dir: the profiler's results, relative to this file; default is what the
            settings say.
        weight: how much an uncovered need of it counts.
    """

    name: str = Field(min_length=1)
    namespace: str = Field(default="default", min_length=1)
    config: str = Field(min_length=1)
    profile_dir: str | None = None
    weight: _Positive = 1.0


class FleetSettings(_Section):
    """The file of ``python -m planner global --config``.

    Attributes:
        gpu_budget: GPUs of all deployments together.
        interval_s: seconds between two ticks, instead of those of the planners' settings.
        advisory: decide, but never act.
    """

    gpu_budget: int = Field(ge=1)
    interval_s: _Positive = 60.0
    advisory: bool = False
    deployments: list[FleetMember] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """Options of the command line."""

    config: Path
    kubeconfig: str | None = None
    prometheus: str | None = None
    advisory: bool = False
    ticks: int | None = None


def load_fleet(path: Path) -> FleetSettings:
    """Read and check the file.

    Raises:
        CombinedInputError: one error for each finding.
        InputError: the file cannot be read, or deployments are given twice.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings = FleetSettings.model_validate(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    except ValidationError as error:
        raise CombinedInputError(
            [
                InputError(
                    detail["msg"],
                    source=str(path),
                    path=".".join(str(part) for part in detail["loc"]),
                    value=repr(detail["input"])[:100],
                )
                for detail in error.errors()
            ]
        ) from error
    names = [f"{each.namespace}/{each.name}" for each in settings.deployments]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "are given twice", source=str(path), path="deployments", value=", ".join(twice)
        )
    return settings


async def scale_fleet(options: FleetOptions) -> None:
    """Tick until SIGTERM, or as often as asked for.

    Raises:
        InputError: a file is missing or wrong, or the floors exceed the budget.
        PermanentError: there is no Kubernetes configuration.
    """
    settings = load_fleet(options.config)
    calls = KubeClient(options.kubeconfig)
    try:
        async with httpx.AsyncClient(
            timeout=timeout_s(settings.interval_s), trust_env=False
        ) as client:
            members = [
                _member(each, settings, options, calls, client) for each in settings.deployments
            ]
            _check_floors(members, settings, options.config)
            fleet = FleetPlanner(
                members, gpu_budget=settings.gpu_budget, interval_s=settings.interval_s
            )
            sys.stderr.write(f"planner of {', '.join(member.name for member in members)}\n")
            await until_signal(fleet.run(_report, ticks=options.ticks))
    finally:
        calls.close()


def _member(
    each: FleetMember,
    fleet: FleetSettings,
    options: FleetOptions,
    calls: KubeClient,
    client: httpx.AsyncClient,
) -> Member:
    folder = options.config.parent
    path = folder / each.config
    settings = read_settings(path)
    config = to_config(settings, interval_s=fleet.interval_s)
    profile = None if each.profile_dir is None else folder / each.profile_dir
    planner = make_planner(path, settings, profile_dir=profile, config=config)
    name = GraphName(namespace=each.namespace, name=each.name)
    connector = KubernetesConnector(
        GraphApi(calls, name),
        traffic_source(client, options.prometheus, config, settings.model_name),
        config,
        unix_s=SystemClock().unix_s,
    )
    advisory = options.advisory or fleet.advisory or settings.advisory
    return Member(
        name=str(name),
        planner=ConnectedPlanner(planner, connector, advisory=advisory),
        connector=connector,
        weight=each.weight,
    )


def _check_floors(members: list[Member], settings: FleetSettings, path: Path) -> None:
    floors = sum(
        pool.min_replicas * pool.gpus_per_replica
        for member in members
        for pool in member.planner.planner.config.pools
    )
    if floors > settings.gpu_budget:
        raise InputError(
            "the smallest allowed deployments exceed the budget together",
            source=str(path),
            path="gpu_budget",
            value=str(settings.gpu_budget),
            allowed=f"at least {math.ceil(floors)}",
        )


def _report(name: str, found: TickReport) -> None:
    print_report(found, deployment=name)
