"""DynamoGraphDeploymentRequest: types, loading with checks, and the deployment it leads to."""

from dgdr.deployment.assemble import build_dgd, build_picked
from dgdr.deployment.finish import trusts_remote_code
from dgdr.deployment.planner import derive_planner_config
from dgdr.documents import dump_documents
from dgdr.enums import (
    Backend,
    GpuSku,
    Interconnect,
    OptimizationType,
    Phase,
    ProfilingPhase,
    SearchStrategy,
    ServingBackend,
)
from dgdr.load import load_dgdr, parse_dgdr
from dgdr.request import API_VERSION, KIND, Dgdr, DgdrSpec

__all__ = [
    "API_VERSION",
    "KIND",
    "Backend",
    "Dgdr",
    "DgdrSpec",
    "GpuSku",
    "Interconnect",
    "OptimizationType",
    "Phase",
    "ProfilingPhase",
    "SearchStrategy",
    "ServingBackend",
    "build_dgd",
    "build_picked",
    "derive_planner_config",
    "dump_documents",
    "load_dgdr",
    "parse_dgdr",
    "trusts_remote_code",
]
