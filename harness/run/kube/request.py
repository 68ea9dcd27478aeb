"""The request as it is applied to a cluster: the scenario's DGDR and what a rehearsal adds."""

from __future__ import annotations

import copy
from typing import Any

from dgdr.parse import parse_document
from harness.run.prepare import Prepared, dgdr_text

Json = dict[str, Any]

# Of requests that name none; the embedded cluster starts processes whatever the name is.
DEFAULT_IMAGE = "ai-dynamo/dynamo-planner:1.2.1"
SPEED_VARIABLE = "MOCKER_SPEED"
# Every component of a deployment that looks at the speed; those that it lacks are left out.
_COMPONENTS = ("Frontend", "worker", "prefill", "decode", "TRTLLMWorker")
_NOTES = "rehearsal.dgdr"


def request_of(prepared: Prepared, namespace: str) -> Json:
    """The request to create.

    Its annotations tell the profiling Job seed, start-up time and router of the scenario, so
    that it searches what the rungs below have searched. A planner that the scenario does not
    use decides, but never acts.

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
    if scenario.kube.speed != 1.0:
        _set_speed(spec, scenario.kube.speed)
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


def _set_speed(spec: Json, speed: float) -> None:
    """Put the variable into the containers by ``overrides.dgd``, which is merged by name."""
    variable = {"name": SPEED_VARIABLE, "value": f"{speed:g}"}
    overrides = spec.setdefault("overrides", {})
    graph = overrides.setdefault("dgd", {})
    graph.setdefault("apiVersion", "nvidia.com/v1beta1")
    graph.setdefault("kind", "DynamoGraphDeployment")
    components = graph.setdefault("spec", {}).setdefault("components", [])
    for name in _COMPONENTS:
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
        main["env"] = [*(main.get("env") or []), variable]
