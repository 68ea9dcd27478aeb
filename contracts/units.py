"""Every conversion between time, memory and rate units lives here and nowhere else.

Inside the simulator time is an integer number of nanoseconds. The engine keeps a
finer integer clock in femtoseconds, because the cost of one more context token in
a decode step is tens of picoseconds and must not be rounded away (see
docs/decisions/0002-femtosecond-engine-clock.md). SLAs and reports use float
milliseconds, planner intervals use float seconds.
"""

from __future__ import annotations

FS_PER_NS = 1_000_000
NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
FS_PER_S = FS_PER_NS * NS_PER_S
BYTES_PER_GIB = 1 << 30
BYTES_PER_MIB = 1 << 20


def s_to_ns(value_s: float) -> int:
    """Seconds to the nearest whole nanosecond."""
    return round(value_s * NS_PER_S)


def ns_to_s(value_ns: int) -> float:
    """Nanoseconds to seconds."""
    return value_ns / NS_PER_S


def ns_to_fs(value_ns: int) -> int:
    """Nanoseconds to femtoseconds, exact."""
    return value_ns * FS_PER_NS


def fs_to_ns_ceil(value_fs: int) -> int:
    """The first whole nanosecond at or after a femtosecond instant.

    Something that happens within a nanosecond becomes visible at the end of it,
    so that no event is ever seen before it happened.
    """
    return -(-value_fs // FS_PER_NS)


def s_to_fs(value_s: float) -> int:
    """Seconds to the nearest whole femtosecond (durations of engine steps)."""
    return round(value_s * FS_PER_S)
