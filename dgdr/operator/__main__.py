"""``python -m dgdr.operator``."""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path

from contracts.exits import end_with, end_with_stdin
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import SystemClock
from dgdr.operator.election import LeaseSettings
from dgdr.operator.manager import Manager, ManagerSettings
from dgdr.operator.settings import Environment, environment
from dgdr.operator.webhook import WebhookServer
from dgdr.reconcile.settings import OperatorSettings

_log = logging.getLogger(__name__)
_LOST_LEAD = 4


def main() -> None:
    """Reconcile DynamoGraphDeploymentRequests (and DynamoGraphDeployments)."""
    around = environment()
    given = _parser(around).parse_args()
    logging.basicConfig(
        level=logging.DEBUG if given.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    end_with(lambda: _run(given, around))


def _parser(around: Environment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dgdr.operator", description=main.__doc__)
    add = parser.add_argument
    add("--kubeconfig", help="file; without it the pod's service account")
    add("--context", help="context of the kubeconfig")
    add("--namespace", help="work in this namespace only")
    add("--workers", type=int, default=4, help="passes at the same time per controller")
    add("--leader-elect", action="store_true", help="take part in an election")
    add("--lease-namespace", default=around.namespace)
    add("--lease-duration-s", type=float, default=15.0)
    add("--default-image", help="spec.image of requests that give none")
    add("--profiler-image", help="image that profiles, in place of spec.image")
    add("--profiler-module", default="profiler", help="Python module that profiles")
    add("--copier-image", help="image of the output-copier; default: the profiler's")
    limits = OperatorSettings()
    add("--rapid-deadline-s", type=int, default=limits.rapid_deadline_s)
    add("--thorough-deadline-s", type=int, default=limits.thorough_deadline_s)
    add("--no-discovery", action="store_true", help="GPUs must be given in requests")
    add("--no-setup-access", action="store_true", help="accounts and bindings exist already")
    add("--no-manage-dgd", action="store_true", help="leave deployments to NVIDIA's operator")
    add("--webhook-port", type=int, help="serve conversion and admission (HTTPS) on this port")
    add("--webhook-certs", type=Path, help="folder with tls.crt and tls.key")
    add("--health-port", type=int, help="serve /healthz and /readyz on this port")
    add("--bind-address", default="0.0.0.0", help="address of both ports")
    add("--until-stdin-ends", action="store_true", help="end when standard input does")
    add("--verbose", action="store_true")
    return parser


def _run(given: argparse.Namespace, around: Environment) -> int:
    lease = None
    if given.leader_elect:
        lease = LeaseSettings(
            namespace=given.lease_namespace,
            duration_s=given.lease_duration_s,
            renew_deadline_s=given.lease_duration_s * 2 / 3,
            retry_s=given.lease_duration_s / 7.5,
        )
    operator = _operator_settings(given)
    settings = ManagerSettings(
        operator=operator,
        identity=around.identity,
        namespace=given.namespace,
        workers=given.workers,
        manage_graphs=not given.no_manage_dgd,
        metrics_template=around.metrics_template,
        lease=lease,
    )
    client = KubeClient(given.kubeconfig, given.context)
    manager = Manager(client, SystemClock(), settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: manager.stop())
    if given.until_stdin_ends:
        end_with_stdin()
    servers = _servers(given, operator)
    for server in servers:
        server.start()
    try:
        manager.run()
    finally:
        for server in servers:
            server.close()
    return _LOST_LEAD if manager.lost else 0


def _operator_settings(given: argparse.Namespace) -> OperatorSettings:
    return OperatorSettings(
        default_image=given.default_image,
        profiler_image=given.profiler_image,
        profiler_module=given.profiler_module,
        copier_image=given.copier_image,
        rapid_deadline_s=given.rapid_deadline_s,
        thorough_deadline_s=given.thorough_deadline_s,
        discovery=not given.no_discovery,
        setup_access=not given.no_setup_access,
    )


def _servers(given: argparse.Namespace, settings: OperatorSettings) -> list[WebhookServer]:
    servers = []
    host, certificates = given.bind_address, given.webhook_certs
    if given.health_port is not None:
        servers.append(WebhookServer(given.health_port, host=host))
    if given.webhook_port is not None:
        if certificates is None or (certificates / "tls.crt").exists():
            port = given.webhook_port
            servers.append(WebhookServer(port, certificates, host=host, settings=settings))
        else:
            _log.warning("no certificate in %s: v1alpha1 is not served", certificates)
    return servers


if __name__ == "__main__":
    main()
