"""Drafts of a status: phases and conditions with stable transition times."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from dgdr.enums import Phase
from dgdr.reconcile.actions import Json, Now, Patch, Ref, merge_change

VALIDATION, PROFILING = "Validation", "Profiling"
SPEC_GENERATED, DEPLOYMENT_READY, SUCCEEDED = "SpecGenerated", "DeploymentReady", "Succeeded"
_PREFIXES = {
    VALIDATION: "Validation failed: ",
    PROFILING: "Profiling failed: ",
    SPEC_GENERATED: "Spec generation failed: ",
    DEPLOYMENT_READY: "Deployment failed: ",
}
_MESSAGE_LENGTH_MAX = 2000
# Of a column of kubectl get; the condition that failed has the whole text.
_SUMMARY_LENGTH_MAX = 320


class StatusDraft:
    """The status of an object while it is being changed."""

    def __init__(self, data: Mapping[str, Any], now: Now) -> None:
        self._data = data
        self._now = now
        self._old: Json = dict(data.get("status") or {})
        self.status: Json = copy.deepcopy(self._old)
        self.generation = int(data["metadata"].get("generation", 0))

    @property
    def phase(self) -> str:
        """The phase so far, empty before the first one."""
        return str(self.status.get("phase", ""))

    def reason(self, kind: str) -> str | None:
        """Reason of a condition, None without the condition."""
        found = self._condition(kind)
        return None if found is None else str(found.get("reason", ""))

    def put(self, key: str, value: object) -> None:
        """Set a field; None removes it."""
        if value is None:
            self.status.pop(key, None)
        else:
            self.status[key] = value

    def condition(self, kind: str, *, holds: bool, reason: str, message: str = "") -> None:
        """Set a condition; its transition time changes only with its truth."""
        truth = "True" if holds else "False"
        entry = self._condition(kind)
        if entry is None:
            entry = {"type": kind, "lastTransitionTime": self._now.text}
            self.status.setdefault("conditions", []).append(entry)
        elif entry.get("status") != truth:
            entry["lastTransitionTime"] = self._now.text
        entry |= {
            "status": truth,
            "reason": reason,
            "message": message[:_MESSAGE_LENGTH_MAX],
            "observedGeneration": self.generation,
        }

    def drop_conditions(self) -> None:
        """Forget all conditions, for a new start."""
        self.status.pop("conditions", None)

    def enter(self, phase: Phase, message: str = "") -> None:
        """Set the phase and what it means for the Succeeded condition."""
        self.put("phase", phase.value)
        if phase is Phase.FAILED:
            self._summarise_failure()
            return
        reasons = {Phase.READY: "SpecGenerated"}
        self.condition(
            SUCCEEDED,
            holds=phase in (Phase.READY, Phase.DEPLOYED),
            reason=reasons.get(phase, phase.value),
            message=message,
        )

    def progress(self, message: str) -> None:
        """What goes on in the present phase, for the Succeeded condition."""
        self.condition(SUCCEEDED, holds=False, reason=self.phase, message=message)

    def fail(self, kind: str, reason: str, message: str) -> None:
        """Enter Failed because one condition does not hold."""
        self.condition(kind, holds=False, reason=reason, message=message)
        self.enter(Phase.FAILED)

    def patch(self) -> tuple[Patch, ...]:
        """The change of the status, nothing when there is none."""
        change = merge_change(self._old, self.status)
        if not change:
            return ()
        return (
            Patch(
                ref=Ref.of(self._data),
                change={"status": change},
                resource_version=str(self._data["metadata"]["resourceVersion"]),
                status=True,
            ),
        )

    def _summarise_failure(self) -> None:
        for kind, prefix in _PREFIXES.items():
            found = self._condition(kind)
            if found is not None and found.get("status") == "False":
                told = prefix + str(found.get("message", "")).removeprefix(prefix.lower())
                if len(told) > _SUMMARY_LENGTH_MAX:
                    told = f"{told[:_SUMMARY_LENGTH_MAX]}... (all of it: condition {kind})"
                self.condition(SUCCEEDED, holds=False, reason=str(found["reason"]), message=told)
                return
        self.condition(SUCCEEDED, holds=False, reason=Phase.FAILED.value)

    def _condition(self, kind: str) -> Json | None:
        conditions = self.status.get("conditions") or []
        return next((entry for entry in conditions if entry.get("type") == kind), None)
