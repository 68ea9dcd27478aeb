"""A request and a plan to the documents of final_config.yaml."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from contracts.errors import InputError
from contracts.plan import AggPlan, DeploymentPlan
from dgdr.deployment.component import (
    DGD_API_VERSION,
    Component,
    Json,
    config_map,
    deployment,
    json_text,
)
from dgdr.deployment.finish import (
    add_roles,
    add_tolerations,
    add_trust,
    argument_warnings,
    trusts_remote_code,
)
from dgdr.deployment.names import name_length_problems, worker_name
from dgdr.deployment.overrides import apply_override
from dgdr.deployment.plan_check import check_plan
from dgdr.deployment.planner import (
    CONFIG_FILE,
    deployed_config,
    planner_component,
    planner_warnings,
    scaled_roles,
)
from dgdr.deployment.profile_data import Curves, profile_files, profile_mount
from dgdr.deployment.version import in_version
from dgdr.deployment.workers import (
    BuildContext,
    frontend_component,
    routes_by_cache,
    serving_backend,
    worker_component,
)
from dgdr.enums import SearchStrategy
from dgdr.problems import raise_problems
from dgdr.request import Dgdr, SwitchSpec

_log = logging.getLogger(__name__)


def build_dgd(
    dgdr: Dgdr,
    plan: DeploymentPlan,
    *,
    planner_config: Mapping[str, object] | None,
    curves: Curves | None = None,
    model_config: Mapping[str, object] | None = None,
    api_version: str = DGD_API_VERSION,
) -> list[Json]:
    """Return the documents of final_config.yaml: ConfigMaps first, the deployment last.

    Names carry digits of a hash over the content, so equal input gives equal documents.

    Args:
        dgdr: the request.
        plan: pools, engines and replicas to deploy.
        planner_config: the complete content of planner_config.json, see
            :func:`dgdr.deployment.planner.derive_planner_config`; None leaves the
            planner out.
        curves: performance curves for the planner, and for mockers when they were measured.
        model_config: content of the model's ``config.json``, if it is at hand; tells whether
            the model brings code of its own.
        api_version: form of the deployment, ``components`` of v1beta1 or ``services`` of
            v1alpha1 with the service names of that version.

    Raises:
        InputError: the image is missing, a pool has no replica, the override is wrong, the
            model's code needs consent, or a name is too long (all violations are listed).
        InfeasibleError: the deployment takes more GPUs than ``spec.hardware.totalGpus``.
        UnsupportedError: the backend has no option for a part of the plan.
    """
    check_plan(dgdr.spec, plan)
    trusts = trusts_remote_code(dgdr, model_config)
    context = _context(dgdr, plan, planner_config)
    namespace = dgdr.metadata.namespace
    maps: list[Json] = []
    read = curves is not None and (context.planner or (context.measured and dgdr.spec.mocker))
    if curves is not None and read:
        files = profile_files(curves)
        name = _map_name("planner-profile-data", dgdr, files)
        maps.append(config_map(name, files, namespace))
        context = replace(context, curves=profile_mount(name))
    components = [
        frontend_component(context),
        *(worker_component(context, pool) for pool in plan.topology.pools),
    ]
    if planner_config is not None:
        config = deployed_config(dgdr, planner_config, curves=read)
        files = {CONFIG_FILE: json_text(CONFIG_FILE, config)}
        name = _map_name("planner-config", dgdr, files)
        maps.insert(0, config_map(name, files, namespace))
        components.append(planner_component(context, name))
    graph = deployment(_profiler_name(context, plan, components), components, namespace)
    graph = _finished(dgdr, plan, graph, trusts=trusts, context=context)
    graph = in_version(graph, api_version, context.backend, mocker=dgdr.spec.mocker)
    _check_names(dgdr, graph)
    return [*maps, graph]


def build_picked(dgdr: Dgdr, plan: DeploymentPlan) -> Json:
    """The deployment as it was picked: without planner, mocker and override.

    Raises:
        InputError: as for :func:`build_dgd`.
        InfeasibleError: as for :func:`build_dgd`.
        UnsupportedError: as for :func:`build_dgd`.
    """
    features = dgdr.spec.features.model_copy(update={"planner": None, "mocker": SwitchSpec()})
    overrides = dgdr.spec.overrides.model_copy(update={"dgd": None})
    spec = dgdr.spec.model_copy(update={"features": features, "overrides": overrides})
    return build_dgd(dgdr.model_copy(update={"spec": spec}), plan, planner_config=None)[-1]


def _context(
    dgdr: Dgdr, plan: DeploymentPlan, planner_config: Mapping[str, object] | None
) -> BuildContext:
    return BuildContext(
        spec=dgdr.spec,
        backend=serving_backend(dgdr.spec, plan),
        image=_image(dgdr),
        planner=planner_config is not None,
        scaled_roles=scaled_roles(plan, planner_config),
        kv_router=routes_by_cache(dgdr.spec, plan),
        measured=dgdr.spec.search_strategy is SearchStrategy.THOROUGH,
    )


def _finished(
    dgdr: Dgdr, plan: DeploymentPlan, graph: Json, *, trusts: bool, context: BuildContext
) -> Json:
    """The deployment with its override, and with what holds whatever that says."""
    overrides = dgdr.spec.overrides
    result = apply_override(graph, overrides.dgd)
    warnings = [*result.warnings]
    if context.planner:
        warnings += planner_warnings(dgdr, plan)
    warnings += add_roles(
        result.graph,
        {
            worker_name(context.backend, pool.role, mocker=dgdr.spec.mocker): pool.role
            for pool in plan.topology.pools
        },
    )
    if overrides.dgd:
        warnings += argument_warnings(result.graph)
    add_tolerations(result.graph, overrides.tolerations)
    if trusts:
        add_trust(result.graph)
    for warning in warnings:
        _log.warning("%s", warning)
    return result.graph


def _map_name(stem: str, dgdr: Dgdr, files: Mapping[str, str]) -> str:
    """Deployments with the same settings have maps of their own: each owns what it reads."""
    content = json.dumps([dgdr.dgd_name, files], sort_keys=True)
    return f"{stem}-{_digest(content, hex_digits=4)}"


def _digest(text: str, *, hex_digits: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=hex_digits // 2).hexdigest()


def _profiler_name(
    context: BuildContext, plan: DeploymentPlan, components: Sequence[Component]
) -> str:
    """The name the profiler gives; an operator renames the deployment."""
    kind = "agg" if isinstance(plan.topology, AggPlan) else "disagg"
    if context.spec.mocker:
        return f"mocker-{kind}"
    content = json.dumps([component.to_wire() for component in components], sort_keys=True)
    return f"{context.backend.value}-{kind}-{_digest(content, hex_digits=8)}"


def _image(dgdr: Dgdr) -> str:
    if dgdr.spec.image is None:
        raise InputError(
            "is required to name the images of the components",
            path="spec.image",
            value="nothing",
            allowed="registry/name:tag",
        )
    return dgdr.spec.image


def _check_names(dgdr: Dgdr, graph: Mapping[str, Any]) -> None:
    own = "metadata.name" if dgdr.spec.overrides.dgd_name is None else "overrides.dgd.metadata.name"
    spec = graph["spec"]
    names = [part["name"] for part in spec.get("components") or []] or list(spec["services"])
    given = graph["metadata"]["name"]
    raise_problems(
        [
            *name_length_problems(given, names, source=None, path="DynamoGraphDeployment"),
            *name_length_problems(dgdr.dgd_name, names, source=None, path=own),
        ]
    )
