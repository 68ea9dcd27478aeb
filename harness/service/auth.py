"""A bearer token for programs, the same token in a cookie for browsers."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

COOKIE = "harness_token"
_OPEN = ("/login", "/api/health", "/static/")
_SAFE = ("GET", "HEAD")
Next = Callable[[Request], Awaitable[Response]]


class TokenAuth:
    """Lets requests with the token in; without a token, everything.

    A cookie alone may only read, or write with a form of this very site: another site
    can make a browser send the cookie, but not the ``Origin`` of this one.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    @property
    def open(self) -> bool:
        """No token is asked for."""
        return self._token is None

    def matches(self, token: str) -> bool:
        """Whether this is the token."""
        return self._token is None or secrets.compare_digest(token.encode(), self._token.encode())

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Middleware: answer 401 or 403, or go on."""
        path = request.url.path
        if request.method not in _SAFE and not _same_site(request):
            return JSONResponse({"error": "refused: the request comes from another site"}, 403)
        if self.open or any(path == known or path.startswith(known) for known in _OPEN):
            return await call_next(request)
        header = request.headers.get("authorization", "")
        token = header.removeprefix("Bearer ") if header.startswith("Bearer ") else None
        if self.matches(token if token is not None else request.cookies.get(COOKIE, "")):
            return await call_next(request)
        if path.startswith("/api/") or path == "/openapi.json":
            challenge = {"www-authenticate": "Bearer"}
            return JSONResponse({"error": "a bearer token is needed"}, 401, headers=challenge)
        return RedirectResponse("/login", 303)


def _same_site(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is None:
        return True
    host = request.headers.get("host", "")
    return origin.partition("://")[2] == host
