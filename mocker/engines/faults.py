"""The faults that the admin API takes: those of the simulator and those of the HTTP surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.faults import Fault

_FAULT: TypeAdapter[Fault] = TypeAdapter(Annotated[Fault, Field(discriminator="kind")])


class FaultRequest(BaseModel):
    """``POST /admin/faults``: a fault as in a scenario, without its time."""

    model_config = ConfigDict(extra="allow")

    kind: str

    def to_fault(self) -> Callable[[float], Fault]:
        """The fault as the simulator knows it, given its time.

        Raises:
            pydantic.ValidationError: the simulator has no such fault.
        """
        given: dict[str, Any] = self.model_dump()
        checked = _FAULT.validate_python({**given, "at_s": 0.0})
        known = {each.name for each in fields(checked)}
        unknown = sorted(given.keys() - known)
        if unknown:
            raise ValueError(f"{self.kind} has no {', '.join(unknown)}")

        def at(at_s: float) -> Fault:
            return _FAULT.validate_python({**given, "at_s": at_s})

        return at
