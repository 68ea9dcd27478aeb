"""Names of deployments and components, and how long they may be."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.errors import InputError
from contracts.plan import Role
from dgdr.enums import ServingBackend

NAME_LENGTH_MAX = 45
# The profiling Job is called profile-<request>; its pods carry that name in a label.
REQUEST_NAME_LENGTH_MAX = 63 - len("profile-")
FRONTEND = "Frontend"
PLANNER = "Planner"

_AGG_NAMES = {
    ServingBackend.VLLM: "worker",
    ServingBackend.SGLANG: "decode",
    ServingBackend.TRTLLM: "TRTLLMWorker",
}
_MOCKER_AGG_NAME = "decode"


def worker_name(backend: ServingBackend, role: Role, *, mocker: bool) -> str:
    """Component name of a worker pool in ``nvidia.com/v1beta1``."""
    if role is not Role.AGG:
        return role.value
    return _MOCKER_AGG_NAME if mocker else _AGG_NAMES[backend]


def worker_type(role: Role, *, planner_scaled: bool) -> str:
    """Component type of a worker pool; a planner addresses an aggregated pool as decode."""
    if role is not Role.AGG:
        return role.value
    return Role.DECODE.value if planner_scaled else "worker"


def possible_components(backend: ServingBackend, *, mocker: bool, planner: bool) -> tuple[str, ...]:
    """Names of all components that a request can lead to, before the topology is known."""
    workers = [worker_name(backend, role, mocker=mocker) for role in Role]
    names = [FRONTEND, *workers, *([PLANNER] if planner else [])]
    return tuple(dict.fromkeys(names))


def name_length_problems(
    dgd_name: str, components: Iterable[str], *, source: str | None, path: str
) -> list[InputError]:
    """One error for each component whose pods would get too long a name.

    The name of the deployment and the name of a component have at most 45 characters
    together (``len(DGD name) + len(component)``).
    """
    return [
        InputError(
            f"deployment name {dgd_name!r} is too long with component {component!r}",
            source=source,
            path=path,
            value=f"{len(dgd_name)} + {len(component)} characters",
            allowed=f"at most {NAME_LENGTH_MAX} together",
        )
        for component in components
        if len(dgd_name) + len(component) > NAME_LENGTH_MAX
    ]


def volume_name(claim: str) -> str:
    """A volume named after its claim, within what Kubernetes accepts for volumes."""
    return claim.replace(".", "-")[:63].rstrip("-")
