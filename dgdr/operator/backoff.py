"""Growing pauses between tries."""

from __future__ import annotations

import hashlib

_JITTER_RATIO = 0.2
_STEPS_MAX = 30


def backoff_s(name: str, failures: int, *, base_s: float, cap_s: float) -> float:
    """Seconds before the next try: doubling, capped, spread by up to a fifth.

    The spread depends on name and count only, so that it needs no random numbers and
    different keys still do not move in step.
    """
    plain_s = min(cap_s, base_s * 2.0 ** min(failures - 1, _STEPS_MAX))
    digest = hashlib.blake2b(f"{name}/{failures}".encode(), digest_size=4).digest()
    return plain_s * (1.0 - _JITTER_RATIO * int.from_bytes(digest) / 2**32)
