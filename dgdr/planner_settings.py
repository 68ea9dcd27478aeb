"""The part of Dynamo's PlannerConfig that is checked when a request is admitted.

Names and defaults follow PlannerConfig of Dynamo 1.2 and 1.6; keys that are not listed
here are passed on as they are, because planners of other versions may know them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contracts.errors import InputError
from dgdr.problems import dotted, field_problems, near_text, render

_Positive = Annotated[float, Field(gt=0)]
PLANNER_PATH = "spec.features.planner"


class PlannerSettings(BaseModel):
    """Settings of the planner; giving any, or an empty section, asks for a planner."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)

    enabled: bool | None = None
    optimization_target: Literal["throughput", "latency", "load", "sla"] | None = None
    pre_deployment_sweeping_mode: Literal["none", "rapid", "thorough"] | None = None
    mode: Literal["disagg", "prefill", "decode", "agg"] | None = None
    backend: Literal["vllm", "sglang", "trtllm", "mocker"] | None = None
    enable_throughput_scaling: bool | None = None
    enable_load_scaling: bool | None = None
    throughput_adjustment_interval_seconds: _Positive | None = None
    load_adjustment_interval_seconds: _Positive | None = None
    ttft_ms: _Positive | None = None
    itl_ms: _Positive | None = None
    max_gpu_budget: Annotated[int, Field(ge=-1)] | None = None
    min_endpoint: Annotated[int, Field(ge=0)] | None = None
    advisory: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_means_absent(cls, data: object) -> object:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


def planner_problems(planner: Mapping[str, Any]) -> Iterator[InputError]:
    """Every wrong value of ``spec.features.planner``, and settings that exclude each other."""
    if not all(isinstance(key, str) for key in planner):
        return  # the types of the request report these keys
    if "enabled" in planner and planner["enabled"] is None:
        yield InputError(
            "has the wrong type",
            path=f"{PLANNER_PATH}.enabled",
            value=render(None),
            allowed="true or false",
        )
    try:
        PlannerSettings.model_validate(dict(planner))
    except ValidationError as error:
        for problem in field_problems(error, PlannerSettings, ""):
            yield InputError(
                problem.message,
                path=dotted([PLANNER_PATH, problem.path]) if problem.path else PLANNER_PATH,
                value=problem.value,
                allowed=problem.allowed,
            )
    if planner.get("enabled") is not False and not _scales(planner):
        yield InputError(
            "throughput scaling and load scaling are both off",
            path=f"{PLANNER_PATH}.enable_load_scaling",
            value="false",
            allowed="at least one of enable_throughput_scaling and enable_load_scaling",
        )


def planner_warnings(planner: Mapping[str, Any]) -> Iterator[str]:
    """Settings that are not known here, but nearly have the name of one that is."""
    known = list(PlannerSettings.model_fields)
    for key in sorted(str(key) for key in planner):
        hint = "" if key in known else near_text(key, known)
        if hint:
            yield f"{PLANNER_PATH}.{key} is not known here and passed on as it is{hint}"


def _scales(planner: Mapping[str, Any]) -> bool:
    """Whether any loop runs; every target but sla switches load scaling on."""
    if planner.get("optimization_target", "throughput") != "sla":
        return True
    throughput = planner.get("enable_throughput_scaling", True)
    return throughput is not False or planner.get("enable_load_scaling") is True
