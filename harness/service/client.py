"""A client of the service, for the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from contracts.errors import InputError, PermanentError
from harness.service.model import JobState

_WAIT_S = 30.0
_PAGE = 200
_AGAIN_S = 1.0
# A service that restarts is back within this time; its runs go on.
_AWAY_S = 60.0


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class Client:
    """Talks to one service; use it in a ``with`` block.

    Args:
        url: of the service.
        token: for services that ask for one.
        transport: in place of the network.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = _pause,
    ) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._pause = pause
        self._http = httpx.Client(
            headers=headers, timeout=_WAIT_S, trust_env=False, transport=transport
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self._http.close()

    def submit(self, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        """Hand a scenario in; ``cells`` of the answer has the ids of its runs.

        Raises:
            InputError: the service refuses it.
            PermanentError: the service cannot be reached or does not work.
        """
        headers = {"idempotency-key": key} if key else {}
        return dict(self._call("POST", "/api/runs", json=body, headers=headers))

    def run(self, run: int) -> dict[str, Any]:
        """One run with everything."""
        return dict(self._call("GET", f"/api/runs/{run}"))

    def runs(self, *, limit: int, state: str | None = None) -> list[dict[str, Any]]:
        """The newest runs, newest first, over as many pages as that takes."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {} if state is None else {"state": state}
        while len(found) < limit:
            query["limit"] = min(_PAGE, limit - len(found))
            page = self._call("GET", "/api/runs", params=query)
            found += page["runs"]
            if page["next"] is None:
                break
            query["before"] = page["next"]
        return found

    def follow(self, run: int, news: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Wait for the end of a run and return it; a service that restarts is waited for.

        Args:
            run: its id.
            news: called with the run's state whenever it changes.

        Raises:
            PermanentError: the service was away for too long.
        """
        away_s = 0.0
        while True:
            try:
                for state in self._events(run):
                    away_s = 0.0
                    news(state)
                    if ended(state):
                        return self.run(run)
            except httpx.TransportError as error:
                if away_s >= _AWAY_S:
                    raise PermanentError(f"{self._url}: {error or type(error).__name__}") from error
            self._pause(_AGAIN_S)
            away_s += _AGAIN_S

    def _events(self, run: int) -> Iterator[dict[str, Any]]:
        url = f"{self._url}/api/runs/{run}/events"
        with self._http.stream("GET", url) as answer:
            if not answer.is_success:
                answer.read()
                self._check(answer, url)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401  # JSON
        url = f"{self._url}{path}"
        try:
            answer = self._http.request(method, url, **options)
        except httpx.UnsupportedProtocol as error:
            raise InputError(
                "is no address", path="--service", value=self._url, allowed="http://HOST:PORT"
            ) from error
        except httpx.ConnectError as error:
            raise PermanentError(
                f"{url}: {error}; no service answers there (harness serve starts one)"
            ) from error
        except httpx.HTTPError as error:
            raise PermanentError(f"{url}: {error or type(error).__name__}") from error
        self._check(answer, url)
        return answer.json()

    def _check(self, answer: httpx.Response, url: str) -> None:
        if answer.status_code in (httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.NOT_FOUND):
            raise InputError(_said(answer), source=url)
        if not answer.is_success:
            raise PermanentError(f"{url}: HTTP {answer.status_code}: {answer.text[:300]}")


def ended(run: dict[str, Any]) -> bool:
    """Nothing will change about the run any more."""
    return JobState(run["state"]).final


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
