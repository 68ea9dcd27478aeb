"""Faults of a scenario, injected through the admin API of a running server."""

from harness.faults.http import inject_faults

__all__ = ["inject_faults"]
