"""Latency targets against which closed-form estimates are held."""

from __future__ import annotations

from typing import NamedTuple

from contracts.sla import SlaTarget
from profiler.core.replica import Point

# A target that even an idle replica misses is widened to so many times its idle latency, so
# that the candidate can be sized and compared at all.
_IDLE_ROOM = 1.3
# An idle replica that needs more than this share of a target misses it under any load.
_BARELY = 0.99


class Miss(NamedTuple):
    """By what factor a target or the budget is missed, and in words."""

    factor: float
    reason: str


class Targets(NamedTuple):
    """Targets in ms; with ``e2e_ms`` the others do not count."""

    ttft_ms: float
    itl_ms: float
    e2e_ms: float | None
    steps: int

    def late(self, point: Point) -> bool:
        """The 90th percentile misses a target."""
        return self._missed(point.ttft_p90_ms, point.itl_p90_ms)

    def late_on_average(self, point: Point) -> bool:
        """The mean misses a target."""
        return self._missed(point.ttft_ms, point.itl_ms)

    def _missed(self, ttft_ms: float, itl_ms: float) -> bool:
        if self.e2e_ms is not None:
            return ttft_ms + self.steps * itl_ms > self.e2e_ms
        return ttft_ms > self.ttft_ms or itl_ms > self.itl_ms

    def missed_idle(self, idle: Point) -> Miss:
        """What an idle replica misses most; nothing when it meets the targets."""
        if self.widened(idle) == self:
            return Miss(0.0, "")
        ttft_ms, itl_ms = idle.ttft_p90_ms, idle.itl_p90_ms
        if self.e2e_ms is not None:
            e2e_ms = ttft_ms + self.steps * itl_ms
            text = f"E2E: {e2e_ms:.0f} ms when idle, target {self.e2e_ms:g} ms"
            return Miss(e2e_ms / self.e2e_ms, text)
        late, slow = ttft_ms / self.ttft_ms, itl_ms / self.itl_ms
        if late >= slow:
            return Miss(late, f"TTFT: {ttft_ms:.0f} ms when idle, target {self.ttft_ms:g} ms")
        return Miss(slow, f"ITL: {itl_ms:.1f} ms when idle, target {self.itl_ms:g} ms")

    def widened(self, idle: Point) -> Targets:
        """The targets that an idle replica meets, and room above its latency for the others."""
        if self.e2e_ms is not None:
            idle_ms = idle.ttft_p90_ms + self.steps * idle.itl_p90_ms
            return self._replace(e2e_ms=_room(self.e2e_ms, idle_ms))
        return self._replace(
            ttft_ms=_room(self.ttft_ms, idle.ttft_p90_ms),
            itl_ms=_room(self.itl_ms, idle.itl_p90_ms),
        )

    def splits(self, idle: Point) -> list[Targets]:
        """Pairs of TTFT and ITL that keep to the targets; with E2E there are many.

        One of them gives both sides the same room above their idle latencies.
        """
        whole_ms = self.e2e_ms
        if whole_ms is None:
            return [self]
        idle_ms = idle.ttft_p90_ms + self.steps * idle.itl_p90_ms
        fixed = {float(ttft_ms) for ttft_ms in _TTFT_MS if ttft_ms < whole_ms}
        shares = {share * whole_ms for share in _SHARES}
        low, high = _TTFT_MS[0], _TTFT_MS[-1]
        chosen = fixed | {ttft_ms for ttft_ms in shares if not low <= ttft_ms <= high}
        chosen |= {0.95 * whole_ms, whole_ms * idle.ttft_p90_ms / idle_ms}
        return [
            Targets(ttft_ms, (whole_ms - ttft_ms) / max(1, self.steps), None, self.steps)
            for ttft_ms in sorted(chosen)
        ]


def _room(target_ms: float, idle_ms: float) -> float:
    return target_ms if idle_ms <= _BARELY * target_ms else _IDLE_ROOM * idle_ms


_TTFT_MS = (300, 400, 500, 600, 800, 1000, 1200, 1400, 1600, 2000, 3000, 5000, 8000)
_SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)


def targets_of(sla: SlaTarget, osl: int) -> Targets:
    """The targets of a request with so many output tokens."""
    return Targets(sla.ttft_ms, sla.itl_ms, sla.e2e_ms, osl - 1)
