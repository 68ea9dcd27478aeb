"""A request and a plan to the documents of final_config.yaml."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import yaml

from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.plan import AggPlan, DeploymentPlan
from dgdr.deployment.component import Component, Json, config_map, deployment
from dgdr.deployment.names import name_length_problems
from dgdr.deployment.planner import CONFIG_FILE, planner_component, render_config, scaled_roles
from dgdr.deployment.workers import BuildContext, frontend_component, worker_component
from dgdr.problems import raise_problems
from dgdr.request import Dgdr

_APPLIED_OVERRIDE_KEYS = {"apiVersion", "kind", "metadata"}


def build_dgd(
    dgdr: Dgdr, plan: DeploymentPlan, *, planner_config: Mapping[str, object] | None
) -> list[Json]:
    """Return the documents of final_config.yaml: ConfigMaps first, the deployment last.

    Names carry digits of a hash over the content, so equal input gives equal documents.

    Args:
        dgdr: the request.
        plan: pools, engines and replicas to deploy.
        planner_config: the complete content of planner_config.json, see
            :func:`dgdr.deployment.planner.derive_planner_config`; None leaves the
            planner out.

    Raises:
        InputError: the image is missing, a pool has no replica, or a name is too long
            (all violations are listed).
        InfeasibleError: the plan uses more GPUs than ``spec.hardware.totalGpus``.
        UnsupportedError: ``overrides.dgd`` changes more than the name.
    """
    _check_plan(dgdr, plan)
    _check_overrides(dgdr)
    context = BuildContext(
        spec=dgdr.spec,
        image=_image(dgdr),
        planner=planner_config is not None,
        scaled_roles=scaled_roles(plan, planner_config),
    )
    namespace = dgdr.metadata.namespace
    documents: list[Json] = []
    components = [
        frontend_component(context),
        *(worker_component(context, pool) for pool in plan.topology.pools),
    ]
    if planner_config is not None:
        text = render_config(planner_config)
        settings_name = f"planner-config-{_digest(text, hex_digits=4)}"
        documents.append(config_map(settings_name, {CONFIG_FILE: text}, namespace))
        components.append(planner_component(context, settings_name))
    name = _profiler_name(context, plan, components)
    _check_names(dgdr, name, components)
    documents.append(deployment(name, components, namespace))
    return documents


def dump_documents(docs: Sequence[Mapping[str, object]]) -> str:
    """YAML text of several documents, keys in the given order, no anchors."""
    return yaml.dump_all(
        docs, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=4096, allow_unicode=True
    )


class _Dumper(yaml.SafeDumper):
    """Writes shared values out in full and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


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


def _check_plan(dgdr: Dgdr, plan: DeploymentPlan) -> None:
    raise_problems(
        [
            InputError(
                f"the {pool.role.value} pool has no replica",
                path=f"plan.{pool.role.value}.replicas",
                value=str(pool.replicas),
                allowed="at least 1",
            )
            for pool in plan.topology.pools
            if pool.replicas < 1
        ]
    )
    total = dgdr.spec.hardware.total_gpus
    if total is not None and plan.gpus > total:
        raise InfeasibleError(
            f"the plan uses {plan.gpus} GPUs",
            binding_constraint=f"spec.hardware.totalGpus is {total}",
        )


def _check_overrides(dgdr: Dgdr) -> None:
    override = dgdr.spec.overrides.dgd or {}
    metadata = override.get("metadata")
    extra = [
        f"metadata.{k}" for k in (metadata if isinstance(metadata, dict) else {}) if k != "name"
    ]
    extra += [key for key in override if key not in _APPLIED_OVERRIDE_KEYS]
    if extra:
        raise UnsupportedError(
            f"spec.overrides.dgd: only metadata.name is applied at present (got {', '.join(extra)})"
        )


def _check_names(dgdr: Dgdr, name: str, components: Sequence[Component]) -> None:
    own = "metadata.name" if dgdr.spec.overrides.dgd_name is None else "overrides.dgd.metadata.name"
    names = [component.name for component in components]
    raise_problems(
        [
            *name_length_problems(name, names, source=None, path="DynamoGraphDeployment"),
            *name_length_problems(dgdr.dgd_name, names, source=None, path=own),
        ]
    )
