"""From a DGDR to a search, and from its result to files."""

from profiler.dgdr.rapid import ProfileResult, run_rapid

__all__ = ["ProfileResult", "run_rapid"]
