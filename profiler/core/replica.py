"""Closed-form latencies of one replica, by how full it is.

In a steady state every request takes one step for each output token, so n running requests
of a rank bring n / osl new prompts into each step. A step is then known without iteration:
a share of the steps holds a prompt chunk beside (or, where the backend does not mix, before)
the n decodes. By Little's law the rate is n / (osl * step).

Prompts wait like in M/D/c, with c replicas behind a router that knows their load. With a share
rho of the prefill capacity in use and prompts that take s, a share rho^(sqrt(2 (c + 1)) - 1)
of them waits, for s / (2 c (1 - rho)) on average (Sakasegawa 1977; exact for c = 1); the time
of those that wait is taken as exponential, which gives the 90th percentile.

Attention ranks step together, so a chunk on any of them lengthens the step of all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from contracts.ports import PrefillChunk
from profiler.core.ports import EngineFacts, Estimator
from profiler.core.request import EngineChoice, SearchRequest

# A queue this full is not planned for.
UTILISATION_MAX = 0.95
# More prompts than that in one step are not told apart.
_PROMPTS_MAX = 64


class Point(NamedTuple):
    """One replica in a steady state; infinite latencies when it cannot keep up."""

    rate_per_s: float
    ttft_ms: float
    ttft_p90_ms: float
    itl_ms: float
    itl_p90_ms: float


OVERLOAD = Point(math.inf, math.inf, math.inf, math.inf, math.inf)


class Prompts(NamedTuple):
    """Prompt work in a step of one rank.

    Attributes:
        steps: that one prompt takes; prompts share steps, so this need not be whole.
        one_ms: a step with one chunk.
        tokens_per_ms: prompt tokens in steps that are full of them.
    """

    steps: float
    one_ms: float
    tokens_per_ms: float


class Replica:
    """What aggregated, prefill and decode replicas have in common."""

    def __init__(self, request: SearchRequest, estimator: Estimator, choice: EngineChoice) -> None:
        self.choice = choice
        self._request = request
        self._estimator = estimator
        self._facts: EngineFacts = estimator.facts(choice)
        self._context = request.isl + request.osl / 2
        self._decode_memo: dict[int, float] = {}
        self._prompt_memo: dict[int, Prompts | None] = {}

    @property
    def seats(self) -> int:
        """Requests that a rank holds with their whole prompt and output."""
        room = self._facts.kv_tokens // (self._request.isl + self._request.osl)
        return max(1, min(self._facts.max_num_seqs, room))

    def decode_ms(self, requests: float) -> float:
        """A step without prompt work."""
        count = max(1, round(requests))
        if count not in self._decode_memo:
            self._decode_memo[count] = self._estimator.step_ms(
                self.choice, requests=count, context_tokens=self._context
            )
        return self._decode_memo[count]

    def prompts(self, requests: float) -> Prompts | None:
        """Steps with prompt chunks beside so many decodes, ``None`` without room for any."""
        count = round(requests)
        if count not in self._prompt_memo:
            self._prompt_memo[count] = self._new_prompts(count)
        return self._prompt_memo[count]

    def _new_prompts(self, requests: int) -> Prompts | None:
        isl = self._request.isl
        left = self.choice.max_num_batched_tokens - requests
        if left < 1:
            return None
        chunk = min(isl, left)
        count = isl / chunk
        one_ms = self._with([PrefillChunk(chunk, (isl - chunk) // 2)], requests)
        together = min(left // isl, _PROMPTS_MAX)
        if together < 2:
            return Prompts(count, one_ms, chunk / one_ms)
        full_ms = self._with([PrefillChunk(isl, 0)] * together, requests)
        return Prompts(count, one_ms, max(isl / one_ms, together * isl / full_ms))

    def _with(self, chunks: list[PrefillChunk], requests: int) -> float:
        return self._estimator.step_ms(
            self.choice, requests=requests, context_tokens=self._context, chunks=chunks
        )


class AggReplica(Replica):
    """Prefill and decode in one engine."""

    def point(self, running: float, servers: int = 1) -> Point:
        """With so many running requests on each rank; below one, one of them some of the time.

        Args:
            running: of one rank.
            servers: replicas like this one behind one router.
        """
        if self._facts.mixes:
            return self._mixed(running, servers)
        return self._alternating(running, servers)

    def _mixed(self, running: float, servers: int) -> Point:
        osl, dp = self._request.osl, self.choice.dp
        requests = max(1.0, running)
        idle_ms = self.decode_ms(requests)
        prompts = self.prompts(requests)
        if prompts is None:
            return OVERLOAD
        lump_ms, share = prompts.one_ms, prompts.steps * running / osl
        if share > 1:
            # Several prompts a step: the mean of full ones.
            lump_ms = max(lump_ms, running / osl * self._request.isl / prompts.tokens_per_ms)
            share = 1.0
        any_rank = 1 - (1 - share) ** dp
        step_ms = idle_ms + any_rank * (lump_ms - idle_ms)
        squared = any_rank * lump_ms**2 + (1 - any_rank) * idle_ms**2
        return self._finish((running, servers), step_ms, squared / step_ms / 2, prompts)

    def _alternating(self, running: float, servers: int) -> Point:
        """Prompt steps hold no decodes; the other ranks go on beside them."""
        osl, dp = self._request.osl, self.choice.dp
        idle_ms = self.decode_ms(max(1.0, running))
        prompts = self.prompts(0)
        if prompts is None:
            return OVERLOAD
        share, lump_ms = prompts.steps * running / osl, prompts.one_ms
        if share > 1:
            lump_ms = max(lump_ms, running / osl * self._request.isl / prompts.tokens_per_ms)
            share = 1.0
        others = 1 - (1 - share / (1 + share)) ** (dp - 1)
        decode_ms = idle_ms + others * max(0.0, lump_ms - idle_ms)
        token_ms = decode_ms + share * lump_ms
        return self._finish((running, servers), token_ms, decode_ms / 2, prompts)

    def _finish(
        self, fill: tuple[float, int], token_ms: float, residual_ms: float, p: Prompts
    ) -> Point:
        running, servers = fill
        rate = running * 1e3 / (self._request.osl * token_ms)
        service_ms = math.ceil(p.steps) * p.one_ms
        busy = rate * self._request.isl / p.tokens_per_ms / 1e3
        mean_ms, p90_ms = waiting_ms(busy, service_ms, servers * self.choice.dp)
        spread_ms = token_ms - self.decode_ms(1.0)
        return Point(
            rate_per_s=rate * self.choice.dp,
            ttft_ms=residual_ms + mean_ms + service_ms,
            ttft_p90_ms=2 * residual_ms + p90_ms + service_ms,
            itl_ms=token_ms,
            itl_p90_ms=token_ms + max(0.0, spread_ms) / math.sqrt(max(1.0, running)),
        )


class PrefillReplica(Replica):
    """Prompts only."""

    def __init__(self, request: SearchRequest, estimator: Estimator, choice: EngineChoice) -> None:
        super().__init__(request, estimator, choice)
        found = self.prompts(0)
        assert found is not None, "an empty step has room for a token"
        self._prompts = found
        budget, isl = choice.max_num_batched_tokens, request.isl
        self.alone_ms = sum(
            self._with([PrefillChunk(min(budget, isl - past), past)], 0)
            for past in range(0, isl, budget)
        )

    @property
    def most_per_s(self) -> float:
        """Prompts a second of a replica that is always busy."""
        return self._prompts.tokens_per_ms / self._request.isl * 1e3 * self.choice.dp

    def point(self, rate_per_s: float, servers: int = 1) -> Point:
        """At so many prompts a second, beside other replicas like this one."""
        dp, p = self.choice.dp, self._prompts
        busy = rate_per_s / self.most_per_s
        service_ms = self.alone_ms
        mean_ms, p90_ms = waiting_ms(busy, service_ms, servers * dp)
        # Ranks step together, so an idle one waits for the step of the others.
        others_ms = p.one_ms * (1 - (1 - min(1.0, busy)) ** (dp - 1))
        return Point(
            rate_per_s=rate_per_s,
            ttft_ms=service_ms + mean_ms + others_ms / 2,
            ttft_p90_ms=service_ms + p90_ms + others_ms,
            itl_ms=0.0,
            itl_p90_ms=0.0,
        )


class DecodeReplica(Replica):
    """Output tokens only; a request joins with the next step."""

    def point(self, running: float) -> Point:
        """With so many running requests on each rank."""
        step_ms = self.decode_ms(running)
        steps = max(1, self._request.osl - 1)
        spread_ms = max(0.0, step_ms - self.decode_ms(1.0))
        return Point(
            rate_per_s=running * 1e3 / (steps * step_ms) * self.choice.dp,
            ttft_ms=1.5 * step_ms,
            ttft_p90_ms=2 * step_ms,
            itl_ms=step_ms,
            itl_p90_ms=step_ms + spread_ms / math.sqrt(max(1.0, running)),
        )


def waiting_ms(busy: float, service_ms: float, servers: int) -> tuple[float, float]:
    """Mean and 90th percentile of the time before service, M/D/c with a load ``busy``."""
    if busy >= UTILISATION_MAX:
        return math.inf, math.inf
    waits = busy ** (math.sqrt(2 * (servers + 1)) - 1)
    wait_ms = service_ms / (2 * servers * (1 - busy))
    late_ms = wait_ms * math.log(waits / 0.1) if waits > 0.1 else 0.0
    return waits * wait_ms, max(waits * wait_ms, late_ms)
