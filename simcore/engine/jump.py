"""A run of decode-only steps as one jump with a closed form."""

from __future__ import annotations

from math import isqrt


class DecodeJump:
    """``steps`` decode-only steps.

    The first lasts ``first_fs``, each further one ``growth_fs`` longer.

    Attributes:
        last_fs: instant at which the last step ends.
    """

    __slots__ = ("first_fs", "growth_fs", "last_fs", "start_fs", "steps")

    def __init__(self, start_fs: int, first_fs: int, growth_fs: int, steps: int) -> None:
        self.start_fs = start_fs
        self.first_fs = first_fs
        self.growth_fs = growth_fs
        self.steps = steps
        self.last_fs = self.end_fs(steps)

    def truncate(self, at_fs: int) -> None:
        """Keep the steps that have started before ``at_fs``."""
        self.steps = self.steps_started_before(at_fs)
        self.last_fs = self.end_fs(self.steps)

    def cut(self, steps: int) -> None:
        """Keep so many steps."""
        self.steps = steps
        self.last_fs = self.end_fs(steps)

    def end_fs(self, steps: int) -> int:
        """Instant at which ``steps`` steps have ended (arithmetic series)."""
        growth = self.growth_fs * (steps * (steps - 1) // 2)
        return self.start_fs + steps * self.first_fs + growth

    def steps_started_before(self, at_fs: int) -> int:
        """Fewest steps that end at or after ``at_fs``, at most ``steps``."""
        room_fs = at_fs - self.start_fs
        if room_fs <= 0:
            return 0
        if self.growth_fs == 0:
            guess = -(-room_fs // self.first_fs)
        else:
            linear = 2 * self.first_fs - self.growth_fs
            root = isqrt(linear * linear + 8 * self.growth_fs * room_fs)
            guess = max(1, (root - linear) // (2 * self.growth_fs))
        guess = min(guess, self.steps)
        while guess > 1 and self.end_fs(guess - 1) >= at_fs:
            guess -= 1
        while guess < self.steps and self.end_fs(guess) < at_fs:
            guess += 1
        return guess

    def steps_ended_by(self, at_fs: int) -> int:
        """Most steps that have ended at ``at_fs``."""
        steps = self.steps_started_before(at_fs)
        return steps if self.end_fs(steps) <= at_fs else max(0, steps - 1)
