"""Caps on the time and the GPU time of a measured search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from profiler.thorough.journal import Journal
from profiler.thorough.ports import Clock

_S_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What a search may cost; ``None`` is no cap.

    Attributes:
        hours: time with a deployment up or coming up.
        gpu_hours: the same, times the GPUs of the deployment.
    """

    hours: float | None = None
    gpu_hours: float | None = None


class Meter:
    """Adds up what deployments cost, over all runs that share a journal."""

    def __init__(self, caps: Caps, journal: Journal, clock: Clock) -> None:
        self._caps = caps
        self._journal = journal
        self._clock = clock
        self._since_s: float | None = None
        self._gpus = 0

    @property
    def spent_s(self) -> float:
        """Seconds so far."""
        return self._journal.spent_s + self._open_s

    @property
    def spent_gpu_s(self) -> float:
        """GPU-seconds so far."""
        return self._journal.spent_gpu_s + self._open_s * self._gpus

    @property
    def exhausted(self) -> str | None:
        """Which cap is reached, in words."""
        hours, gpu_hours = self.spent_s / _S_PER_HOUR, self.spent_gpu_s / _S_PER_HOUR
        if self._caps.hours is not None and hours >= self._caps.hours:
            return f"{hours:.2f} hours used, {self._caps.hours:g} allowed"
        if self._caps.gpu_hours is not None and gpu_hours >= self._caps.gpu_hours:
            return f"{gpu_hours:.2f} GPU-hours used, {self._caps.gpu_hours:g} allowed"
        return None

    @contextmanager
    def counting(self, gpus: int) -> Iterator[None]:
        """Count while the block is active, however it ends."""
        self._since_s, self._gpus = self._clock.now_s(), gpus
        try:
            yield
        finally:
            seconds = self._open_s
            self._since_s, self._gpus = None, 0
            self._journal.record_spent(seconds, seconds * gpus)

    @property
    def _open_s(self) -> float:
        return 0.0 if self._since_s is None else self._clock.now_s() - self._since_s
