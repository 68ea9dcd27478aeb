"""Load generation for scenarios: the client that the profiler measures with, and AIPerf."""

from profiler.load import Clock, LoadProgress, LoadResult, LoadTarget, WallClock, aiperf, run_load
from profiler.load.aiperf import AiperfRow
from profiler.load.result import LoadRecorder

__all__ = [
    "AiperfRow",
    "Clock",
    "LoadProgress",
    "LoadRecorder",
    "LoadResult",
    "LoadTarget",
    "WallClock",
    "aiperf",
    "run_load",
]
