"""Finds the deployment for a DGDR: search, Pareto set, pick, curves, DGD."""

from profiler.dgdr import ProfileResult, run_rapid
from profiler.dgdr.gpu_file import load_gpu
from profiler.dgdr.rapid import RapidOptions
from profiler.dgdr.step_times import load_step_times

__all__ = ["ProfileResult", "RapidOptions", "load_gpu", "load_step_times", "run_rapid"]
