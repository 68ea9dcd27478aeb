"""Which deployer, measurer and clock the options name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from contracts.errors import InputError
from contracts.units import ns_to_s
from dgdr import Dgdr
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import SystemClock
from profiler.load import clock as load
from profiler.load.aiperf import aiperf_command, installed
from profiler.thorough.aiperf import AiperfMeasurer, AiperfSettings
from profiler.thorough.doors import doors_of
from profiler.thorough.http import BuiltinMeasurer
from profiler.thorough.kubernetes import KubernetesDeployer, Patience
from profiler.thorough.log import ProfileLog
from profiler.thorough.mock import MockDeployer
from profiler.thorough.options import DeployerKind, Identity, MeasurerKind, ThoroughOptions
from profiler.thorough.ports import Clock, Deployer, Measurer
from profiler.thorough.settings import (
    DEFAULT_NAMESPACE,
    child_environment,
    service_scheme,
)
from profiler.thorough.virtual import SimDeployer, VirtualClock, VirtualMeasurer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a search works with."""

    deployer: Deployer
    measurer: Measurer
    clock: Clock


class WallClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Seconds since an arbitrary instant."""
        return ns_to_s(load.WallClock().now_ns())


@contextmanager
def tools_for(dgdr: Dgdr, options: ThoroughOptions, log: ProfileLog) -> Iterator[Tools]:
    """Tools that are ready while the block is active.

    Raises:
        UnsupportedError: AIPerf is asked for and not installed.
        PermanentError: there is no cluster to talk to.
    """
    if options.deployer is DeployerKind.SIM:
        clock = VirtualClock()
        yield Tools(
            deployer=SimDeployer(clock, options.startup_s, options.timer_for),
            measurer=VirtualMeasurer(clock, options.timer_for),
            clock=clock,
        )
        return
    measurer = _measurer(options, log)
    if options.deployer is DeployerKind.MOCK:
        mock = MockDeployer(speed=options.speed, step_times=options.step_times)
        yield Tools(deployer=mock, measurer=measurer, clock=WallClock())
        return
    api = KubeClient(options.kubeconfig)
    try:
        deployer = _kubernetes(api, dgdr, options, log)
        deployer.remove_leftovers()
        yield Tools(deployer=deployer, measurer=measurer, clock=WallClock())
    finally:
        api.close()


def _kubernetes(
    api: KubeClient, dgdr: Dgdr, options: ThoroughOptions, log: ProfileLog
) -> KubernetesDeployer:
    namespace = dgdr.metadata.namespace or DEFAULT_NAMESPACE
    identity = options.identity or Identity(name=dgdr.metadata.name, namespace=namespace)
    return KubernetesDeployer(
        api,
        dgdr,
        identity,
        doors_of(api, service_scheme()),
        Patience(deployment_s=options.deployment_timeout_s, poll_s=options.poll_s),
        SystemClock(),
        log,
        speed=options.speed,
    )


def _measurer(options: ThoroughOptions, log: ProfileLog) -> Measurer:
    kind = options.measurer
    environment = child_environment()
    command = aiperf_command(environment)
    if kind is MeasurerKind.AUTO:
        # Mockers are measured with the light client: AIPerf needs ten seconds a burst.
        real = options.deployer is DeployerKind.KUBERNETES and installed(command)
        kind = MeasurerKind.AIPERF if real else MeasurerKind.BUILTIN
        log.info("measuring with %s", kind.value)
    if kind is MeasurerKind.BUILTIN:
        return BuiltinMeasurer()
    if options.speed > 1.0:
        raise InputError(
            "is too fast for AIPerf",
            path="--speed", value=str(options.speed), allowed="at most 1, or --measurer builtin",
        )  # fmt: skip
    return AiperfMeasurer(
        AiperfSettings(tokenizer=options.tokenizer, command=command, environment=environment)
    )
