"""Load generation for scenarios: the client that the profiler measures with."""

from profiler.load import Clock, LoadProgress, LoadResult, LoadTarget, WallClock, run_load

__all__ = ["Clock", "LoadProgress", "LoadResult", "LoadTarget", "WallClock", "run_load"]
