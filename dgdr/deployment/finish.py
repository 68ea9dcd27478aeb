"""What holds for every deployment whatever an override says."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.errors import InputError, RehearsalError
from contracts.plan import Role
from contracts.settings import EngineSettings
from dgdr.convert.plain import section
from dgdr.deployment.arguments import add_option, backend_of, has_option, module_of
from dgdr.deployment.component import GPU_RESOURCE, components_of, main_container
from dgdr.enums import ServingBackend
from dgdr.request import Dgdr
from dgdr.worker_args import read_mocker, read_worker_args

_TRUST = "--trust-remote-code"
_TRUSTING = (ServingBackend.VLLM, ServingBackend.SGLANG)
_ROLE = "--disaggregation-mode"
_ROLE_FLAGS = (_ROLE, "--is-prefill-worker", "--is-decode-worker")
_WORKERS = (*(backend.value for backend in ServingBackend), "mocker")


def add_tolerations(graph: Mapping[str, Any], tolerations: Sequence[object]) -> None:
    """Tolerations of the profiling Job on every component, none of them twice."""
    for component in components_of(graph):
        pod = component.setdefault("podTemplate", {}).setdefault("spec", {})
        there = list(pod.get("tolerations") or [])
        there += [copy.deepcopy(each) for each in tolerations if each not in there]
        if there:
            pod["tolerations"] = there


def add_trust(graph: Mapping[str, Any]) -> None:
    """``--trust-remote-code`` on vLLM and SGLang workers; a worker that has it stays as it is."""
    for component in components_of(graph):
        main = main_container(component)
        if backend_of(main) in _TRUSTING and not has_option(main, _TRUST):
            add_option(main, _TRUST)


def add_roles(graph: Mapping[str, Any], roles: Mapping[str, Role]) -> list[str]:
    """The role on disaggregated workers whose arguments were replaced without it.

    Args:
        graph: complete, ``nvidia.com/v1beta1``; changed in place.
        roles: role by name of the component.

    Returns:
        One warning for each component that was mended.
    """
    warnings = []
    for component in components_of(graph):
        role, main = roles.get(component["name"], Role.AGG), main_container(component)
        if role is Role.AGG or module_of(main) not in _WORKERS or has_option(main, *_ROLE_FLAGS):
            continue
        add_option(main, _ROLE, role.value)
        warnings.append(
            f"component {component['name']}: its arguments lack {_ROLE}, without which it is no "
            f"{role.value} worker; added"
        )
    return warnings


def argument_warnings(graph: Mapping[str, Any]) -> list[str]:
    """What an override did to command lines: other GPUs than the pods take, unknown options.

    Workers that start in a shell are not looked at.
    """
    warnings = []
    for component in components_of(graph):
        main = main_container(component)
        args = main.get("args") or []
        if module_of(main) not in _WORKERS or any(" dynamo." in f" {word}" for word in args):
            continue
        try:
            found = _settings(main)
        except RehearsalError as error:
            warnings.append(f"component {component['name']} cannot be rehearsed: {error}")
            continue
        if found is None:
            continue
        nodes = section(component, "multinode").get("nodeCount", 1)
        taken = section(main, "resources", "limits").get(GPU_RESOURCE, 0)
        wanted = found.tp * found.pp * found.dp
        if str(taken).isdecimal() and int(taken) * nodes != wanted:
            warnings.append(
                f"component {component['name']}: its arguments make an engine of {wanted} GPUs, "
                f"its pods take {int(taken) * nodes}"
            )
    return warnings


def _settings(main: Mapping[str, Any]) -> EngineSettings | None:
    """The engine of a command line that takes GPUs; a mocker's is only read."""
    backend, args = backend_of(main), main.get("args") or []
    if backend is not None:
        return read_worker_args(backend, args)
    read_mocker(args)
    return None


def trusts_remote_code(dgdr: Dgdr, model_config: Mapping[str, object] | None) -> bool:
    """Whether workers may run code that comes with the model.

    A local directory with ``auto_map`` is the user's own; code from a hub needs consent. A
    configuration that is not at hand says nothing.

    Args:
        dgdr: the request, with the user's consent and the place of the weights.
        model_config: content of the model's ``config.json``, if it was read.

    Raises:
        InputError: the model of a hub brings code and nobody consented.
    """
    if dgdr.spec.overrides.trust_remote_code:
        return True
    if not (model_config or {}).get("auto_map"):
        return False
    if dgdr.spec.model_cache.model_path is not None or dgdr.spec.model.startswith("/"):
        return True
    raise InputError(
        f"{dgdr.spec.model} brings code of its own (auto_map in its config.json), which needs "
        "consent",
        path="spec.overrides.trustRemoteCode",
        value="false",
        allowed="true, or weights in a local directory",
    )
