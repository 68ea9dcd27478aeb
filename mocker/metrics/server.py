"""Everything that a server counts; times come in as simulated nanoseconds.

Durations are simulated seconds, so that a planner sees undilated latencies.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from contracts.units import NS_PER_S
from mocker.metrics import buckets as b
from mocker.metrics.tally import Tally
from simcore.engine import StepReport

_FOLD = 512


class Finished(NamedTuple):
    """A request that has ended; instants are -1 where they never came."""

    isl: int
    generated: int
    arrival_ns: int
    admitted_ns: int
    first_ns: int
    end_ns: int
    max_tokens: int


class Delivered:
    """Tokens by how they were written: one in a write, or several."""

    __slots__ = ("coalesced", "single")

    def __init__(self) -> None:
        self.single = self.coalesced = 0

    def count(self, tokens: int) -> None:
        """So many were written together."""
        if tokens == 1:
            self.single += 1
        else:
            self.coalesced += tokens


class ServerMetrics:
    """Counters and tallies of one server.

    Attributes:
        running: requests that have arrived and not ended.
        started: requests that were begun, where somebody counts them.
        requests: answers by (endpoint, stream or unary, success or error).
        finished: requests by the reason of their end.
        delivered: tokens by how they were written.
    """

    def __init__(self) -> None:
        lengths = b.token_counts(b.TOKENS_MAX)
        self.ttft_s = Tally(b.VLLM_TTFT_S, b.SGLANG_TTFT_S, b.FRONTEND_TTFT_S)
        self.itl_s = Tally(b.VLLM_TOKEN_S, b.SGLANG_TOKEN_S, b.FRONTEND_TOKEN_S)
        self.tpot_s = Tally(b.VLLM_TOKEN_S)
        phases = b.VLLM_REQUEST_S, b.SGLANG_STAGE_S
        self.e2e_s = Tally(b.VLLM_REQUEST_S, b.SGLANG_REQUEST_S, b.FRONTEND_REQUEST_S)
        self.queue_s = Tally(b.SGLANG_QUEUE_S, *phases)
        self.prefill_s = Tally(*phases)
        self.decode_s = Tally(*phases)
        self.inference_s = Tally(b.VLLM_REQUEST_S)
        self.prompt_lengths = Tally(lengths, b.FRONTEND_INPUT_TOKENS)
        self.output_lengths = Tally(lengths, b.FRONTEND_OUTPUT_TOKENS)
        self.max_tokens = Tally(lengths)
        self.choices = Tally(b.VLLM_CHOICES)
        self.step_tokens = Tally(b.VLLM_STEP_TOKENS)
        self.pacing_lag_s = Tally(b.LAG_S)
        self.late_tokens = 0
        self.delivered = Delivered()
        self.slow_readers = 0
        self.disconnected = 0
        self.running = 0
        self.started: int | None = None
        self.generation_tokens = self.prompt_tokens = 0
        self.cache_queries = self.cache_hits = self.preemptions = 0
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.finished: Counter[str] = Counter()
        self._ends: list[Finished] = []
        self._seen = 0.0, 0
        self._throughput = 0.0

    def throughput(self, now_s: float) -> float:
        """Tokens generated in a simulated second since the last call, or the last known."""
        then_s, before = self._seen
        if now_s > then_s:
            self._throughput = (self.generation_tokens - before) / (now_s - then_s)
            self._seen = now_s, self.generation_tokens
        return self._throughput

    def on_step(self, report: StepReport) -> None:
        """An engine has made one step, or several equal ones."""
        tokens = report.decode_requests + report.prefill_tokens
        self.step_tokens.observe(tokens, report.steps)
        self.preemptions += len(report.preempted)

    def on_admission(self, isl: int, cached: int) -> None:
        """An engine has begun to work on a prompt."""
        self.cache_queries += isl
        self.cache_hits += cached

    def on_lag(self, lag_ns: int, tokens: int) -> None:
        """A step with so many tokens was handed out this much after its wall instant."""
        lag_s = lag_ns / NS_PER_S
        self.pacing_lag_s.observe(lag_s, tokens)
        if lag_s > b.LAG_S[3]:
            self.late_tokens += tokens

    def finish(self, request: Finished, reason: str) -> None:
        """A request has ended: ``length`` and ``stop`` are successes."""
        self.finished[reason] += 1
        if reason in ("length", "stop"):
            self._ends.append(request)
            self.prompt_tokens += request.isl
            if len(self._ends) >= _FOLD:
                self.fold()

    def fold(self) -> None:
        """Count the requests that have ended since the last call; done before each scrape."""
        if not self._ends:
            return
        rows = np.array(self._ends, dtype=np.float64)
        self._ends = []
        isl, osl, arrival, admitted, first, end, limit = rows.T
        self.prompt_lengths.observe_all(isl)
        self.output_lengths.observe_all(osl)
        self.max_tokens.observe_all(np.where(limit > 0, limit, osl))
        self.e2e_s.observe_all((end - arrival) / NS_PER_S)
        several = osl > 1
        gaps_s = (end - first)[several] / (osl[several] - 1) / NS_PER_S
        self.tpot_s.observe_all(gaps_s)
        seen = (admitted >= 0) & (first >= 0)
        arrival, admitted, first, end = (column[seen] for column in (arrival, admitted, first, end))
        self.queue_s.observe_all((admitted - arrival) / NS_PER_S)
        self.prefill_s.observe_all((first - admitted) / NS_PER_S)
        self.decode_s.observe_all((end - first) / NS_PER_S)
        self.inference_s.observe_all((end - admitted) / NS_PER_S)
