"""Where a cluster keeps its files, and whether its server runs."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import PermanentError

_STOP_LIMIT_S = 10.0
READY = "cluster ready "


@dataclass(frozen=True, slots=True)
class Place:
    """One folder: kubeconfig, token, log, state."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """Configuration of the administrator."""
        return self.folder / "kubeconfig"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "server.log"

    @property
    def _state(self) -> Path:
        return self.folder / "server.json"

    def token(self) -> str:
        """The administrator's token, made once."""
        path = self.folder / "token"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        return path.read_text(encoding="utf-8")

    def write_state(self, pid: int, url: str) -> None:
        """Note the server."""
        self._state.write_text(json.dumps({"pid": pid, "url": url}), encoding="utf-8")

    def running(self) -> tuple[int, str] | None:
        """Process id and address of the server, None if it does not answer."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            pid, url = int(state["pid"]), str(state["url"])
            os.kill(pid, 0)
        except (OSError, ValueError, KeyError):
            return None
        return (pid, url) if self._answers(url) else None

    def _answers(self, url: str) -> bool:
        try:
            self.ask(url, "/api")
        except PermanentError:
            return False
        return True

    def ask(self, url: str, path: str, body: object = None, method: str = "GET") -> object:
        """One request as administrator.

        Raises:
            PermanentError: no answer, or a refusal.
        """
        request = urllib.request.Request(
            f"{url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token()}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=5, context=self._trust()) as answer:
                found: object = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise PermanentError(f"the server refused {path}: {text}") from error
        except (OSError, ValueError) as error:
            raise PermanentError(f"the server does not answer at {url}: {error}") from error
        return found

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "tls.crt"))

    def start(self, options: Sequence[str]) -> str:
        """Start the server as a process of its own; returns its address when it answers.

        Raises:
            PermanentError: it does not start; shows the end of its log.
        """
        self.token()
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "harness.cluster",
                    "--folder",
                    str(self.folder),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                start_new_session=True,
            )
        with process.stdout or sink as output:
            line = output.readline().decode(errors="replace").strip()
        if not line.startswith(READY):
            tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
            raise PermanentError(f"the cluster did not start: {line or tail or 'no output'}")
        url = line.removeprefix(READY)
        self.write_state(process.pid, url)
        return url

    def stop(self, pid: int) -> None:
        """End the server and its pods.

        Raises:
            PermanentError: it does not end.
        """
        os.kill(pid, signal.SIGTERM)
        if not asyncio.run(_ended(pid)):
            raise PermanentError(f"process {pid} does not end")
        self._state.unlink(missing_ok=True)


async def _ended(pid: int) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _STOP_LIMIT_S
    while loop.time() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.02)
    return False


def default_folder() -> Path:
    """Where a cluster without ``--data`` keeps what it needs while it runs."""
    return Path(tempfile.gettempdir()) / f"harness-cluster-{getpass.getuser()}"
