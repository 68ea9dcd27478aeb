"""What a container of a pod is on this machine: a command, its variables and its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.cluster.control.client import Client
from harness.cluster.node.containers import Container
from harness.cluster.node.environment import Surroundings, expanded, linked, relocated
from harness.cluster.node.images import ImageRule, local_command
from harness.cluster.node.process import Command
from harness.cluster.objects.meta import Obj, labels_of, uid_of


@dataclass(slots=True, kw_only=True)
class Commands:
    """Makes the commands of containers.

    Attributes:
        extra: further variables of a pod's containers, for example its credentials.
    """

    client: Client
    surroundings: Surroundings
    rules: Sequence[ImageRule]
    extra: Callable[[Obj], dict[str, str]]

    def folder(self, uid: str) -> Path:
        """Where a pod lives."""
        return self.surroundings.pod_folder(uid)

    def log_path(self, uid: str, container: str, restarts: int) -> Path:
        """Log file of one run of a container."""
        return self.folder(uid) / "logs" / f"{container}.{restarts}.log"

    def exit_file(self, uid: str, container: str, restarts: int) -> Path:
        """File with the exit code of one run of a container."""
        return self.folder(uid) / f"{container}.{restarts}.exit"

    def starting(self, pod: Obj, address: str, container: Container, restarts: int) -> Command:
        """The command that the container's image or the container itself names.

        Raises:
            NoCommandError: neither names one.
            MissingError: something that the container refers to is not there.
        """
        return self._command(pod, address, container, restarts, self.rules)

    def beside(self, pod: Obj, address: str, container: Container, words: Sequence[str]) -> Command:
        """Another command in the surroundings of a container.

        Raises:
            NoCommandError: it is no command.
            MissingError: something that the container refers to is not there.
        """
        spec = {**container.spec, "command": list(words), "args": []}
        changed = replace(container, spec=spec)
        return self._command(pod, address, changed, container.restarts, ())

    def _command(
        self,
        pod: Obj,
        address: str,
        container: Container,
        restarts: int,
        rules: Sequence[ImageRule],
    ) -> Command:
        pod = {**pod, "status": {**(pod.get("status") or {}), "podIP": address}}
        around, uid = self.surroundings, uid_of(pod)
        mounts = around.mounts(pod, container.spec)
        extra = {"POD_IP": address, **self.extra(pod), **self._product(pod)}
        env = around.variables(pod, container.spec, extra)
        ours = {**around.base, **extra}  # true paths of this machine
        spec = dict(container.spec)
        for part in ("command", "args"):
            spec[part] = [
                relocated(expanded(str(word), env), mounts) for word in spec.get(part) or ()
            ]
        values = {"pod_ip": address, "plan": _plan(env, mounts)}
        return Command(
            argv=local_command(spec, rules, values),
            env={
                key: value if ours.get(key) == value else relocated(value, mounts)
                for key, value in env.items()
            },
            folder=self._place(uid, spec.get("workingDir"), mounts),
            log=self.log_path(uid, container.name, restarts),
            exit_file=self.exit_file(uid, container.name, restarts),
        )

    def _product(self, pod: Obj) -> dict[str, str]:
        """Which GPU the node has, for stand-ins of workers."""
        node = self.client.store.get("nodes", "", pod["spec"]["nodeName"]) or {"metadata": {}}
        product = labels_of(node).get("nvidia.com/gpu.product")
        return {"GPU_PRODUCT": product} if product else {}

    def _place(self, uid: str, home: str | None, mounts: dict[str, str]) -> Path:
        """The working directory."""
        place = Path(relocated(home, mounts)) if home else None
        if place is None or not place.is_dir():
            place = self.folder(uid) / "root"
            linked(place, home or "/", mounts)
        return place


def _plan(env: dict[str, str], mounts: dict[str, str]) -> str | None:
    """The deployment plan of a mocker."""
    if env.get("HARNESS_PLAN"):
        return relocated(env["HARNESS_PLAN"], mounts)
    files = (Path(folder) / "plan.json" for folder in mounts.values())
    return next((str(file) for file in files if file.exists()), None)
