"""The rungs as backends: what each can do, and which object runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from contracts.errors import UnsupportedError
from contracts.plan import RouterPolicy
from harness.run.aiperf import without_aiperf
from harness.run.kube.limits import EMBEDDED_FAULTS, check_topology, missing_on_kube
from harness.run.mock import MockBackend
from harness.run.prepare import Prepared
from harness.run.sim import SimBackend
from harness.run.vmock import VirtualMockBackend, refuse_unsent
from harness.run.workload import Offered
from harness.scenario import LoadDriver, Rung, Scenario
from harness.scenario.fault_sections import CONTROL_FAULTS, FAULT_KINDS, TRAFFIC_FAULTS
from harness.store import RungRun

Progress = Callable[[str, int, int], None]


class Backend(Protocol):
    """Runs the traffic of one seed on one rung."""

    def run(self, prepared: Prepared, offered: Offered, seed: int, progress: Progress) -> RungRun:
        """Run to the end and return everything that happened."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a rung offers; a scenario that asks for more is refused before it starts.

    Attributes:
        reacts: conversations and closed loops wait for the answers of this rung; otherwise
            it sends what they send in a simulation.
        hidden: figures of conditions that its records do not have.
    """

    faults: frozenset[str]
    routers: frozenset[str]
    scaling: bool
    reacts: bool
    hidden: frozenset[str] = frozenset()


CAPABILITIES = {
    Rung.SIM: Capabilities(
        faults=frozenset(FAULT_KINDS),
        reacts=True,
        routers=frozenset(policy.value for policy in RouterPolicy),
        scaling=True,
    ),
    Rung.VMOCK: Capabilities(
        faults=frozenset(FAULT_KINDS),
        reacts=False,
        routers=frozenset(policy.value for policy in RouterPolicy),
        scaling=True,
    ),
    Rung.MOCK: Capabilities(
        faults=frozenset({"worker_crash", *CONTROL_FAULTS, *TRAFFIC_FAULTS}),
        reacts=False,
        # Its requests are recorded by the client, who does not see the inside of the server.
        hidden=frozenset({"requests.retried", "requests.preempted"}),
        routers=frozenset({RouterPolicy.LEAST_LOADED.value, RouterPolicy.ROUND_ROBIN.value}),
        scaling=True,
    ),
    Rung.KUBE: Capabilities(
        faults=frozenset({"worker_crash", *EMBEDDED_FAULTS, *TRAFFIC_FAULTS}),
        reacts=False,
        hidden=frozenset({"requests.retried", "requests.preempted"}),
        # Dynamo has no router by session.
        routers=frozenset(p.value for p in RouterPolicy if p is not RouterPolicy.SESSION_AFFINITY),
        scaling=True,
    ),
}


def _kube() -> Backend:
    """Its libraries are large, and only this rung needs them."""
    from harness.run.kube.backend import KubeBackend

    return KubeBackend()


_BACKENDS: dict[Rung, Callable[[], Backend]] = {
    Rung.SIM: SimBackend,
    Rung.VMOCK: VirtualMockBackend,
    Rung.MOCK: MockBackend,
    Rung.KUBE: _kube,
}


def make_backend(rung: Rung) -> Backend:
    """The object that runs a rung."""
    return _BACKENDS[rung]()


def check_traffic(offered: Offered, rung: Rung) -> None:
    """Refuse traffic that a rung cannot send as it is.

    Raises:
        UnsupportedError: names the rung and what is missing.
    """
    if rung in (Rung.VMOCK, Rung.KUBE):
        refuse_unsent(offered.traffic, rung=rung.value)


def check_rung(prepared: Prepared, offered: Offered, rung: Rung) -> None:
    """Refuse a deployment or traffic that a rung cannot run as it is.

    Raises:
        UnsupportedError: names the rung and what is missing.
    """
    check_traffic(offered, rung)
    if rung is Rung.KUBE:
        check_topology(prepared)


def check_capabilities(scenario: Scenario, rungs: tuple[Rung, ...]) -> None:
    """Refuse what a rung cannot do.

    Raises:
        UnsupportedError: names the rung and what is missing.
    """
    for rung in rungs:
        offered = CAPABILITIES[rung]
        kinds = scenario.fault_kinds - offered.faults
        missing = [f"the fault {kind}" for kind in sorted(kinds)]
        if scenario.deploy.router.value not in offered.routers:
            missing.append(f"the router {scenario.deploy.router.value}")
        if scenario.planner.enabled and not offered.scaling:
            missing.append("a planner that scales")
        conditions = (*scenario.expect.sometimes, *scenario.expect.never)
        asked = {term.figure for condition in conditions for term in condition.terms}
        missing += [f"the figure {name}" for name in sorted(asked & offered.hidden)]
        if rung is Rung.MOCK and scenario.mock.driver is LoadDriver.AIPERF:
            missing += without_aiperf(scenario)
        if rung is Rung.KUBE:
            missing += missing_on_kube(scenario)
        if missing:
            raise UnsupportedError(f"rung {rung.value} does not support {', '.join(missing)}")
