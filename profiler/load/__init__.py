"""Load generation against an OpenAI-compatible server: on schedule, or so many in flight."""

from profiler.load import aiperf
from profiler.load.clock import Clock, WallClock
from profiler.load.generator import ClosedLoop, LoadTarget, run_closed_loop, run_load
from profiler.load.result import LoadProgress, LoadResult

__all__ = [
    "Clock",
    "ClosedLoop",
    "LoadProgress",
    "LoadResult",
    "LoadTarget",
    "WallClock",
    "aiperf",
    "run_closed_loop",
    "run_load",
]
