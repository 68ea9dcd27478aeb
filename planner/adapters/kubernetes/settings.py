"""What a planner's pod is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import InputError

GRAPH_VARIABLE = "DYN_PARENT_DGD_K8S_NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """The surroundings of a planner's process.

    Attributes:
        graph: the deployment to scale, None outside of one.
        namespace: of the deployment.
        identity: names this process in Events.
        prometheus: base address of a Prometheus server; None scrapes the pods.
        host: address of the planner's own metrics.
        metrics_port: port of the planner's own metrics, None for none.
    """

    graph: str | None
    namespace: str
    identity: str
    prometheus: str | None
    host: str
    metrics_port: int | None


def pod_settings(variables: Mapping[str, str] | None = None) -> PodSettings:
    """Read the environment.

    Raises:
        InputError: a port is none.
    """
    found = os.environ if variables is None else variables
    graph = found.get(GRAPH_VARIABLE) or None
    port = None
    # The operator tells every component of a deployment its port.
    for name in ("PLANNER_PROMETHEUS_PORT", *(("DYN_SYSTEM_PORT",) if graph else ())):
        if port is None and found.get(name):
            port = _port(name, found[name])
    return PodSettings(
        graph=graph,
        namespace=found.get("DYN_PARENT_DGD_K8S_NAMESPACE")
        or found.get("POD_NAMESPACE")
        or "default",
        identity=found.get("POD_NAME") or f"planner-{os.getpid()}",
        prometheus=found.get("PROMETHEUS_ENDPOINT") or None,
        host=found.get("POD_IP") or "0.0.0.0",
        metrics_port=port or None,
    )


def _port(name: str, text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise InputError("is no port", path=f"${name}", value=text, allowed="0 (none) to 65535")
    return int(text)
