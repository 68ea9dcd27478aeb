"""The environment of the operator's processes, read in one place."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import InputError
from dgdr.operator.hardware import METRICS_TEMPLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a pod of the operator finds around itself."""

    namespace: str
    identity: str
    metrics_template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopierEnvironment:
    """What the output-copier container of a profiling Job finds around itself."""

    name: str
    namespace: str
    uid: str
    pod: str | None


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Namespace, identity and address of DCGM exporters; all have defaults."""
    found = os.environ if variables is None else variables
    host = found.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
    return Environment(
        namespace=found.get("POD_NAMESPACE") or "default",
        identity=host,
        metrics_template=found.get("DCGM_METRICS_ENDPOINT_TEMPLATE") or METRICS_TEMPLATE,
    )


def copier_environment(variables: Mapping[str, str] | None = None) -> CopierEnvironment:
    """The request that a profiling Job works for.

    Raises:
        InputError: a variable is missing.
    """
    found = os.environ if variables is None else variables
    names = ("DGDR_NAME", "DGDR_NAMESPACE", "DGDR_UID")
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise InputError("is required", source="environment", path=", ".join(missing))
    name, namespace, uid = (found[key] for key in names)
    return CopierEnvironment(
        name=name, namespace=namespace, uid=uid, pod=found.get("POD_NAME") or None
    )
