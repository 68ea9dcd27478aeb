"""Faults of the HTTP surface: refused requests and streams that break on cue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mocker.api.errors import ApiError

StreamFaultKind = Literal["stream_error", "stream_reset", "stream_stall"]
# A header of one request asks for a fault of its own: ``stream_error=5`` or ``http_error=503``.
FAULT_HEADER = b"x-mocker-fault"
_KINDS: tuple[StreamFaultKind, ...] = ("stream_error", "stream_reset", "stream_stall")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFault:
    """How a stream breaks.

    Attributes:
        after_tokens: tokens of a choice that are still sent.
    """

    kind: StreamFaultKind
    after_tokens: int


@dataclass(slots=True, kw_only=True)
class FaultRule:
    """Hits every so manieth request, so often.

    Attributes:
        every: 1 hits each request.
        left: how often it still hits, ``None`` for ever.
        status: of a refused request; with ``stream`` it breaks instead.
        retry_after_s: sent with the refusal.
    """

    every: int
    left: int | None
    status: int | None = None
    retry_after_s: int | None = None
    stream: StreamFault | None = None
    seen: int = 0

    def hits(self) -> bool:
        """Count a request; whether it is hit."""
        if self.left == 0:
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class HttpFaults:
    """The rules in force; deterministic, nothing is drawn."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []

    def refuse(self, header: str | None) -> None:
        """Refuse this request if a rule or its own header says so.

        Raises:
            ApiError: the ordered status, or 400 for a header that is not understood.
        """
        if header is not None:
            kind, number = _parse(header)
            if kind == "http_error":
                raise ApiError(number, "an injected fault", code="injected")
        for rule in self.rules:
            if rule.status is not None and rule.hits():
                raise ApiError(
                    rule.status,
                    "an injected fault",
                    code="injected",
                    retry_after_s=rule.retry_after_s,
                )

    def stream_fault(self, header: str | None) -> StreamFault | None:
        """How this stream shall break, if it shall."""
        if header is not None:
            kind, number = _parse(header)
            for known in _KINDS:
                if kind == known:
                    return StreamFault(kind=known, after_tokens=number)
        for rule in self.rules:
            if rule.stream is not None and rule.hits():
                return rule.stream
        return None


def _parse(header: str) -> tuple[str, int]:
    kind, _, number = header.partition("=")
    if kind not in (*_KINDS, "http_error") or not number.isdigit():
        raise ApiError(
            400,
            f"{FAULT_HEADER.decode()}: use http_error=STATUS or one of {', '.join(_KINDS)}=TOKENS",
            param=FAULT_HEADER.decode(),
        )
    if kind == "http_error" and not 400 <= int(number) <= 599:
        raise ApiError(400, "http_error needs a status from 400 to 599")
    return kind, int(number)
