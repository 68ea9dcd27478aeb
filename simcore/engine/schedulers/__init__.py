"""The schedulers of the backends: which requests take part in the next step."""

from __future__ import annotations

from contracts.engine import Scheduling, SglangScheduling, TrtllmScheduling
from simcore.engine.schedulers.base import Scheduler
from simcore.engine.schedulers.sglang import SglangScheduler
from simcore.engine.schedulers.trtllm import TrtllmScheduler
from simcore.engine.schedulers.vllm import VllmScheduler

__all__ = ["Scheduler", "make_scheduler"]


def make_scheduler(settings: Scheduling) -> Scheduler:
    """A scheduler with a state of its own for one attention rank."""
    if isinstance(settings, SglangScheduling):
        return SglangScheduler(settings)
    if isinstance(settings, TrtllmScheduling):
        return TrtllmScheduler(settings)
    return VllmScheduler(settings)
