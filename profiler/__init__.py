"""Finds the deployment for a DGDR: search, Pareto set, pick, curves, DGD."""

from profiler.dgdr import ProfileResult, run_rapid
from profiler.dgdr.gpu_file import load_gpu
from profiler.dgdr.rapid import RapidOptions

__all__ = ["ProfileResult", "RapidOptions", "load_gpu", "run_rapid"]
