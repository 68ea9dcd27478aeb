"""What goes into an engine and what comes out of it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from contracts.engine import Backend, EngineLimits
from contracts.workload import PromptText


class EventKind(IntEnum):
    """Visible events of a request inside one engine."""

    FIRST_TOKEN = 0
    FINISHED = 1


class EngineEvent(NamedTuple):
    """Something became visible at the end of a step; ``preemptions`` so far."""

    at_ns: int
    kind: EventKind
    request_id: int
    preemptions: int


class TokenProgress(NamedTuple):
    """Output tokens that a running request has produced."""

    request_id: int
    generated: int


class StepReport(NamedTuple):
    """What a step did, or a run of equal decode-only steps; sums over attention ranks.

    Attributes:
        start_ns: rounded up, like all instants.
        end_ns: end of the last step.
        steps: 1, or how many decode-only steps.
        decode_requests: requests that decode in each step.
        context_tokens: their summed context in the first step.
        prefill_tokens: prompt tokens computed.
        admitted: requests that began to run, with the prompt tokens that were cached.
        preempted: requests that lost their KV blocks.
    """

    start_ns: int
    end_ns: int
    steps: int
    decode_requests: int
    context_tokens: int
    prefill_tokens: int
    admitted: tuple[tuple[int, int], ...]
    preempted: tuple[int, ...]


class Submission(NamedTuple):
    """A request as one engine sees it; lengths in tokens.

    Attributes:
        osl: tokens to be produced over the whole life of the request.
        generated: tokens already delivered by another engine; they are part of the
            text that must be recomputed here.
        computed: leading tokens whose KV cache arrives with the request.
        text: what the prompt shares with others; ``None`` shares nothing.
        priority: lower goes first where the scheduler looks at it.
        adapter: LoRA adapter, empty for the base model.
        hold: keep the KV blocks after the last token until they are released.
    """

    request_id: int
    isl: int
    osl: int
    generated: int = 0
    computed: int = 0
    text: PromptText | None = None
    priority: int = 0
    adapter: str = ""
    hold: bool = False

    @property
    def known(self) -> int:
        """Tokens whose text is known at submission."""
        return self.isl + self.generated


def refusal(
    limits: EngineLimits, submission: Submission, backend: Backend = Backend.VLLM
) -> str | None:
    """Why an engine can never finish this request, ``None`` when it can.

    The last output token is never computed, so the largest KV demand is
    ``isl + osl - 1`` tokens. SGLang keeps one token of room beyond the whole request.
    """
    longest = submission.isl + submission.osl
    if longest > limits.max_model_len:
        return f"{longest} tokens exceed the context length of {limits.max_model_len}"
    room = limits.kv_blocks_total * limits.block_size_tokens
    needed = longest + 1 if backend is Backend.SGLANG else longest - 1
    if needed > room:
        return f"{needed} tokens exceed the KV cache of {room}"
    splits = limits.chunked_prefill or backend is Backend.SGLANG
    if not splits and longest - 1 > limits.max_num_batched_tokens:
        return (
            f"{longest - 1} tokens exceed the step budget of {limits.max_num_batched_tokens} "
            "and chunked prefill is off"
        )
    return None


def tokens_always_served(limits: EngineLimits) -> int:
    """A request with no more prompt and output tokens than this is never refused."""
    room = limits.kv_blocks_total * limits.block_size_tokens - 1
    whole = limits.max_model_len if limits.chunked_prefill else limits.max_num_batched_tokens
    return min(limits.max_model_len, whole, room)
