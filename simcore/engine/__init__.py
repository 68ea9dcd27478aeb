"""One engine replica: a state machine advanced by exact event-skipping."""

from simcore.engine.core import Engine
from simcore.engine.events import EngineEvent, EventKind, StepReport, Submission, TokenProgress
from simcore.engine.gaps import GapBucket, GapHistogram
from simcore.engine.oracle import TokenLoopEngine

__all__ = [
    "Engine",
    "EngineEvent",
    "EventKind",
    "GapBucket",
    "GapHistogram",
    "StepReport",
    "Submission",
    "TokenLoopEngine",
    "TokenProgress",
]
