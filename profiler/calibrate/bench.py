"""The port behind which an accelerator is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from profiler.calibrate.points import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a device says about itself.

    Attributes:
        name: marketing name, for example ``NVIDIA H200``.
        memory_gib: memory of one GPU.
        gpus: GPUs in this machine.
        fp8: 8-bit floating point GEMMs work.
        half_type: 16-bit type that was measured, ``bf16`` or ``fp16``.
        runtime: library and driver versions.
    """

    name: str
    memory_gib: float
    gpus: int
    fp8: bool
    half_type: str
    runtime: str


class Bench(Protocol):
    """Runs operators and times them."""

    @property
    def facts(self) -> DeviceFacts:
        """The device."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be measured as intended, for the file."""
        ...

    def seconds(self, point: Point) -> float:
        """Time of one call, median of several.

        Raises:
            UnsupportedError: the device cannot run this point, for example for want of memory.
        """
        ...
