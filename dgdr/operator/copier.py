"""Brings the profiler's results out of its pod, into a ConfigMap."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from contracts.errors import PermanentError
from dgdr.convert.plain import section
from dgdr.operator.api import Api, ApiError
from dgdr.operator.clock import Clock
from dgdr.operator.resources import CONFIG_MAPS, PODS
from dgdr.operator.settings import CopierEnvironment
from dgdr.reconcile.actions import Json, Ref
from dgdr.reconcile.job import PROFILER
from dgdr.reconcile.names import NAME_LABEL, NAMESPACE_LABEL, job_labels, output_name
from dgdr.reconcile.output import FINAL_CONFIG, PARETO, PHASES, WEBUI
from dgdr.request import API_VERSION, KIND

_log = logging.getLogger(__name__)
STATUS_FILE = "profiler_status.yaml"
# A look is a small file that is read; what another look costs the API is in the other two.
POLL_S, MESSAGE_S, POD_LOOK_S = 0.25, 2.0, 2.0
EXIT_WAIT_S = 120.0
# A ConfigMap holds at most 1 MiB; what does not fit beside the deployment stays out.
_EXTRA_BYTES_MAX = 500_000
_TRIES = 5


class OutputCopier:
    """Follows the status file and mirrors it; see section 5.1 of the DGDR contract."""

    def __init__(self, api: Api, clock: Clock, folder: Path, about: CopierEnvironment) -> None:
        self._api = api
        self._clock = clock
        self._folder = folder
        self._about = about
        self._last: tuple[str, str] | None = None
        self._written_s = 0.0
        self._phases: list[str] = []

    def poll(self) -> int | None:
        """One look; an exit code once the profiler has ended in success or failure."""
        status = self._read_status()
        self._note_phases(status)
        outcome = status.get("status")
        if outcome == "success":
            self._write(self._results(status))
            return 0
        if outcome == "failed":
            error = status.get("error") or status.get("message") or "unknown"
            self._write(self._final(status, "failed") | {"profiler_error": str(error)})
            return 0
        phase, message = str(status.get("phase", "")), str(status.get("message", ""))
        if phase and self._is_news(phase, message):
            self._write({"phase": phase, "message": message, PHASES: " ".join(self._phases)})
            self._last, self._written_s = (phase, message), self._clock.steady_s()
        return None

    def _is_news(self, phase: str, message: str) -> bool:
        """A new phase always is; within a phase, messages are let through now and then."""
        if self._last is None or self._last[0] != phase:
            return True
        return self._last[1] != message and self._clock.steady_s() - self._written_s >= MESSAGE_S

    def profiler_ended(self) -> bool:
        """Whether the profiler container of this pod has terminated."""
        if self._about.pod is None:
            return False
        try:
            pod = self._api.get(
                Ref(
                    api_version=PODS.api_version,
                    kind=PODS.kind,
                    namespace=self._about.namespace,
                    name=self._about.pod,
                )
            )
        except ApiError as error:
            _log.warning("pod %s cannot be read: %s", self._about.pod, error)
            return False
        statuses = section(pod, "status").get("containerStatuses") or []
        return any(
            entry.get("name") == PROFILER and section(entry, "state", "terminated")
            for entry in statuses
        )

    def _note_phases(self, status: Json) -> None:
        """Phases in order; a profiler that keeps no list shows those that were seen."""
        listed = status.get("phases")
        known = [*(listed if isinstance(listed, list) else ()), *self._phases, status.get("phase")]
        self._phases = list(dict.fromkeys(str(phase) for phase in known if phase))

    def _read_status(self) -> Json:
        """The status file; an absent or unfinished one says nothing."""
        try:
            found = yaml.safe_load((self._folder / STATUS_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}

    def _results(self, status: Json) -> dict[str, str]:
        data = self._final(status, "success")
        data[FINAL_CONFIG] = self._file(FINAL_CONFIG) or ""
        for name in (PARETO, WEBUI):
            text = self._file(name)
            if text is not None and len(text.encode()) <= _EXTRA_BYTES_MAX:
                data[name] = text
            elif text is not None:
                _log.warning("%s is too large for the ConfigMap and stays in the pod", name)
        return data

    def _final(self, status: Json, outcome: str) -> dict[str, str]:
        return {
            "phase": str(status.get("phase", "")),
            "message": str(status.get("message", "")),
            PHASES: " ".join(self._phases),
            "profiler_status": outcome,
            STATUS_FILE: self._file(STATUS_FILE) or "",
        }

    def _file(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _write(self, data: dict[str, str]) -> None:
        """Create or update the ConfigMap.

        Raises:
            ApiError: the API refuses.
            PermanentError: other writers keep interfering.
        """
        wanted = self._config_map(data)
        for _ in range(_TRIES):
            try:
                self._api.create(wanted)
            except ApiError as error:
                if not error.exists:
                    raise
            else:
                return
            try:
                self._api.patch(Ref.of(wanted), {"data": data})
            except ApiError as error:
                if not (error.missing or error.conflict):
                    raise
            else:
                return
        raise PermanentError(f"ConfigMap {wanted['metadata']['name']} cannot be written")

    def _config_map(self, data: dict[str, Any]) -> Json:
        about = self._about
        reference = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": about.name,
            "uid": about.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        labels = {NAME_LABEL: about.name, NAMESPACE_LABEL: about.namespace}
        return {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": {
                "name": output_name(about.name),
                "namespace": about.namespace,
                "labels": {**job_labels(about.name), **labels},
                "ownerReferences": [reference],
            },
            "data": data,
        }
