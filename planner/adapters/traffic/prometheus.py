"""Traffic and load out of a Prometheus server.

Dynamo's planner asks for ``increase(name_sum[T]) / increase(name_count[T])`` summed over the
frontends of a deployment. The same meaning without extrapolation: raw samples are read with
their times, and increases are formed here, so that arrivals are whole requests, the window is
exactly the time between two samples, and an old sample is never taken for a new one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from contracts.errors import TransientError
from contracts.observation import PoolLoad
from contracts.plan import Role
from planner.adapters.traffic import engines, frontend
from planner.adapters.traffic.exposition import Sample
from planner.adapters.traffic.source import Reading, Target

_FRONTEND = f'__name__=~"{frontend.PREFIX}.+",__name__!~".+_bucket"'
_ENGINES = f'__name__=~"{"|".join(engines.WANTED)}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """Newest sample of one series and its time."""

    sample: Sample
    at_s: float

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(self.sample.labels.items()))


class PrometheusSource:
    """A source over a Prometheus server that scrapes the pods.

    Series belong to a pod by their label ``pod``, or by ``instance`` being its address.

    Args:
        client: an open client; its owner closes it and sets its timeouts.
        endpoint: base address of the server.
        window_s: how old a sample may be.
        model: the model that counts where a frontend serves several.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: str,
        *,
        window_s: float,
        model: str | None = None,
    ) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._window_ms = max(1, math.ceil(window_s * 1000))
        self._model = model
        self._totals = frontend.Totals()
        self._at_s: float | None = None

    async def traffic(self, frontends: Sequence[Target], now_s: float) -> Reading:  # noqa: ARG002
        """Totals over all frontends since the first call, as of their newest samples.

        Raises:
            TransientError: the server cannot be read, does not know every frontend, or has no
                newer samples than last time.
        """
        if not frontends:
            raise TransientError("no frontend is ready", retry_after_s=0.0)
        found = await self._alive(_FRONTEND, frontends)
        pages: dict[str, frontend.Amounts] = {}
        times = []
        for target in frontends:
            own = [series for series in found if _belongs(series, target)]
            if not own:
                raise TransientError(
                    f"{self._endpoint} has no fresh series of {target.name}", retry_after_s=0.0
                )
            pages[target.identity] = frontend.read_page(
                [series.sample for series in own], self._model, target.name
            )
            times.append(max(series.at_s for series in own))
        at_s = min(times)
        if self._at_s is not None and at_s <= self._at_s:
            raise TransientError(
                f"{self._endpoint} has no newer samples of the frontends", retry_after_s=0.0
            )
        self._totals.add(pages, frontends, at_s)
        self._at_s = at_s
        return Reading(at_s=at_s, counters=self._totals.counters())

    async def loads(self, workers: Mapping[Role, Sequence[Target]]) -> tuple[PoolLoad, ...]:
        """Load of each pool all of whose workers have fresh series."""
        everybody = [target for targets in workers.values() for target in targets]
        if not everybody:
            return ()
        try:
            found = await self._alive(_ENGINES, everybody)
        except TransientError:
            return ()
        loads = (
            engines.pool_load(
                role,
                [
                    engines.read_engine([each.sample for each in found if _belongs(each, target)])
                    for target in targets
                ],
            )
            for role, targets in workers.items()
        )
        return tuple(load for load in loads if load is not None)

    async def _alive(self, names: str, targets: Sequence[Target]) -> list[_Series]:
        """The newest sample of each series that has not ended.

        A range shows the times of samples but not that a series has ended; an instant shows
        the reverse.
        """
        pods = "|".join(target.name for target in targets)
        places = "|".join(_address(target).replace(".", "[.]") for target in targets)
        selectors = (f'{{{names},pod=~"{pods}"}}', f'{{{names},pod="",instance=~"{places}"}}')
        answers = await asyncio.gather(
            *(self._query(selector) for selector in selectors),
            *(self._query(f"{selector}[{self._window_ms}ms]") for selector in selectors),
        )
        alive = {series.key for answer in answers[:2] for series in answer}
        return [series for answer in answers[2:] for series in answer if series.key in alive]

    async def _query(self, query: str) -> list[_Series]:
        address = f"{self._endpoint}/api/v1/query"
        try:
            answer = await self._client.get(address, params={"query": query})
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise TransientError(f"{address}: {what}", retry_after_s=0.0) from error
        try:
            content = answer.json()
            if not answer.is_success or content["status"] != "success":
                raise TransientError(
                    f"{address}: HTTP {answer.status_code}: {answer.text[:200]}", retry_after_s=0.0
                )
            return [_series(item) for item in content["data"]["result"]]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise TransientError(
                f"{address}: HTTP {answer.status_code}: malformed answer: {error}",
                retry_after_s=0.0,
            ) from error


def _series(item: Mapping[str, Any]) -> _Series:
    at_s, value = item["values"][-1] if "values" in item else item["value"]
    labels = {str(key): str(text) for key, text in item["metric"].items()}
    sample = Sample(name=labels["__name__"], labels=labels, value=float(value))
    return _Series(sample=sample, at_s=float(at_s))


def _belongs(series: _Series, target: Target) -> bool:
    pod = series.sample.labels.get("pod")
    if pod:
        return pod == target.name
    return series.sample.labels.get("instance") == _address(target)


def _address(target: Target) -> str:
    url = httpx.URL(target.url)
    return f"{url.host}:{url.port}"
