"""Synthetic open-loop workloads: independent requests at times drawn beforehand."""

from __future__ import annotations

import numpy as np

from contracts.streams import RandomStreams
from contracts.units import NS_PER_S
from contracts.workload import IntArray, PromptText, Workload
from simcore.workload.arrivals import Arrivals, arrival_times
from simcore.workload.lengths import Lengths, draw_lengths
from simcore.workload.mix import (
    SharedPrefixes,
    TrafficMix,
    draw_adapters,
    draw_groups,
    draw_priorities,
    draw_thinking,
    prefix_tokens,
)


def synthesize(
    arrivals: Arrivals,
    *,
    duration_s: float,
    isl: Lengths,
    osl: Lengths,
    streams: RandomStreams,
    mix: TrafficMix | None = None,
) -> Workload:
    """Draw a workload; each aspect has a random stream of its own.

    Streams: ``workload.arrivals``, ``.isl``, ``.osl``, ``.prefixes``, ``.thinking``,
    ``.adapters`` and ``.priority``. With thinking, ``osl`` is the length of the answer
    and the output is thinking plus answer.

    Raises:
        InputError: a rate, duration, length or share is impossible, or nothing arrives.
    """
    mix = mix or TrafficMix()
    times_s = arrival_times(arrivals, duration_s, streams.stream("workload.arrivals"))
    count = len(times_s)
    prompt = draw_lengths("isl", isl, count, streams.stream("workload.isl"))
    output = draw_lengths("osl", osl, count, streams.stream("workload.osl"))
    texts = thinking = None
    if mix.prefixes is not None:
        prompt, texts = _with_prefixes(mix.prefixes, isl, prompt, streams)
    if mix.thinking is not None:
        thinking = draw_thinking(mix.thinking, count, streams)
        output = output + thinking
    return Workload(
        arrival_ns=np.round(times_s * NS_PER_S).astype(np.int64),
        isl=prompt,
        osl=output,
        source="synthetic",
        texts=texts,
        priority=draw_priorities(mix.priority_ratios, count, streams)
        if mix.priority_ratios
        else None,
        adapters=None if mix.adapters is None else draw_adapters(mix.adapters, count, streams),
        timeout_ns=mix.timeout_ns,
        reasoning_tokens=thinking,
    )


def _with_prefixes(
    prefixes: SharedPrefixes, isl: Lengths, prompt: IntArray, streams: RandomStreams
) -> tuple[IntArray, tuple[PromptText, ...]]:
    """Prompts of at least the shared beginning plus one token, and their texts."""
    shared = prefix_tokens(prefixes, isl)
    prompt = np.maximum(prompt, shared + 1)
    groups = draw_groups(prefixes, len(prompt), streams).tolist()
    own = range(prefixes.groups, prefixes.groups + len(groups))
    texts = tuple(
        PromptText((group, own_id), (shared, tokens))
        for group, own_id, tokens in zip(groups, own, prompt.tolist(), strict=True)
    )
    return prompt, texts
