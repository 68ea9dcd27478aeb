"""HTTP server of the operator: conversion between versions, admission, and health."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from contracts.errors import InputError
from dgdr.convert import convert_review
from dgdr.reconcile.admission import MUTATE_PATH, VALIDATE_PATH, review_admission
from dgdr.reconcile.settings import OperatorSettings

_log = logging.getLogger(__name__)
_BODY_BYTES_MAX = 64 * 2**20
_CONVERT_PATH = "/convert"
_REVIEWS = frozenset({_CONVERT_PATH, MUTATE_PATH, VALIDATE_PATH})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    settings = OperatorSettings()

    def do_GET(self) -> None:  # the name is the library's
        """Health of the process."""
        if self.path in ("/healthz", "/readyz"):
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:  # the name is the library's
        """A ConversionReview or an AdmissionReview."""
        size = int(self.headers.get("Content-Length") or 0)
        path = self.path.partition("?")[0]
        if path not in _REVIEWS or not 0 < size <= _BODY_BYTES_MAX:
            self.close_connection = True
            self._answer(404, {"error": "not found"})
            return
        try:
            review = json.loads(self.rfile.read(size))
            if path == _CONVERT_PATH:
                answer = convert_review(review)
            else:
                answer = review_admission(review, path, self.settings)
        except (InputError, ValueError) as error:
            self._answer(400, {"error": str(error)})
            return
        self._answer(200, answer)

    def _answer(self, code: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are of interest only when debugging."""
        _log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """A client that went away or speaks no TLS is its own problem."""
        _log.debug("connection from %s failed", client_address, exc_info=True)


class WebhookServer:
    """Serves ``/convert``, admission, ``/healthz`` and ``/readyz`` until closed.

    Args:
        certificates: folder with ``tls.crt`` and ``tls.key``; None serves plain HTTP.
        host: address to listen on.
        settings: of the operator, which admission goes by.
    """

    def __init__(
        self,
        port: int,
        certificates: Path | None = None,
        *,
        host: str = "0.0.0.0",
        settings: OperatorSettings | None = None,
    ) -> None:
        handler = type("Handler", (_Handler,), {"settings": settings or OperatorSettings()})
        self._server = _Server((host, port), handler)
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
            except (OSError, ssl.SSLError) as error:
                self._server.server_close()
                raise InputError(
                    f"no usable certificate: {error}", path=str(certificates)
                ) from error
            # The handshake is left to the thread of the connection: a slow client waits alone.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
