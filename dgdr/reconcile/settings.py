"""What an installation of the operator decides, not a request."""

from __future__ import annotations

from dataclasses import dataclass

GPU_CAP = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Settings that reach the decisions.

    Attributes:
        default_image: ``spec.image`` of requests that give none; None leaves it empty.
        profiler_image: image of the profiler container in place of ``spec.image``, from
            which runtime images derive all the same; None uses ``spec.image``.
        profiler_module: Python module that profiles.
        copier_image: image of the output-copier container; None uses the profiler's.
        discovery: whether GPUs may be looked up in the cluster.
        setup_access: create service accounts and role bindings of Jobs and planners where
            they are needed; otherwise they are part of the installation.
        rapid_deadline_s: most seconds a simulated profiling may take.
        thorough_deadline_s: most seconds a measured profiling may take.
        output_wait_s: how long the output of a complete Job may lag behind.
        resync_s: seconds after which unfinished requests are looked at again.
    """

    default_image: str | None = None
    profiler_image: str | None = None
    profiler_module: str = "profiler"
    copier_image: str | None = None
    discovery: bool = True
    setup_access: bool = True
    rapid_deadline_s: int = 3600
    thorough_deadline_s: int = 8 * 3600
    output_wait_s: float = 120.0
    resync_s: float = 60.0
