"""Measures the GPU of this machine and writes its facts as a SKU of one's own."""

from profiler.calibrate.command import CalibrateOptions, CalibrateResult, calibrate

__all__ = ["CalibrateOptions", "CalibrateResult", "calibrate"]
