"""What requests differ in besides time and length: prefixes, thinking, adapters, priority."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.units import s_to_ns
from contracts.workload import IntArray
from simcore.workload.lengths import Lengths, draw_lengths, positive, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefixes:
    """Prompts begin with the text of a group, as with system prompts.

    The shared beginning has ``shared_ratio`` times the mean prompt length; a prompt drawn
    shorter than that is lengthened to the beginning plus one token of its own.

    Attributes:
        groups: different beginnings.
        shared_ratio: share of the mean prompt that is shared (0-1, both exclusive).
        zipf_exponent: popularity of the n-th group is n to the power of minus this; 0
            makes all equally popular.
    """

    groups: int
    shared_ratio: float
    zipf_exponent: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A share of the requests thinks before it answers.

    Attributes:
        request_ratio: share of the requests that think (0-1).
        tokens: thinking tokens of such a request, on top of its answer.
    """

    request_ratio: float
    tokens: Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterMix:
    """LoRA adapters by popularity.

    Attributes:
        names: most popular first.
        zipf_exponent: popularity of the n-th is n to the power of minus this.
        base_ratio: share of the requests that use the base model (0-1).
    """

    names: tuple[str, ...]
    zipf_exponent: float = 1.0
    base_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficMix:
    """Everything optional about synthetic requests.

    Attributes:
        priority_ratios: share of the requests with priority 0, 1, and so on; adds up to 1.
        timeout_s: clients give up after this long; 0 waits for ever.
    """

    prefixes: SharedPrefixes | None = None
    thinking: Thinking | None = None
    adapters: AdapterMix | None = None
    priority_ratios: tuple[float, ...] = ()
    timeout_s: float = 0.0

    @property
    def timeout_ns(self) -> int:
        """The time-out in nanoseconds.

        Raises:
            InputError: it is negative or not finite.
        """
        if not (self.timeout_s >= 0 and math.isfinite(self.timeout_s)):
            raise InputError("must not be negative", path="timeout_s", value=str(self.timeout_s))
        return s_to_ns(self.timeout_s)


def prefix_tokens(prefixes: SharedPrefixes, isl: Lengths) -> int:
    """Tokens of every shared beginning.

    Raises:
        InputError: no group, or a share that leaves nothing shared or nothing of one's own.
    """
    if prefixes.groups < 1:
        raise InputError("must be positive", path="prefixes.groups", value=str(prefixes.groups))
    if not 0 < prefixes.shared_ratio < 1:
        raise InputError(
            "must lie between 0 and 1",
            path="prefixes.shared_ratio",
            value=str(prefixes.shared_ratio),
        )
    return max(1, round(prefixes.shared_ratio * isl.mean))


def draw_groups(prefixes: SharedPrefixes, count: int, streams: RandomStreams) -> IntArray:
    """Group of each of ``count`` prompts, from the stream ``workload.prefixes``."""
    shares = _zipf("prefixes.zipf_exponent", prefixes.groups, prefixes.zipf_exponent)
    return _choose(streams.stream("workload.prefixes"), shares, count)


def draw_thinking(thinking: Thinking, count: int, streams: RandomStreams) -> IntArray:
    """Thinking tokens of each of ``count`` requests, from ``workload.thinking``; 0 for many."""
    ratio("thinking.request_ratio", thinking.request_ratio)
    rng = streams.stream("workload.thinking")
    thinks = rng.random(count) < thinking.request_ratio
    tokens = draw_lengths("thinking.tokens", thinking.tokens, count, rng)
    return np.where(thinks, tokens, 0)


def draw_adapters(mix: AdapterMix, count: int, streams: RandomStreams) -> tuple[str, ...]:
    """Adapter of each of ``count`` requests, from ``workload.adapters``; empty is the base."""
    ratio("adapters.base_ratio", mix.base_ratio)
    if not mix.names or "" in mix.names or len(set(mix.names)) < len(mix.names):
        raise InputError(
            "needs different adapter names", path="adapters.names", value=str(list(mix.names))
        )
    shares = _zipf("adapters.zipf_exponent", len(mix.names), mix.zipf_exponent)
    shares = np.concatenate([shares * (1 - mix.base_ratio), [mix.base_ratio]])
    names = (*mix.names, "")
    chosen = _choose(streams.stream("workload.adapters"), shares, count)
    return tuple(names[at] for at in chosen.tolist())


def draw_priorities(ratios: tuple[float, ...], count: int, streams: RandomStreams) -> IntArray:
    """Priority of each of ``count`` requests, from the stream ``workload.priority``."""
    for share in ratios:
        ratio("priority_ratios", share)
    if abs(sum(ratios) - 1) > 1e-6:
        raise InputError("must add up to 1", path="priority_ratios", value=str(list(ratios)))
    return _choose(streams.stream("workload.priority"), np.array(ratios), count)


def _zipf(name: str, count: int, exponent: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if exponent != 0:
        positive(name, exponent)
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


def _choose(
    rng: np.random.Generator, shares: np.ndarray[tuple[int], np.dtype[np.float64]], count: int
) -> IntArray:
    """Positions drawn with these shares."""
    edges = np.cumsum(shares)
    drawn = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    return np.asarray(np.minimum(drawn, len(shares) - 1).astype(np.int64))
