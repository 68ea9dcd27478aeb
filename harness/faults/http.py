"""Injects faults through the mocker's admin API, at their time or on their condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from pydantic import TypeAdapter

from contracts.errors import InputError, PermanentError
from contracts.faults import Fault
from contracts.observation import ClusterSnapshot
from contracts.units import NS_PER_S
from harness.scenario import Trigger
from profiler.load.clock import Clock

_SNAPSHOT = TypeAdapter(ClusterSnapshot)
POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The time of the cluster on a clock of this process.

    Attributes:
        start_ns: the cluster's time zero.
        speed: seconds of the cluster that pass in one second of the clock.
    """

    clock: Clock
    start_ns: int
    speed: float

    @property
    def now_s(self) -> float:
        """Seconds of the cluster."""
        return (self.clock.now_ns() - self.start_ns) / NS_PER_S * self.speed

    async def sleep_until(self, at_s: float) -> None:
        """Wait for a second of the cluster."""
        at_ns = self.start_ns + round(at_s * NS_PER_S / self.speed)
        await self.clock.sleep_until_ns(at_ns)


async def inject_faults(client: httpx.AsyncClient, faults: Sequence[Fault], pace: Pace) -> None:
    """Post every fault at its time.

    Raises:
        InputError: a fault hit no target.
        PermanentError: the server refused it for another reason.
    """
    for fault in sorted(faults, key=lambda each: each.at_s):
        await pace.sleep_until(fault.at_s)
        await _post(client, fault)


async def await_trigger(
    client: httpx.AsyncClient,
    trigger: Trigger,
    due: Callable[[ClusterSnapshot], bool],
    *,
    until_s: float,
    pace: Pace,
) -> None:
    """Post the fault once ``due`` says so of the server's snapshot.

    Raises:
        InputError: that never happened until ``until_s``, or the fault hit no target.
        PermanentError: the server refused it for another reason.
    """
    at_s = trigger.fault.at_s
    while at_s <= until_s:
        await pace.sleep_until(at_s)
        answer = await client.get("/admin/snapshot")
        if due(_SNAPSHOT.validate_json(answer.raise_for_status().content)):
            await _post(client, trigger.fault)
            return
        at_s += POLL_S
    raise never_due(trigger, until_s)


def never_due(trigger: Trigger, until_s: float) -> InputError:
    """A condition that never held is a fault that hits nothing."""
    return InputError(
        "the condition never held, so the fault hits nothing",
        path=f"faults: {trigger.fault.kind}: after",
        value=repr(trigger.after.text),
        allowed=f"a condition that holds within {until_s:g} s",
    )


async def _post(client: httpx.AsyncClient, fault: Fault) -> None:
    body: dict[str, Any] = {key: value for key, value in asdict(fault).items() if key != "at_s"}
    answer = await client.post("/admin/faults", json=body)
    if answer.is_success:
        return
    path = f"faults: {fault.kind} at {fault.at_s:g} s"
    if answer.is_client_error:
        raise InputError(f"the fault was not injected: {answer.text}", path=path)
    raise PermanentError(f"{path}: the server answered {answer.status_code}: {answer.text}")
