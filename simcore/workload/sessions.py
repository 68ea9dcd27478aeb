"""Synthetic conversations: several turns that build on each other, with pauses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.units import NS_PER_S
from contracts.workload import IntArray, PromptText, SessionPlan
from simcore.workload.arrivals import Arrivals, arrival_times
from simcore.workload.lengths import Lengths, draw_lengths, draw_lognormal
from simcore.workload.mix import (
    TrafficMix,
    draw_adapters,
    draw_groups,
    draw_priorities,
    draw_thinking,
    prefix_tokens,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkTime:
    """Lognormal pauses between an answer and the next turn; a variation of 0 is fixed."""

    mean_s: float
    cv: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What one conversation looks like.

    Attributes:
        turns: requests of one session.
        think: pause before each further turn.
        first_isl: prompt tokens of the first turn.
        next_isl: new prompt tokens of each further turn; the history comes on top.
        osl: output tokens of each turn.
    """

    turns: Lengths
    think: ThinkTime
    first_isl: Lengths
    next_isl: Lengths
    osl: Lengths


def synthesize_sessions(
    conversation: Conversation,
    *,
    arrivals: Arrivals,
    duration_s: float,
    streams: RandomStreams,
    mix: TrafficMix | None = None,
) -> SessionPlan:
    """Draw conversations whose first turns arrive within ``duration_s``.

    The prompt of a further turn is the prompt before, its output, and new text. Thinking
    is left out of the history, as chat templates do; the answer of a turn that thought is
    therefore new text to the engine. Adapter, priority and shared beginning belong to a
    session, thinking to a turn. Streams are those of
    :func:`simcore.workload.synthesize`, and ``workload.turns`` and ``workload.pauses``.

    Raises:
        InputError: a rate, duration, length or share is impossible, or nothing arrives.
    """
    mix = mix or TrafficMix()
    starts_s = arrival_times(arrivals, duration_s, streams.stream("workload.arrivals"))
    sessions = len(starts_s)
    turns = draw_lengths("turns", conversation.turns, sessions, streams.stream("workload.turns"))
    first_turn = np.concatenate([[0], np.cumsum(turns)]).astype(np.int64)
    count = int(first_turn[-1])
    opening = np.zeros(count, dtype=np.bool_)
    opening[first_turn[:-1]] = True
    rng = streams.stream("workload.isl")
    first_isl = draw_lengths("first_isl", conversation.first_isl, count, rng)
    next_isl = draw_lengths("next_isl", conversation.next_isl, count, rng)
    answer = draw_lengths("osl", conversation.osl, count, streams.stream("workload.osl"))
    thinking = None if mix.thinking is None else draw_thinking(mix.thinking, count, streams)
    history = _History(
        opening=opening,
        new_tokens=np.where(opening, first_isl, next_isl),
        answer=answer,
        thinking=np.zeros(count, dtype=np.int64) if thinking is None else thinking,
    )
    texts = _write(history, *_beginnings(conversation, sessions, mix, streams))
    return SessionPlan(
        start_ns=np.round(starts_s * NS_PER_S).astype(np.int64),
        first_turn=first_turn,
        isl=np.array([text.ends[-1] for text in texts], dtype=np.int64),
        osl=answer + history.thinking,
        think_ns=np.where(opening, 0, _pauses(conversation.think, count, streams)),
        source="synthetic sessions",
        texts=texts,
        priority=draw_priorities(mix.priority_ratios, sessions, streams)
        if mix.priority_ratios
        else None,
        adapters=None if mix.adapters is None else draw_adapters(mix.adapters, sessions, streams),
        reasoning_tokens=thinking,
        timeout_ns=mix.timeout_ns,
    )


class _History(NamedTuple):
    """What is new in each turn of all sessions; arrays of shape (t,)."""

    opening: np.ndarray[tuple[int], np.dtype[np.bool_]]
    new_tokens: IntArray
    answer: IntArray
    thinking: IntArray


def _beginnings(
    conversation: Conversation, sessions: int, mix: TrafficMix, streams: RandomStreams
) -> tuple[list[PromptText], int]:
    """The shared beginning of each session, and the first id that is free."""
    if mix.prefixes is None:
        return [PromptText((), ())] * sessions, 0
    shared = prefix_tokens(mix.prefixes, conversation.first_isl)
    groups = draw_groups(mix.prefixes, sessions, streams).tolist()
    return [PromptText((group,), (shared,)) for group in groups], mix.prefixes.groups


def _write(history: _History, beginnings: list[PromptText], free_id: int) -> tuple[PromptText, ...]:
    """The text of every turn; turn t owns the ids ``free_id + 2 t`` and the one after it."""
    texts: list[PromptText] = []
    session = iter(beginnings)
    ids: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    tokens = 0
    rows = zip(*(column.tolist() for column in history), strict=True)
    for turn, (opening, new_tokens, answer, thinking) in enumerate(rows):
        own_id = free_id + 2 * turn
        if opening:
            ids, ends, _ = next(session)
            shared = ends[-1] if ends else 0
            tokens = max(new_tokens, shared + 1)
        else:
            tokens += new_tokens
        ids, ends = (*ids, own_id), (*ends, tokens)
        texts.append(PromptText(ids, ends, -1 if thinking else own_id + 1))
        tokens += answer
        if not thinking:
            ids, ends = (*ids, own_id + 1), (*ends, tokens)
    return tuple(texts)


def _pauses(think: ThinkTime, count: int, streams: RandomStreams) -> IntArray:
    if not (think.mean_s >= 0 and math.isfinite(think.mean_s)):
        raise InputError("must not be negative", path="think.mean_s", value=str(think.mean_s))
    rng = streams.stream("workload.pauses")
    seconds = draw_lognormal("think", think.mean_s, think.cv, count, rng)
    return np.asarray(np.round(seconds * NS_PER_S).astype(np.int64))
