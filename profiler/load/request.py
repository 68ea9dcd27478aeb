"""Bytes of the requests: prompts of exactly ISL words without building them one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from contracts.errors import InputError

_WORD = b" a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to send requests; ``authority`` is the Host header."""

    host: str
    port: int
    path: str
    authority: str


def parse_endpoint(base_url: str) -> Endpoint:
    """The chat route below a base URL such as ``http://127.0.0.1:8000``.

    Raises:
        InputError: not a plain ``http`` URL with a host.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port or 80
    except ValueError as error:
        raise InputError(f"is not a URL: {error}", path="base_url", value=base_url) from error
    if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment:
        raise InputError(
            "is not a usable server", path="base_url", value=base_url, allowed="http://host:port"
        )
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    return Endpoint(
        host=parts.hostname,
        port=port,
        path=f"{prefix}/v1/chat/completions",
        authority=parts.netloc.rpartition("@")[2],
    )


class RequestFactory:
    """Builds requests for one server and model.

    Each prompt starts with a word of its own, so that no two requests share a prefix
    that a prefix cache could serve.

    Args:
        endpoint: the chat route.
        model: name of the model.
        isl_max: longest prompt that will be asked for, in words.
        salt: goes into each first word; runs with different salts share no prompt.
    """

    def __init__(self, endpoint: Endpoint, model: str, isl_max: int, salt: str = "") -> None:
        self._first = f"r{salt}".encode()
        self._words = _WORD * isl_max
        self._open = (
            b'{"model":' + json.dumps(model).encode() + b',"messages":[{"role":"user","content":"'
        )
        self._head = (
            f"POST {endpoint.path} HTTP/1.1\r\n"
            f"Host: {endpoint.authority}\r\n"
            "Content-Type: application/json\r\n"
            "Accept: text/event-stream\r\n"
        ).encode()

    def build(self, index: int, isl: int, osl: int) -> tuple[bytes, bytes]:
        """Head and body of a request of ``isl`` words that asks for ``osl`` tokens."""
        first = self._first + b"%d" % index
        words = self._words[: (isl - 1) * len(_WORD)]
        close = b'"}],"stream":true,"max_tokens":%d,"ignore_eos":true}' % osl
        body = b"".join((self._open, first, words, close))
        head = self._head + b"x-request-id: load-%d\r\nContent-Length: %d\r\n\r\n" % (
            index,
            len(body),
        )
        return head, body
