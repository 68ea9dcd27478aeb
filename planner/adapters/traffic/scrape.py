"""Reads ``/metrics`` of the pods directly; no Prometheus is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import httpx

from contracts.errors import TransientError
from contracts.observation import PoolLoad
from contracts.plan import Role
from planner.adapters.traffic import engines, frontend
from planner.adapters.traffic.exposition import Sample, samples
from planner.adapters.traffic.source import Reading, Target

_KINDS = ("text/plain", "application/openmetrics-text")


class ScrapeSource:
    """A source over the pods themselves.

    Args:
        client: an open client; its owner closes it and sets its timeouts.
        model: the model that counts where a frontend serves several.
    """

    def __init__(self, client: httpx.AsyncClient, *, model: str | None = None) -> None:
        self._client = client
        self._model = model
        self._totals = frontend.Totals()

    async def traffic(self, frontends: Sequence[Target], now_s: float) -> Reading:
        """Totals over all frontends since the first call.

        Raises:
            TransientError: there is no frontend, or one of them cannot be read.
        """
        if not frontends:
            raise TransientError("no frontend is ready", retry_after_s=0.0)
        pages = await asyncio.gather(*(self._page(each, (frontend.PREFIX,)) for each in frontends))
        amounts = {
            target.identity: frontend.read_page(page, self._model, target.url)
            for target, page in zip(frontends, pages, strict=True)
        }
        self._totals.add(amounts, frontends, now_s)
        return Reading(at_s=now_s, counters=self._totals.counters())

    async def loads(self, workers: Mapping[Role, Sequence[Target]]) -> tuple[PoolLoad, ...]:
        """Load of each pool all of whose workers answer."""
        found = await asyncio.gather(
            *(self._pool(role, targets) for role, targets in workers.items())
        )
        return tuple(load for load in found if load is not None)

    async def _pool(self, role: Role, targets: Sequence[Target]) -> PoolLoad | None:
        return engines.pool_load(role, await asyncio.gather(*map(self._engine, targets)))

    async def _engine(self, target: Target) -> engines.EngineLoad | None:
        try:
            return engines.read_engine(await self._page(target, engines.WANTED))
        except TransientError:
            return None

    async def _page(self, target: Target, prefixes: Sequence[str]) -> list[Sample]:
        try:
            answer = await self._client.get(target.url)
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise TransientError(f"{target.url}: {what}", retry_after_s=0.0) from error
        kind = answer.headers.get("content-type", "")
        if not answer.is_success or not kind.startswith(_KINDS):
            raise TransientError(
                f"{target.url}: HTTP {answer.status_code}, {kind or 'no content type'}: "
                f"no page of metrics",
                retry_after_s=0.0,
            )
        return samples(answer.text, prefixes, target.url)
