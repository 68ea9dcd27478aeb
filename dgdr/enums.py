"""The closed vocabularies of a DGDR, spelled as they appear in the file."""

from __future__ import annotations

from enum import StrEnum

# What a DGDR may name and what is modelled are the same here.
from contracts.engine import Backend as ServingBackend
from contracts.sla import OptimizationType

__all__ = [
    "Backend",
    "ConditionStatus",
    "GpuSku",
    "Interconnect",
    "OptimizationType",
    "Phase",
    "ProfilingPhase",
    "SearchStrategy",
    "ServingBackend",
]


class Backend(StrEnum):
    """Value of ``spec.backend``; ``auto`` leaves the choice to the profiler."""

    AUTO = "auto"
    VLLM = "vllm"
    SGLANG = "sglang"
    TRTLLM = "trtllm"


class SearchStrategy(StrEnum):
    """``rapid`` simulates candidates, ``thorough`` measures them."""

    RAPID = "rapid"
    THOROUGH = "thorough"


class Interconnect(StrEnum):
    """The link between GPUs of one node."""

    NVLINK = "nvlink"
    PCIE = "pcie"


class GpuSku(StrEnum):
    """GPU types that a DGDR may name: the fifteen required ones, then later additions."""

    GB200_SXM = "gb200_sxm"
    B200_SXM = "b200_sxm"
    H200_SXM = "h200_sxm"
    H100_SXM = "h100_sxm"
    H100_PCIE = "h100_pcie"
    A100_SXM = "a100_sxm"
    A100_PCIE = "a100_pcie"
    L40S = "l40s"
    L40 = "l40"
    L4 = "l4"
    V100_SXM = "v100_sxm"
    V100_PCIE = "v100_pcie"
    T4 = "t4"
    MI200 = "mi200"
    MI300 = "mi300"
    A30 = "a30"
    VR_NVL72 = "vr_nvl72"
    GB200 = "gb200"
    GB10 = "gb10"
    B300_SXM = "b300_sxm"


class Phase(StrEnum):
    """Value of ``status.phase``."""

    PENDING = "Pending"
    PROFILING = "Profiling"
    READY = "Ready"
    DEPLOYING = "Deploying"
    DEPLOYED = "Deployed"
    FAILED = "Failed"


class ProfilingPhase(StrEnum):
    """Value of ``status.profilingPhase``."""

    INITIALIZING = "Initializing"
    SWEEPING_PREFILL = "SweepingPrefill"
    SWEEPING_DECODE = "SweepingDecode"
    SELECTING_CONFIG = "SelectingConfig"
    BUILDING_CURVES = "BuildingCurves"
    GENERATING_DGD = "GeneratingDGD"
    DONE = "Done"


class ConditionStatus(StrEnum):
    """Value of ``status.conditions[].status``."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
