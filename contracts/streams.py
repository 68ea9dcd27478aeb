"""Named random streams: one root seed, one independent stream for each name.

A stream depends on the root seed and its name only, so adding a consumer never
shifts the numbers that another one sees, and ``PYTHONHASHSEED`` has no influence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


def stable_hash(text: str) -> int:
    """A 64-bit hash of a text that is equal on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class RandomStreams:
    """Hands out independent generators by name, derived from one root seed."""

    root_seed: int

    def stream(self, name: str) -> np.random.Generator:
        """Return a fresh generator for ``name``; the same name restarts the same stream."""
        key = stable_hash(name)
        sequence = np.random.SeedSequence(
            entropy=self.root_seed, spawn_key=(key >> 32, key & 0xFFFFFFFF)
        )
        return np.random.Generator(np.random.PCG64(sequence))
