"""The token loop: the same engine semantics, one step, one request, one block at a time.

Slow and simple on purpose. Everything is counted from scratch in every step and shares no
arithmetic with the event-skipping engine, so agreement to the nanosecond is evidence that
the skipping is exact.
"""

from simcore.engine.oracle.engine import TokenLoopEngine

__all__ = ["TokenLoopEngine"]
