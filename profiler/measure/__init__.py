"""Answers the search's questions with the simulator."""

from profiler.measure.curves import decode_curves, prefill_curves
from profiler.measure.engines import EngineFactory
from profiler.measure.estimate import SimcoreEstimator
from profiler.measure.simulate import SimcoreSimulator

__all__ = [
    "EngineFactory",
    "SimcoreEstimator",
    "SimcoreSimulator",
    "decode_curves",
    "prefill_curves",
]
