"""Injects faults at their time through the mocker's admin API."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from contracts.errors import InputError, PermanentError
from contracts.faults import WorkerCrash
from contracts.units import NS_PER_S
from profiler.load.clock import Clock


async def inject_faults(
    client: httpx.AsyncClient,
    faults: Sequence[WorkerCrash],
    *,
    start_ns: int,
    speed: float,
    clock: Clock,
) -> None:
    """Post every fault at ``start_ns`` plus its time divided by ``speed``.

    Raises:
        InputError: a fault hit no target.
        PermanentError: the server refused it for another reason.
    """
    for fault in sorted(faults, key=lambda each: each.at_s):
        await clock.sleep_until_ns(start_ns + round(fault.at_s * NS_PER_S / speed))
        answer = await client.post(
            "/admin/faults",
            json={
                "kind": "worker_crash",
                "role": fault.role.value,
                "worker_index": fault.worker_index,
                "restart": fault.restart,
            },
        )
        if answer.is_success:
            continue
        path = f"faults: worker_crash at {fault.at_s:g} s"
        if answer.is_client_error:
            raise InputError(f"the fault was not injected: {answer.text}", path=path)
        raise PermanentError(f"{path}: the server answered {answer.status_code}: {answer.text}")
