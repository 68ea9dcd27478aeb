"""Faults outside the cluster: between planner and cluster, and in the traffic itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsGap:
    """The planner cannot read the cluster from ``at_s`` on for ``duration_s`` seconds."""

    at_s: float
    duration_s: float
    kind: Literal["metrics_gap"] = "metrics_gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleMetrics:
    """Counters and loads that the planner reads stand still, while their time goes on."""

    at_s: float
    duration_s: float
    kind: Literal["stale_metrics"] = "stale_metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew:
    """What the planner reads is stamped ``skew_s`` seconds off."""

    at_s: float
    duration_s: float
    skew_s: float
    kind: Literal["clock_skew"] = "clock_skew"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiErrors:
    """What the planner orders is refused."""

    at_s: float
    duration_s: float
    kind: Literal["api_errors"] = "api_errors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficShift:
    """Requests that arrive within the window have other lengths.

    Attributes:
        isl_factor: multiplies prompt tokens; what prompts share is dropped there.
        osl_factor: multiplies output tokens.
    """

    at_s: float
    duration_s: float
    isl_factor: float = 1.0
    osl_factor: float = 1.0
    kind: Literal["traffic_shift"] = "traffic_shift"


ControlFault = MetricsGap | StaleMetrics | ClockSkew | ApiErrors
