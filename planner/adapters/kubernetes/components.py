"""Which component of a DynamoGraphDeployment is which pool of the planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.errors import PermanentError
from contracts.plan import Role

_GENERIC = (None, "", "worker")
_UNSETTLED = ("Pending", "InProgress")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledComponent:
    """A component whose replicas the planner sets.

    Attributes:
        index: its place in ``spec.components``.
        replicas: as the deployment says; an adapter, where there is one, overrules it.
        nodes: pods of one replica.
    """

    role: Role
    name: str
    index: int
    replicas: int
    nodes: int


def scaled_components(
    graph: Mapping[str, Any], roles: Sequence[Role]
) -> dict[Role, ScaledComponent]:
    """The component of each role, by its type.

    A single generic worker counts as decode, and decode alone is an aggregated pool.

    Raises:
        PermanentError: a role has no component, or more than one.
    """
    components = list(enumerate(graph["spec"].get("components") or []))
    found: dict[Role, ScaledComponent] = {}
    for role in roles:
        wanted = Role.PREFILL.value if role is Role.PREFILL else Role.DECODE.value
        fitting = [pair for pair in components if pair[1].get("type") == wanted]
        if not fitting and role is not Role.PREFILL:
            fitting = [pair for pair in components if pair[1].get("type") in _GENERIC]
        if len(fitting) != 1:
            names = ", ".join(component["name"] for _, component in fitting) or "none"
            raise PermanentError(
                f"{graph['metadata']['name']} needs one component of type {wanted}, has {names}"
            )
        index, component = fitting[0]
        replicas = component.get("replicas")
        found[role] = ScaledComponent(
            role=role,
            name=component["name"],
            index=index,
            replicas=1 if replicas is None else int(replicas),
            nodes=int((component.get("multinode") or {"nodeCount": 1}).get("nodeCount", 2)),
        )
    return found


def unsettled(graph: Mapping[str, Any]) -> str | None:
    """Why no replica may be taken away now, as far as the deployment itself tells."""
    status = graph.get("status") or {}
    seen, newest = status.get("observedGeneration"), graph["metadata"].get("generation")
    if seen is None or (newest is not None and seen < newest):
        return "the operator has not seen the newest deployment yet"
    phase = (status.get("rollingUpdate") or {}).get("phase")
    if phase in _UNSETTLED:
        return f"a rolling update is {phase}"
    return None
