"""From a scenario to something that can run: DGDR, profile, plan and planner."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from contracts.errors import InputError, UnsupportedError
from contracts.faults import LinkDegraded, LinkLost
from contracts.files import unreadable
from contracts.plan import KV_LINKS, AggPlan, DeploymentPlan, DisaggPlan, PoolPlan, Role
from contracts.ports import TimerFactory
from dgdr import Dgdr, load_dgdr
from dgdr.parse import parse_document
from harness.run.profiles import Profiles, profile_key
from harness.scenario import AggTopology, Scenario
from harness.scenario.expand import put
from planner.core.capacity import CapacityModel
from planner.loop import Planner
from planner.settings import PlannerSettings as FileSettings
from planner.settings import settings_from, to_config
from profiler import ProfileResult, RapidOptions, load_gpu, load_step_times, run_rapid
from simcore.perf import architecture

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A scenario whose deployment is decided.

    Attributes:
        plan: what every rung runs, replicas at the start included.
        profile_dir: where the profiler left its files.
        isl: prompt tokens that the DGDR declares.
        osl: output tokens that the DGDR declares.
        step_times: choice of step times, as the command lines have it.
    """

    scenario: Scenario
    dgdr: Dgdr
    plan: DeploymentPlan
    profile: ProfileResult
    profile_dir: Path
    isl: int
    osl: int
    step_times: str = "roofline"

    @property
    def timer_for(self) -> TimerFactory:
        """Step times of an engine, the same on every rung."""
        return load_step_times(self.step_times)

    def make_planner(self) -> Planner | None:
        """A fresh planner for one run, ``None`` when the scenario has none."""
        settings = self.scenario.planner
        if not settings.enabled:
            return None
        path = self.profile_dir / "planner_config.json"
        if not path.exists():
            raise UnsupportedError(
                f"{self.scenario.source}: planner.enabled needs features.planner in the DGDR"
            )
        config = to_config(
            self._planner_settings(path),
            interval_s=settings.interval_s,
            startup_s=self.plan.startup_s,
            scale_down_hold_s=settings.scale_down_hold_s,
            isl_expected=float(self.isl),
            osl_expected=float(self.osl),
        )
        model = CapacityModel(
            prefill=self.profile.prefill_curves, decode=self.profile.decode_curves
        )
        return Planner(config, model)

    def _planner_settings(self, path: Path) -> FileSettings:
        """What the profiler wrote, for the topology that runs, with the scenario's changes."""
        values = json.loads(path.read_text(encoding="utf-8"))
        topology = self.plan.topology
        if self.scenario.deploy.topology is not None:
            values["mode"] = topology.kind
            values["prefill_engine_num_gpu"] = topology.pools[0].engine.gpus
            values["decode_engine_num_gpu"] = topology.pools[-1].engine.gpus
        source = f"{_shown(self.scenario.source)}: planner.set"
        return settings_from(values | dict(self.scenario.planner.overrides), source)


def load_request(scenario: Scenario) -> Dgdr:
    """Read and validate the DGDR of a scenario.

    Raises:
        InputError: it cannot be read or is not valid, or nothing is known of its model.
    """
    shown = _shown(scenario.deploy.dgdr)
    dgdr = load_dgdr(dgdr_text(scenario), source=shown)
    if scenario.deploy.model_config is None:
        try:
            architecture(dgdr.spec.model)
        except InputError as error:
            raise InputError(
                "is no bundled model (docs/profiler.md lists them); give its config.json as "
                "deploy.model_config of the scenario",
                source=shown, path="spec.model", value=error.value, allowed=error.allowed,
            ) from error  # fmt: skip
    return dgdr


def dgdr_text(scenario: Scenario) -> str:
    """The DGDR of a scenario with the fields that ``deploy.set`` replaces.

    Raises:
        InputError: it cannot be read, or a path of ``deploy.set`` leads nowhere.
    """
    path, changes = scenario.deploy.dgdr, scenario.deploy.dgdr_set
    text = _read(path)
    if not changes:
        return text
    document = parse_document(text, source=_shown(path))
    for name, value in changes.items():
        put(document, name, value, where=f"deploy.set.{name}")
    return yaml.safe_dump(document, sort_keys=False)


