"""Runs a scenario: profile, deploy on each rung, drive traffic, judge."""

from harness.run.execute import Execution, execute
from harness.run.prepare import Prepared, prepare

__all__ = ["Execution", "Prepared", "execute", "prepare"]
