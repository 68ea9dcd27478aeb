"""Everything that is wrong with a request, found by the operator and its webhook alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from contracts.errors import CombinedInputError, InputError
from dgdr.convert.plain import section
from dgdr.convert.requests import blob_warnings
from dgdr.deployment.overrides import override_warnings
from dgdr.dialect import draft_warnings
from dgdr.load import checked_dgdr
from dgdr.planner_settings import planner_warnings
from dgdr.reconcile.actions import Json
from dgdr.reconcile.hardware import missing_hardware
from dgdr.reconcile.settings import OperatorSettings

_ANY_OF = ("gpuSku", "vramMb", "numGpusPerNode")


def request_problems(request: Json, settings: OperatorSettings) -> list[InputError]:
    """Every finding that needs no look at the cluster; empty for a sound request."""
    problems: list[InputError] = []
    try:
        checked_dgdr(plain_request(request), source="")
    except InputError as error:
        problems += error.errors if isinstance(error, CombinedInputError) else [error]
    hardware = section(request, "spec", "hardware")
    if not settings.discovery and all(hardware.get(key) is None for key in _ANY_OF):
        problems.append(
            InputError(
                "is required, discovery of GPUs is switched off",
                path="spec.hardware",
                value="nothing",
                allowed=f"at least {' and '.join(missing_hardware(hardware))}",
            )
        )
    return problems


def request_warnings(request: Json) -> list[str]:
    """What is accepted, but perhaps not as it was meant."""
    spec = section(request, "spec")
    override = section(spec, "overrides", "dgd")
    return [
        *draft_warnings(request),
        *planner_warnings(section(spec, "features", "planner")),
        *(override_warnings(override) if override else ()),
        *blob_warnings(section(request, "metadata", "annotations"), spec),
    ]


def plain_request(request: Mapping[str, object]) -> Json:
    """The request without what the API server adds."""
    metadata = section(request, "metadata")
    return {
        "apiVersion": request["apiVersion"],
        "kind": request["kind"],
        "metadata": {key: metadata[key] for key in ("name", "namespace") if key in metadata},
        "spec": copy.deepcopy(request.get("spec")),
    }
