"""One answer in the making: several choices, each a request in the cluster."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from contracts.records import RequestStatus
from mocker.api.errors import ApiError
from mocker.api.requests import NATURAL_ANSWER_TOKENS, CompletionRequest
from mocker.engine_driver import EngineDriver, Submitted
from mocker.text import answer, first_word, stop_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What a choice will say, fixed before the first token is timed.

    Attributes:
        start: vocabulary index of the first token.
        generated: tokens that the engine produces.
        shown: tokens that the client sees; a stop string is not shown.
        text: the whole visible text.
        reason: ``length`` or ``stop``.
    """

    start: int
    generated: int
    shown: int
    text: str
    reason: str


def word(request: CompletionRequest, *, seed: int, choice: int, context_tokens: int) -> Wording:
    """Decide length and text of a choice.

    Raises:
        ApiError: 400 when prompt and answer exceed the context.
    """
    room = context_tokens - request.isl
    if room < 1 or (request.max_tokens is not None and request.max_tokens > room):
        asked = request.isl + (request.max_tokens or 1)
        raise ApiError(
            400,
            f"This model's maximum context length is {context_tokens} tokens. However, you "
            f"requested {asked} tokens ({request.isl} in the prompt, {request.max_tokens or 1} "
            "for the completion).",
            param="messages" if request.chat else "prompt",
            code="context_length_exceeded",
        )
    tokens = request.max_tokens or max(request.min_tokens, min(room, NATURAL_ANSWER_TOKENS))
    reason = "length" if request.max_tokens is not None else "stop"
    start = first_word(seed, request.isl, choice)
    stopped = stop_at(start, tokens, request.stops, request.min_tokens) if request.stops else None
    if stopped is not None:
        generated, text = stopped
        return Wording(
            start=start, generated=generated, shown=len(text.split()), text=text, reason="stop"
        )
    return Wording(
        start=start,
        generated=tokens,
        shown=tokens,
        text="" if request.stream else answer(start, tokens),
        reason=reason,
    )


class Choice:
    """Collects what the cluster says about one choice and wakes the answer up."""

    def __init__(self, wording: Wording, wake: asyncio.Event) -> None:
        self.wording = wording
        self.request_id: int | None = None
        self.generated = 0
        self.status: RequestStatus | None = None
        self.problem = ""
        self._wake = wake

    def on_tokens(self, generated: int) -> None:
        """Tokens so far."""
        self.generated = generated
        self._wake.set()

    def on_end(self, status: RequestStatus, reason: str) -> None:
        """The request has ended."""
        self.status = status
        self.problem = reason
        self._wake.set()


class Answer:
    """All choices of a request; cancels what is left when it is closed."""

    def __init__(
        self, driver: EngineDriver, request: CompletionRequest, wordings: list[Wording]
    ) -> None:
        self._driver = driver
        self._request = request
        self.wake = asyncio.Event()
        self.choices = [Choice(wording, self.wake) for wording in wordings]

    def start(self, client_id: str | None) -> None:
        """Hand every choice to the cluster.

        Raises:
            ApiError: 400 when it can never be served.
        """
        for choice in self.choices:
            submitted = Submitted(
                isl=self._request.isl, osl=choice.wording.generated, client_id=client_id
            )
            choice.request_id = self._driver.submit(submitted, choice)
            if choice.status is RequestStatus.REJECTED:
                self.close()
                raise ApiError(400, choice.problem, code="context_length_exceeded")

    @property
    def ended(self) -> bool:
        """Every choice has ended."""
        return all(choice.status is not None for choice in self.choices)

    @property
    def failure(self) -> str | None:
        """Why a choice failed, ``None`` when none did."""
        for choice in self.choices:
            if choice.status not in (None, RequestStatus.COMPLETED):
                return choice.problem or "the request was cancelled"
        return None

    def close(self) -> None:
        """Cancel whatever has not ended."""
        for choice in self.choices:
            if choice.status is None and choice.request_id is not None:
                self._driver.cancel(choice.request_id)
