"""CEL rules across fields: what the API server refuses before the operator sees it.

They repeat :mod:`dgdr.validation` as far as CEL can; the operator checks everything again.
"""

from __future__ import annotations

from collections.abc import Iterable

from dgdr.deployment.names import NAME_LENGTH_MAX, REQUEST_NAME_LENGTH_MAX
from dgdr.request import DEFAULT_MOUNT_PATH

Rule = dict[str, str]

LOCKED_PHASES = ("Profiling", "Deploying", "Deployed")
MUTABLE_WHEN_READY = ("autoApply", "runtimeVersionOverride")
_TRTLLM_LONGEST = len("TRTLLMWorker")
_LONGEST = len("Frontend")
_ADVICE = "delete and recreate the request to change it"


def rule(expression: str, message: str, **more: str) -> Rule:
    """One entry of ``x-kubernetes-validations``."""
    return {"rule": expression, "message": message, **more}


SPEC_RULES = (
    rule(
        "!has(self.searchStrategy) || self.searchStrategy != 'thorough' || "
        "(has(self.backend) && self.backend != 'auto' && self.backend != 'any')",
        "THOROUGH search strategy does not support 'auto' backend; choose one of "
        "vllm, sglang, trtllm",
        fieldPath=".searchStrategy",
    ),
    rule(
        "!has(self.enableAutoScaling) || !has(self.features) || !has(self.features.planner)",
        "is the draft name of features.planner, which is given too",
        fieldPath=".enableAutoScaling",
    ),
    rule(
        "!has(self.features) || !has(self.features.mocker) || !has(self.features.mocker.enabled)"
        " || !self.features.mocker.enabled || !has(self.features.planner)"
        " || (has(self.features.planner.enabled) && !self.features.planner.enabled)"
        " || !has(self.features.planner.pre_deployment_sweeping_mode)"
        " || self.features.planner.pre_deployment_sweeping_mode != 'none'",
        "the mocker with a planner needs the data of a sweep; choose rapid or thorough",
        fieldPath=".features.planner.pre_deployment_sweeping_mode",
    ),
)

SLA_RULES = (
    rule(
        "!has(self.e2eLatency) || (!has(self.ttft) && !has(self.itl))",
        "SLA must specify either (ttft and itl) or e2eLatency, not both",
        fieldPath=".e2eLatency",
    ),
)

WORKLOAD_RULES = (
    rule(
        "!has(self.requestRate) || !has(self.concurrency)",
        "Only one of 'concurrency' or 'requestRate' can be provided, not both",
        fieldPath=".concurrency",
    ),
)

CACHE_RULES = (
    rule(
        "has(self.pvcName) || (!has(self.pvcModelPath) && !has(self.pvcPath)"
        f" && (!has(self.pvcMountPath) || self.pvcMountPath == '{DEFAULT_MOUNT_PATH}'))",
        "is required with pvcModelPath and pvcMountPath",
        fieldPath=".pvcName",
        reason="FieldValueRequired",
    ),
    rule(
        "!has(self.pvcModelPath) || !self.pvcModelPath.startsWith('/') || !has(self.pvcMountPath)"
        " || self.pvcModelPath == self.pvcMountPath"
        " || self.pvcModelPath.startsWith(self.pvcMountPath + '/')"
        " || (self.pvcMountPath.endsWith('/')"
        " && self.pvcModelPath.startsWith(self.pvcMountPath))",
        "is absolute but not under the mount",
        fieldPath=".pvcModelPath",
    ),
    rule(
        "!has(self.pvcModelPath) || !has(self.pvcPath)",
        "is the draft name of pvcModelPath, which is given too",
        fieldPath=".pvcPath",
    ),
)

PLANNER_RULES = (
    rule(
        "(has(self.enabled) && !self.enabled) || !has(self.optimization_target)"
        " || self.optimization_target != 'sla' || !has(self.enable_throughput_scaling)"
        " || self.enable_throughput_scaling"
        " || (has(self.enable_load_scaling) && self.enable_load_scaling)",
        "throughput scaling and load scaling are both off",
        fieldPath=".enable_load_scaling",
    ),
)

OVERRIDE_RULES = (
    rule(
        "has(self.apiVersion) == has(self.kind)",
        "apiVersion and kind must be given together or not at all",
    ),
    rule("!has(self.status)", "cannot be overridden", fieldPath=".status"),
)


def request_rules(spec_fields: Iterable[str]) -> list[Rule]:
    """Rules at the root of a DGDR: immutable phases and the length of names."""
    phase = "!has(oldSelf.status) || !has(oldSelf.status.phase) || "
    locked = ", ".join(f"'{name}'" for name in LOCKED_PHASES)
    kept = " && ".join(_same(name) for name in spec_fields if name not in MUTABLE_WHEN_READY)
    naming = {
        "messageExpression": "'spec cannot be changed in phase ' + oldSelf.status.phase + "
        f"'; {_ADVICE}'",
        "reason": "FieldValueForbidden",
        "fieldPath": ".spec",
    }
    return [
        rule(
            f"{phase}!(oldSelf.status.phase in [{locked}]) || self.spec == oldSelf.spec",
            f"spec cannot be changed in phases {', '.join(LOCKED_PHASES)}; {_ADVICE}",
            **naming,
        ),
        rule(
            f"{phase}oldSelf.status.phase != 'Ready' || ({kept})",
            f"in phase Ready only {' and '.join(MUTABLE_WHEN_READY)} can be changed; {_ADVICE}",
            **naming,
        ),
        _name_length(),
        rule(
            f"size(self.metadata.name) <= {REQUEST_NAME_LENGTH_MAX}",
            "metadata.name: is too long for the name of its profiling Job, it may have at most "
            f"{REQUEST_NAME_LENGTH_MAX} characters",
        ),
    ]


def _same(name: str) -> str:
    old, new = f"oldSelf.spec.{name}", f"self.spec.{name}"
    return f"has({old}) == has({new}) && (!has({new}) || {old} == {new})"


def _name_length() -> Rule:
    """The longest name of a component that a backend can lead to, beside the deployment's.

    With ``auto`` any backend may be picked.
    """
    named = "self.spec.overrides.dgd.metadata.name"
    parts = named.split(".")
    given = " && ".join(f"has({'.'.join(parts[: n + 1])})" for n in range(2, len(parts)))
    mocker = (
        "has(self.spec.features) && has(self.spec.features.mocker)"
        " && has(self.spec.features.mocker.enabled) && self.spec.features.mocker.enabled"
    )
    length = f"({given} ? size({named}) : size(self.metadata.name) + {len('-dgd')})"
    component = (
        "((!has(self.spec.backend) || self.spec.backend in ['trtllm', 'auto', 'any'])"
        f" && !({mocker})"
        f" ? {_TRTLLM_LONGEST} : {_LONGEST})"
    )
    return rule(
        f"{length} + {component} <= {NAME_LENGTH_MAX}",
        "metadata.name: the names of the deployment (this name and -dgd) and of its longest "
        f"component (TRTLLMWorker, else Frontend) have at most {NAME_LENGTH_MAX} characters "
        "together",
    )


GRAPH_RULES = (
    rule(
        "self.spec.components.all(c, size(self.metadata.name) + size(c.name) <= "
        f"{NAME_LENGTH_MAX})",
        f"the name and each component's name have at most {NAME_LENGTH_MAX} characters together",
    ),
)
GRAPH_SPEC_RULES = (
    rule(
        "self.components.filter(c, has(c.type) && c.type == 'epp').size() <= 1",
        "at most one component of type epp",
        fieldPath=".components",
    ),
)
