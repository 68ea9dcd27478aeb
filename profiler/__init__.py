"""Finds the deployment for a DGDR: search, Pareto set, pick, curves, DGD."""

from profiler.core.request import WhenInfeasible
from profiler.dgdr import ProfileResult, run_rapid
from profiler.dgdr.candidates_file import plan_from_candidates
from profiler.dgdr.draw import draw_missing
from profiler.dgdr.gpu_file import load_gpu
from profiler.dgdr.prices import load_prices
from profiler.dgdr.rapid import RapidOptions, check_request
from profiler.dgdr.step_times import load_step_times
from profiler.dgdr.trace import FORMATS as TRACE_FORMATS
from profiler.dgdr.trace import load_trace

__all__ = [
    "TRACE_FORMATS",
    "ProfileResult",
    "RapidOptions",
    "WhenInfeasible",
    "check_request",
    "draw_missing",
    "load_gpu",
    "load_prices",
    "load_step_times",
    "load_trace",
    "plan_from_candidates",
    "run_rapid",
]