def prepare(
    scenario: Scenario,
    profile_dir: Path,
    *,
    progress: Progress | None = None,
    profiles: Profiles | None = None,
) -> Prepared:
    """Profile the DGDR of a scenario and fix the deployment.

    Args:
        scenario: what to run.
        profile_dir: where the profiler leaves its files.
        progress: called with a phase, steps done and steps in all.
        profiles: used in place of a search when they hold this very profile.

    Raises:
        InputError: a file is wrong, or the initial replicas do not fit the plan.
        InfeasibleError: no deployment meets the DGDR.
    """
    dgdr = load_request(scenario)
    gpu_file, table = scenario.deploy.gpu_file, scenario.deploy.step_table
    step_times = "roofline" if table is None else f"table:{table}"
    options = RapidOptions(
        startup_s=scenario.deploy.startup_s,
        router=scenario.deploy.router,
        seed=scenario.seeds[0],
        model_config=_model_config(scenario),
        gpu=None if gpu_file is None else load_gpu(_read(gpu_file), source=_shown(gpu_file)),
        timer_for=load_step_times(step_times),
        draw=profiles is None or profiles.draw,
    )

    def search(folder: Path) -> ProfileResult:
        return run_rapid(dgdr, folder, options, progress=progress)

    if profiles is None:
        result = search(profile_dir)
    else:
        result = profiles.get(_profile_key(scenario), profile_dir, search)
    _check_fault_targets(scenario, _with_topology(result.plan, scenario))
    return Prepared(
        scenario=scenario,
        dgdr=dgdr,
        plan=_with_replicas(_with_topology(result.plan, scenario), scenario),
        profile=result,
        profile_dir=profile_dir,
        isl=dgdr.spec.workload.isl,
        osl=dgdr.spec.workload.osl,
        step_times=step_times,
    )


def _profile_key(scenario: Scenario) -> str:
    deploy = scenario.deploy
    files = {
        "model_config": deploy.model_config,
        "gpu_file": deploy.gpu_file,
        "step_table": deploy.step_table,
    }
    texts = {name: None if path is None else _read(path) for name, path in files.items()}
    return profile_key(
        {"dgdr": dgdr_text(scenario), **texts},
        {
            "startup_s": deploy.startup_s,
            "router": deploy.router.value,
            "seed": scenario.seeds[0],
        },
    )


def _model_config(scenario: Scenario) -> Mapping[str, Any] | None:
    path = scenario.deploy.model_config
    if path is None:
        return None
    try:
        config = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error}", source=_shown(path)) from error
    if not isinstance(config, dict):
        raise InputError("is not a JSON object", source=_shown(path))
    return config


def _check_fault_targets(scenario: Scenario, plan: DeploymentPlan) -> None:
    """A fault must name a pool that the picked deployment has, before anything starts."""
    roles = [pool.role.value for pool in plan.topology.pools]
    for fault in scenario.cluster_faults:
        role = getattr(fault, "role", None)
        if role is not None and role.value not in roles:
            raise InputError(
                "the picked deployment has no such pool",
                source=_shown(scenario.source),
                path=f"faults: {fault.kind}: role",
                value=role.value,
                allowed=", ".join(roles),
            )
        if isinstance(fault, LinkDegraded | LinkLost) and len(roles) == 1:
            raise InputError(
                "the picked deployment has no link between prefill and decode",
                source=_shown(scenario.source),
                path="faults",
                value=fault.kind,
            )


def _with_topology(plan: DeploymentPlan, scenario: Scenario) -> DeploymentPlan:
    """The plan with the topology that the scenario wants, made of the picked engines."""
    wish = scenario.deploy.topology
    if wish is None:
        return plan
    first, last = plan.topology.pools[0].engine, plan.topology.pools[-1].engine
    if isinstance(wish, AggTopology):
        pool = PoolPlan(role=Role.AGG, engine=last, replicas=wish.replicas)
        changed = replace(plan, topology=AggPlan(pool=pool))
    else:
        topology = DisaggPlan(
            prefill=PoolPlan(role=Role.PREFILL, engine=first, replicas=wish.prefill),
            decode=PoolPlan(role=Role.DECODE, engine=last, replicas=wish.decode),
            link=KV_LINKS[wish.link],
        )
        changed = replace(plan, topology=topology)
    _check_budget(changed, scenario, "deploy.topology")
    return changed


def _check_budget(plan: DeploymentPlan, scenario: Scenario, path: str) -> None:
    if plan.gpus > plan.gpu_budget:
        raise InputError(
            "the replicas exceed the GPU budget",
            source=_shown(scenario.source),
            path=path,
            value=f"{plan.gpus} GPUs",
            allowed=f"at most {plan.gpu_budget}",
        )


def _with_replicas(plan: DeploymentPlan, scenario: Scenario) -> DeploymentPlan:
    wanted = scenario.planner.initial_replicas
    roles = [pool.role for pool in plan.topology.pools]
    for role in wanted:
        if role not in roles:
            raise InputError(
                "the picked deployment has no such pool",
                source=_shown(scenario.source),
                path=f"planner.initial_replicas.{role.value}",
                value=role.value,
                allowed=", ".join(roles),
            )

    def resized(pool: PoolPlan) -> PoolPlan:
        return replace(pool, replicas=wanted.get(pool.role, pool.replicas))

    topology: AggPlan | DisaggPlan
    if isinstance(plan.topology, AggPlan):
        topology = replace(plan.topology, pool=resized(plan.topology.pool))
    else:
        topology = replace(
            plan.topology,
            prefill=resized(plan.pool(Role.PREFILL)),
            decode=resized(plan.pool(Role.DECODE)),
        )
    changed = replace(plan, topology=topology)
    _check_budget(changed, scenario, "planner.initial_replicas")
    return changed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=_shown(path)) from error


def _shown(path: Path) -> str:
    """Relative to the working directory where possible, as people typed it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
