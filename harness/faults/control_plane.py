"""Faults between planner and cluster, the same in virtual time and over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import httpx
from pydantic import TypeAdapter

from contracts.errors import InputError
from contracts.observation import ClusterSnapshot
from contracts.records import FaultRecord
from harness.faults.http import Pace
from harness.scenario import ApiErrors, ClockSkew, ControlFault, MetricsGap, StaleMetrics

_SNAPSHOT = TypeAdapter(ClusterSnapshot)


class ControlPlane:
    """What the planner sees and what becomes of its orders while faults are active.

    Args:
        faults: with times on the clock of the cluster.
    """

    def __init__(self, faults: Sequence[ControlFault]) -> None:
        self._faults = tuple(faults)
        self._ticks_hit = [0] * len(self._faults)
        self._frozen: dict[int, ClusterSnapshot] = {}

    @property
    def quiet(self) -> bool:
        """No fault will ever be active."""
        return not self._faults

    def view(self, snapshot: ClusterSnapshot) -> ClusterSnapshot | None:
        """What the planner gets to see in place of the truth; ``None`` is nothing."""
        seen: ClusterSnapshot | None = snapshot
        for index, fault in self._active(snapshot.now_s):
            if isinstance(fault, ApiErrors):
                continue
            self._ticks_hit[index] += 1
            if seen is None or isinstance(fault, MetricsGap):
                seen = None
            elif isinstance(fault, StaleMetrics):
                frozen = self._frozen.setdefault(index, seen)
                seen = replace(frozen, now_s=seen.now_s)
            elif isinstance(fault, ClockSkew):
                seen = replace(seen, now_s=seen.now_s + fault.skew_s)
        return seen

    def refuses_order(self, now_s: float) -> bool:
        """Whether an order given now fails; counts it."""
        hit = [index for index, fault in self._active(now_s) if isinstance(fault, ApiErrors)]
        for index in hit:
            self._ticks_hit[index] += 1
        return bool(hit)

    def records(self) -> tuple[FaultRecord, ...]:
        """What each fault hit.

        Raises:
            InputError: a fault hit no tick of the planner.
        """
        records = []
        for fault, ticks in zip(self._faults, self._ticks_hit, strict=True):
            end_s = fault.at_s + fault.duration_s
            if ticks == 0:
                raise InputError(
                    "the fault hits no tick of the planner",
                    path=fault.kind,
                    value=f"{fault.at_s:g} s to {end_s:g} s",
                )
            what = "order" if isinstance(fault, ApiErrors) else "tick"
            records.append(
                FaultRecord(
                    kind=fault.kind,
                    target=f"planner, {ticks} {what}{'' if ticks == 1 else 's'}",
                    at_s=fault.at_s,
                    requests_hit=0,
                    requests_retried=0,
                    requests_failed=0,
                    recovered_at_s=end_s,
                )
            )
        return tuple(records)

    def _active(self, now_s: float) -> list[tuple[int, ControlFault]]:
        return [
            (index, fault)
            for index, fault in enumerate(self._faults)
            if fault.at_s <= now_s < fault.at_s + fault.duration_s
        ]


class FaultyTransport(httpx.AsyncBaseTransport):
    """HTTP to the admin API with the faults of a control plane in between.

    Args:
        inner: carries the requests.
        plane: the faults.
        pace: the time of the cluster.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        plane: ControlPlane,
        pace: Pace,
    ) -> None:
        self._inner = inner
        self._plane = plane
        self._pace = pace

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on, unless a fault answers it."""
        path = request.url.path
        if path == "/admin/scale" and self._plane.refuses_order(self._pace.now_s):
            return httpx.Response(503, text="injected fault: api_errors", request=request)
        response = await self._inner.handle_async_request(request)
        if path != "/admin/snapshot" or not response.is_success:
            return response
        body = await response.aread()
        await response.aclose()
        seen = self._plane.view(_SNAPSHOT.validate_json(body))
        if seen is None:
            return httpx.Response(503, text="injected fault: metrics_gap", request=request)
        return httpx.Response(200, content=_SNAPSHOT.dump_json(seen), request=request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()
