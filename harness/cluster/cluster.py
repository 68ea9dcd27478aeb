"""Puts one cluster together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.cluster.api import Reads, Writes
from harness.cluster.bootstrap import Addresses, Claim, boot, complete_new
from harness.cluster.clock import Clock
from harness.cluster.control.client import Client
from harness.cluster.control.garbage import (
    DefinitionController,
    GarbageCollector,
    NamespaceController,
)
from harness.cluster.control.jobs import JobController
from harness.cluster.control.loop import ControlLoop
from harness.cluster.control.nodes import Inventory, NodeController
from harness.cluster.control.scheduler import Scheduler
from harness.cluster.control.services import ClaimController, ServiceController
from harness.cluster.control.workloads import DeploymentController, ReplicaSetController
from harness.cluster.faults import FaultKind, Faults
from harness.cluster.forward import Forwarder
from harness.cluster.http.app import App, Services
from harness.cluster.http.auth import Tokens
from harness.cluster.http.logs import Logs
from harness.cluster.http.openapi import OpenApi
from harness.cluster.http.proxy import ServiceProxy
from harness.cluster.http.rbac import Rbac
from harness.cluster.http.resources import Resources, Watches
from harness.cluster.http.streams import Streams
from harness.cluster.http.streams.execute import Surroundings as Inside
from harness.cluster.http.subresources import Subresources
from harness.cluster.kinds.registry import CRDS, Registry
from harness.cluster.kubeconfig import kubeconfig_text
from harness.cluster.node.commands import Commands
from harness.cluster.node.environment import Surroundings
from harness.cluster.node.images import DEFAULT_RULES, ImageRule
from harness.cluster.node.kubelet import Kubelet, KubeletSettings
from harness.cluster.node.probes import Prober
from harness.cluster.node.process import Runner
from harness.cluster.node.settings import inherited_environment
from harness.cluster.objects.meta import Obj, name_of, namespace_of, uid_of
from harness.cluster.store import Change, Journal, Store
from harness.cluster.webhooks import AdmissionWebhooks, Caller, ConversionWebhooks

_POD_TOKEN_S = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Options of a cluster.

    Attributes:
        folder: logs, volumes and configuration of pods lie below.
        durable: keep objects in ``folder`` over a crash.
        token: the administrator's; empty lets everybody in.
        url: address of the server, for the configuration that pods get.
        authority: its certificate in PEM.
        seed: makes uids and names.
        backoff_s: wait before the first restart of a failed container or pod of a job.
        evict_s: longest time that pods stay bound to a lost node.
        history: changes kept for watches that resume.
    """

    folder: Path
    durable: bool = False
    token: str = ""
    url: str = "http://127.0.0.1:0"
    authority: str = ""
    seed: int = 0
    inventory: Inventory = field(default_factory=Inventory)
    rules: tuple[ImageRule, ...] = DEFAULT_RULES
    backoff_s: float = 1.0
    evict_s: float = 30.0
    history: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a cluster needs of the world; tests put their own in place.

    Attributes:
        claim: takes ranges of loopback addresses; None puts everything at 127.0.0.1.
    """

    clock: Clock
    runner: Runner
    prober: Prober
    claim: Claim | None


class Cluster:
    """A store, the verbs, the controllers and the application over them.

    Attributes:
        app: the ASGI application.
        loop: the controllers; someone must drive it.
        forwarder: listeners of services; someone must sync it.
    """

    def __init__(self, settings: ClusterSettings, outside: Outside) -> None:
        self.settings = settings
        clock = outside.clock
        journal = Journal(settings.folder / "state") if settings.durable else None
        self.store = Store(journal, history=settings.history)
        self.registry = Registry(self.store.list(CRDS), self._convert)
        self.store.listeners.append(self._follow_definitions)
        self.faults = Faults(clock, settings.seed)
        addresses = Addresses(self.store, outside.claim)
        self.writes = Writes(
            store=self.store,
            registry=self.registry,
            clock=clock,
            seed=str(settings.seed),
            on_create=lambda resource, obj: complete_new(addresses, resource, obj),
        )
        self.tokens = Tokens(settings.token, self.store, clock)
        self.client = Client(writes=self.writes)
        self.kubelet = self._make_kubelet(outside, addresses)
        self.services = ServiceController(self.client)
        caller = Caller(resolve=self.services.resolve)
        self._conversion = ConversionWebhooks(caller=caller)
        self.writes.admission = AdmissionWebhooks(
            store=self.store, registry=self.registry, caller=caller
        )
        self._nodes = NodeController(self.client, self.faults, evict_s=settings.evict_s)
        self.loop = ControlLoop(
            self.store,
            clock,
            [
                NamespaceController(self.client),
                DefinitionController(self.client),
                GarbageCollector(self.client),
                self._nodes,
                JobController(self.client, backoff_s=settings.backoff_s),
                DeploymentController(self.client),
                ReplicaSetController(self.client),
                Scheduler(self.client),
                self.services,
                ClaimController(self.client),
                self.kubelet,
            ],
        )
        self.forwarder = Forwarder(client=self.client, services=self.services)
        self.store.listeners.append(self.forwarder.seen)
        self.watches = Watches(open=set())
        self.faults.actions = {
            FaultKind.DROP_WATCHES: self.watches.drop_all,
            FaultKind.EXPIRE_WATCHES: self._expire_watches,
        }
        self.faults.changed = self._faults_changed
        self.app = self._make_app(clock)
        self.loop.replay(self.store)
        boot(self.client, settings.inventory)

    def close(self) -> None:
        """Kill the processes of all pods and close the files."""
        self.kubelet.stop_all()
        self.forwarder.close()
        self.store.close()

    def _make_kubelet(self, outside: Outside, addresses: Addresses) -> Kubelet:
        settings = self.settings
        surroundings = Surroundings(
            store=self.store, base=inherited_environment(), folder=settings.folder
        )
        commands = Commands(
            client=self.client,
            surroundings=surroundings,
            rules=settings.rules,
            extra=self._credentials,
        )
        options = KubeletSettings(
            commands=commands, backoff_s=settings.backoff_s, address=addresses.pod
        )
        return Kubelet(self.client, options, outside.runner, outside.prober, self.faults)

    def _make_app(self, clock: Clock) -> App:
        reads = Reads(store=self.store)
        rbac = Rbac(self.store)
        logs = Logs(reads=reads, path=self.kubelet.commands.log_path)
        return App(
            Services(
                registry=self.registry,
                tokens=self.tokens,
                rbac=rbac,
                faults=self.faults,
                resources=Resources(
                    reads=reads, writes=self.writes, clock=clock, watches=self.watches
                ),
                subresources=Subresources(writes=self.writes, tokens=self.tokens, rbac=rbac),
                logs=logs,
                streams=Streams(reads=reads, inside=self._inside, output=logs.from_now_on),
                proxy=ServiceProxy(resolve=self.services.resolve),
                openapi=OpenApi(self.registry),
            )
        )

    def _inside(self, pod: Obj, container: str, words: Sequence[str]) -> Inside:
        command = self.kubelet.inside(pod, container, words)
        return Inside(argv=command.argv, env=command.env, folder=command.folder)

    def _convert(self, webhook: Obj, obj: Obj, api_version: str) -> Obj:
        return self._conversion.convert(webhook, obj, api_version)

    def _follow_definitions(self, change: Change) -> None:
        if change.resource == CRDS:
            if change.kind == "DELETED":
                self.registry.drop_definition(name_of(change.obj))
            else:
                self.registry.set_definition(change.obj)

    def _expire_watches(self) -> None:
        self.store.forget_history()
        self.watches.drop_all()

    def _faults_changed(self) -> None:
        for node in self.store.list("nodes"):
            self.loop.queue(self._nodes, "", name_of(node))

    def _credentials(self, pod: Obj) -> dict[str, str]:
        """A configuration with the token of the pod's service account."""
        namespace = namespace_of(pod)
        name = pod["spec"].get("serviceAccountName") or "default"
        account = self.store.get("serviceaccounts", namespace, name)
        if account is None:
            return {}
        token, _ = self.tokens.issue(namespace, name, uid_of(account), _POD_TOKEN_S)
        folder = self.settings.folder / "pods" / uid_of(pod)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "kubeconfig"
        path.touch(mode=0o600)
        text = kubeconfig_text(
            self.settings.url, token, namespace=namespace, authority=self.settings.authority
        )
        path.write_text(text, encoding="utf-8")
        return {"KUBECONFIG": str(path), "POD_NAMESPACE": namespace}
