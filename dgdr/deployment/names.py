"""Names of deployments and components, and how long they may be."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.errors import InputError
from contracts.plan import Role
from dgdr.enums import Backend, ServingBackend

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
# Names of vLLM workers in nvidia.com/v1alpha1; the other backends have one name in both.
_VLLM_LEGACY_NAMES = {
    Role.AGG: "VllmWorker",
    Role.PREFILL: "VllmPrefillWorker",
    Role.DECODE: "VllmDecodeWorker",
}
_RETIRED_NAMES = {
    "VllmWorker": ("worker",),
    "VllmDecodeWorker": ("worker", "decode"),
    "SGLangDecodeWorker": ("worker", "decode"),
    "TRTLLMDecodeWorker": ("decode",),
}
_RETIRED_PREFILL = "PrefillWorker"


def worker_name(backend: ServingBackend, role: Role, *, mocker: bool) -> str:
    """Component name of a worker pool in ``nvidia.com/v1beta1``."""
    if role is not Role.AGG:
        return role.value
    return _MOCKER_AGG_NAME if mocker else _AGG_NAMES[backend]


def legacy_worker_name(backend: ServingBackend, role: Role, *, mocker: bool) -> str:
    """Service name of a worker pool in ``nvidia.com/v1alpha1``."""
    if backend is ServingBackend.VLLM and not mocker:
        return _VLLM_LEGACY_NAMES[role]
    return worker_name(backend, role, mocker=mocker)


def present_names(retired: str) -> tuple[str, ...]:
    """What a component is called now that had this name once; empty for every other name."""
    if retired.endswith(_RETIRED_PREFILL):
        return (Role.PREFILL.value,)
    return _RETIRED_NAMES.get(retired, ())


def worker_type(role: Role, *, planner_scaled: bool) -> str:
    """Component type of a worker pool; a planner addresses an aggregated pool as decode."""
    if role is not Role.AGG:
        return role.value
    return Role.DECODE.value if planner_scaled else "worker"


def possible_components(backend: Backend, *, mocker: bool, planner: bool) -> tuple[str, ...]:
    """Names of all components that a request can lead to, before the topology is known.

    With ``auto`` any backend may be picked.
    """
    backends = list(ServingBackend) if backend is Backend.AUTO else [ServingBackend(backend.value)]
    workers = [worker_name(each, role, mocker=mocker) for each in backends for role in Role]
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
