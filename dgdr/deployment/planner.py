"""The planner of a deployment: its settings and its component."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.plan import AggPlan, DeploymentPlan, Role
from dgdr.deployment.component import WORKSPACE, Component, Container, Mount
from dgdr.deployment.images import PLANNER_IMAGE, sibling_image
from dgdr.deployment.names import PLANNER
from dgdr.deployment.profile_data import PROFILE_DIR
from dgdr.deployment.workers import BuildContext, serving_backend
from dgdr.request import Dgdr

CONFIG_FILE = "planner_config.json"
_CONFIG_DIR = f"{WORKSPACE}/planner_config"
_SINGLE_ROLE_MODES = {"prefill": Role.PREFILL, "decode": Role.DECODE}


def derive_planner_config(dgdr: Dgdr, plan: DeploymentPlan) -> dict[str, object]:
    """What request and plan say about the planner; the user's own values win.

    The keys are those of Dynamo's PlannerConfig: model_name, backend, mode,
    max_gpu_budget (GPUs), prefill/decode_engine_num_gpu (GPUs of one replica), and
    ttft_ms/itl_ms only if the user set a target for either and none for the end-to-end
    latency.
    """
    spec = dgdr.spec
    aggregated = isinstance(plan.topology, AggPlan)
    derived: dict[str, object] = {
        "model_name": spec.model,
        "backend": "mocker" if spec.mocker else serving_backend(spec, plan).value,
        "mode": "agg" if aggregated else "disagg",
        "max_gpu_budget": plan.gpu_budget,
    }
    for pool in plan.topology.pools:
        role = Role.PREFILL if pool.role is Role.PREFILL else Role.DECODE
        derived[f"{role.value}_engine_num_gpu"] = pool.engine.gpus
    if spec.sla.sets_token_latency:
        target = spec.sla.target
        derived |= {"ttft_ms": target.ttft_ms, "itl_ms": target.itl_ms}
    return {**derived, **(spec.planner or {})}


def planner_warnings(dgdr: Dgdr, plan: DeploymentPlan) -> tuple[str, ...]:
    """Settings of the user that do not go with the deployment that was picked."""
    given = dgdr.spec.planner or {}
    derived = derive_planner_config(dgdr, plan)
    picked = "agg" if isinstance(plan.topology, AggPlan) else "disagg"
    fitting = {"agg": ("agg", "decode"), "disagg": ("disagg", "prefill", "decode")}[picked]
    found = []
    if derived["mode"] not in fitting:
        found.append(
            f"spec.features.planner.mode: {given['mode']} is kept, but the picked deployment is "
            f"{picked}"
        )
    own = "mocker" if dgdr.spec.mocker else serving_backend(dgdr.spec, plan).value
    if derived["backend"] != own:
        found.append(
            f"spec.features.planner.backend: {given['backend']} is kept, but workers run {own}"
        )
    return tuple(found)


def deployed_config(
    dgdr: Dgdr, config: Mapping[str, object], *, curves: bool
) -> Mapping[str, object]:
    """The settings as the planner's pod reads them.

    Args:
        dgdr: the request with the user's settings.
        config: settings beside the profiler's own files.
        curves: the pod has the curves in ``PROFILE_DIR``; the user's folder wins.
    """
    if not curves or "profile_results_dir" in (dgdr.spec.planner or {}):
        return config
    return {**config, "profile_results_dir": PROFILE_DIR}


def scaled_roles(plan: DeploymentPlan, config: Mapping[str, object] | None) -> frozenset[Role]:
    """Roles whose replicas the planner sets: none without a planner or in advisory mode."""
    if config is None or config.get("advisory") is True:
        return frozenset()
    roles = frozenset(pool.role for pool in plan.topology.pools)
    single = _SINGLE_ROLE_MODES.get(str(config.get("mode")))
    return roles & {single} if single in roles else roles


def planner_component(context: BuildContext, config_map_name: str) -> Component:
    """The planner: one replica, no GPU, its settings and curves mounted read-only."""
    mount = Mount(
        name=config_map_name,
        source={"configMap": {"name": config_map_name}},
        path=_CONFIG_DIR,
        read_only=True,
    )
    curves = () if context.curves is None else (context.curves,)
    return Component(
        name=PLANNER,
        type="planner",
        replicas=1,
        container=Container(
            image=sibling_image(context.image, PLANNER_IMAGE),
            module="dynamo.planner",
            working_dir=WORKSPACE,
            args=("--config", f"{_CONFIG_DIR}/{CONFIG_FILE}"),
            env=context.cache_env,
        ),
        mounts=(mount, *curves, *context.cache_mounts),
        runtime_version=context.spec.runtime_version_override,
    )
