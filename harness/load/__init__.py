"""Open-loop load generation against an OpenAI-compatible server."""

from harness.clock import Clock, WallClock
from harness.load.generator import LoadTarget, run_load
from harness.load.result import LoadProgress, LoadResult

__all__ = ["Clock", "LoadProgress", "LoadResult", "LoadTarget", "WallClock", "run_load"]
