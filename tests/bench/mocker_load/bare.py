"""The least that a Python server can do: a fixed answer to whatever comes.

No parsing, no engine, no JSON, one event loop of asyncio::

    python -m tests.bench.mocker_load.bare

It prints its port like the mocker. What it reaches in the same minute on the same machine is
the ceiling that the mocker's figures are shown beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

_BODY = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":" word"},"finish_reason":"length"}]}'
)
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_END = b"\r\n\r\n"


class Fixed(asyncio.Protocol):
    """Answers every complete request."""

    def __init__(self) -> None:
        self._fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._fd = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        # The load client sends one request at a time, head and body together.
        if _END in data:
            with contextlib.suppress(OSError):
                os.write(self._fd, _ANSWER)


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Fixed, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"bare ready http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
