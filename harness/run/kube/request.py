"""The request as it is applied to a cluster: the scenario's DGDR and what a rehearsal adds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.faults import LostRequestPolicy
from dgdr.parse import parse_document
from harness.run.prepare import Prepared, dgdr_text
from mocker.dynamo.routing import MIGRATION_VARIABLE, MODE_VARIABLE, mode_of

Json = dict[str, Any]

# Of requests that name none; the embedded cluster starts processes whatever the name is.
DEFAULT_IMAGE = "ai-dynamo/dynamo-planner:1.2.1"
SPEED_VARIABLE = "MOCKER_SPEED"
# More workers than a run loses.
_MIGRATIONS = 1000
# Every component of a deployment that looks at the speed; those that it lacks are left out.
_FRONTEND = "Frontend"
_COMPONENTS = ("worker", "prefill", "decode", "TRTLLMWorker")
_NOTES = "rehearsal.dgdr"


def request_of(prepared: Prepared, namespace: str) -> Json:
    """The request to create.

    Its annotations tell the profiling Job seed, start-up time and router of the scenario, so
    that it searches what the rungs below have searched. The frontend is told the router, and
    what happens to requests of a lost worker, under Dynamo's names. A planner that the scenario
    does not use decides, but never acts.

    Args:
        prepared: the scenario, prepared for the rungs below.
        namespace: where the request goes.
    """
    scenario = prepared.scenario
    source = str(scenario.deploy.dgdr)
    data: Json = copy.deepcopy(parse_document(dgdr_text(scenario), source=source))
    metadata = data["metadata"]
    metadata["namespace"] = namespace
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        f"{_NOTES}/seed": str(scenario.seeds[0]),
        f"{_NOTES}/startup-s": f"{scenario.deploy.startup_s:g}",
        f"{_NOTES}/router": scenario.deploy.router.value,
    }
    spec = data["spec"]
    spec["autoApply"] = True
    spec["searchStrategy"] = "rapid"  # as in the rungs below
    spec.setdefault("image", DEFAULT_IMAGE)
    _set_planner(spec, prepared)
    migrations = _MIGRATIONS if scenario.on_worker_lost is LostRequestPolicy.RETRY else 0
    frontend = {MODE_VARIABLE: mode_of(scenario.deploy.router), MIGRATION_VARIABLE: migrations}
    _set_variables(spec, (_FRONTEND,), frontend)
    if scenario.kube.speed != 1.0:
        _set_variables(spec, _COMPONENTS, {SPEED_VARIABLE: f"{scenario.kube.speed:g}"})
    return data


def _set_planner(spec: Json, prepared: Prepared) -> None:
    features = spec.get("features") or {}
    planner = features.get("planner")
    if planner is None or planner.get("enabled") is False:
        return
    wanted, settings = prepared.scenario.planner, dict(planner)
    if wanted.enabled:
        settings |= {
            "throughput_adjustment_interval_seconds": wanted.interval_s,
            "startup_s": prepared.plan.startup_s,
            "scale_down_hold_s": wanted.scale_down_hold_s,
            **wanted.overrides,
        }
    else:
        settings["advisory"] = True
    features["planner"] = settings


def _set_variables(spec: Json, names: Sequence[str], values: Mapping[str, object]) -> None:
    """Put variables into the containers by ``overrides.dgd``, which is merged by name."""
    variables = [{"name": name, "value": str(value)} for name, value in values.items()]
    overrides = spec.setdefault("overrides", {})
    graph = overrides.setdefault("dgd", {})
    graph.setdefault("apiVersion", "nvidia.com/v1beta1")
    graph.setdefault("kind", "DynamoGraphDeployment")
    components = graph.setdefault("spec", {}).setdefault("components", [])
    for name in names:
        found = next((each for each in components if each.get("name") == name), None)
        if found is None:
            found = {"name": name}
            components.append(found)
        pod = found.setdefault("podTemplate", {}).setdefault("spec", {})
        containers = pod.setdefault("containers", [])
        main = next((each for each in containers if each.get("name") == "main"), None)
        if main is None:
            main = {"name": "main"}
            containers.append(main)
        main["env"] = [*(main.get("env") or []), *variables]
