"""The faults that the admin API takes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.faults import WorkerCrash
from contracts.plan import Role


class FaultRequest(BaseModel):
    """``POST /admin/faults``."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["worker_crash"]
    role: Role
    worker_index: int = Field(default=0, ge=0)
    restart: bool = True

    def to_fault(self, at_s: float) -> WorkerCrash:
        """The fault as the simulator knows it."""
        return WorkerCrash(
            at_s=at_s, role=self.role, worker_index=self.worker_index, restart=self.restart
        )
