"""How much the lengths of single requests differ, and what that does to their ITL.

Windows tell mean lengths only. Lengths are drawn request by request, so the means of two
windows that follow each other differ by chance: (m2 - m1)**2 is on average the variance of one
length times (1/n1 + 1/n2), whatever the mean does over longer times.

While a request decodes, every prompt that its worker computes holds it up. A request of o
tokens sees the sum of about o * itl * rate such prompts, so its mean ITL spreads by
sqrt(share * s * (cs2 + f) / (itl * o)) of itself: s is the time of one prompt, share the part of
the worker's time that prompts take, cs2 the squared coefficient of variation of prompts and f
that of their number, which the router evens out (compound Poisson sum, thinned). Short outputs
behind long prompts miss the ITL target long before the mean does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# What the plain tails were fitted at covers coefficients of variation up to three quarters.
_FITTED_CV2 = 0.5625
_FIRST_CV2 = 0.25
_FIRST_WINDOWS, _WINDOWS = 6.0, 60.0
_CV2_MAX = 4.0
_SAMPLE_MAX = 16.0
_COUNTS = 0.5
# Middles of five equally probable parts of the standard normal distribution.
_PARTS = (-1.2816, -0.5244, 0.0, 0.5244, 1.2816)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Squared coefficients of variation of the lengths of single requests."""

    isl: float = _FIRST_CV2
    osl: float = _FIRST_CV2


USUAL = Spread()
"""What is assumed until something was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSeen:
    """What is known of the spread, and the last window.

    Attributes:
        spread: the estimate.
        windows: how many windows are in it.
        requests: of the last window with both lengths.
        isl: its mean prompt tokens.
        osl: its mean output tokens.
    """

    spread: Spread = USUAL
    windows: float = 0.0
    requests: int = 0
    isl: float = 0.0
    osl: float = 0.0

    def with_window(self, requests: int, isl: float | None, osl: float | None) -> SpreadSeen:
        """One window more; one without requests or lengths changes nothing."""
        if requests <= 0 or isl is None or osl is None:
            return self
        found, windows = self.spread, self.windows
        if self.requests:
            windows += 1.0
            gain = 1.0 / min(_WINDOWS, windows + _FIRST_WINDOWS)
            both = 1.0 / self.requests + 1.0 / requests
            found = Spread(
                isl=_moved(found.isl, self.isl, isl, both, gain),
                osl=_moved(found.osl, self.osl, osl, both, gain),
            )
        return SpreadSeen(spread=found, windows=windows, requests=requests, isl=isl, osl=osl)


def _moved(old: float, before: float, now: float, both: float, gain: float) -> float:
    middle = (before + now) / 2.0
    sample = min(_SAMPLE_MAX, ((now - before) / middle) ** 2 / both) if middle > 0.0 else 0.0
    return old + gain * (sample - old)


def itl_noise(
    spread: Spread, *, osl: float, prefill_s: float, prefill_share: float, itl_s: float
) -> tuple[float, ...]:
    """Spread of a request's mean ITL, relative to it, beyond what is usual.

    One value for each fifth of the requests, shortest outputs first; empty when lengths spread
    as they usually do.

    Args:
        spread: of the lengths.
        osl: mean output tokens.
        prefill_s: time of a mean prompt.
        prefill_share: part of a worker's time that prompts take (0-1).
        itl_s: ITL that is asked for.
    """
    if max(spread.isl, spread.osl) <= _FITTED_CV2:
        return ()
    isl = min(_CV2_MAX, max(_FITTED_CV2, spread.isl))
    sigma2 = math.log1p(min(_CV2_MAX, max(_FITTED_CV2, spread.osl)))
    usual2 = math.log1p(_FITTED_CV2)
    scale = prefill_share * prefill_s / (itl_s * osl)
    found = []
    for part in _PARTS:
        tokens = math.exp(part * math.sqrt(sigma2) - sigma2 / 2.0)
        usual = math.exp(part * math.sqrt(usual2) - usual2 / 2.0)
        more = (isl + _COUNTS) / tokens - (_FITTED_CV2 + _COUNTS) / usual
        found.append(math.sqrt(max(0.0, scale * more)))
    return tuple(found)
