"""One active operator at a time, by a Lease."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from dgdr.operator.api import Api, ApiError
from dgdr.operator.clock import Clock
from dgdr.operator.resources import LEASES
from dgdr.reconcile.actions import Json, Ref
from dgdr.reconcile.times import to_micro_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """Where the Lease is and how long it lasts, in seconds."""

    namespace: str
    name: str = "dgdr-operator"
    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


class LeaderElector:
    """Takes the Lease when it is free or has run out, and renews it.

    Whether it has run out is judged by how long its content has not changed on the clock
    of this process, so that clocks of machines need not agree.
    """

    def __init__(self, api: Api, clock: Clock, identity: str, settings: LeaseSettings) -> None:
        self._api = api
        self._clock = clock
        self._identity = identity
        self._settings = settings
        self._seen: tuple[object, object] | None = None
        self._seen_s = 0.0
        self._renewed_s: float | None = None

    @property
    def leads(self) -> bool:
        """Whether the Lease was renewed recently enough to act on it."""
        if self._renewed_s is None:
            return False
        age_s = self._clock.steady_s() - self._renewed_s
        return age_s < self._settings.renew_deadline_s

    def step(self) -> bool:
        """Try to take or renew the Lease; returns whether this process leads."""
        before_s = self._clock.steady_s()
        try:
            if self._try():
                self._renewed_s = before_s
            else:
                self._renewed_s = None
        except ApiError as error:
            _log.warning("lease %s: %s", self._settings.name, error)
        return self.leads

    def run(self, stop: threading.Event, started: threading.Event) -> None:
        """Take the lead, hold it, and return once it is lost or the work is over."""
        while not stop.is_set():
            if self.step():
                started.set()
            elif started.is_set():
                _log.error("lost lease %s", self._settings.name)
                return
            self._clock.wait(stop, self._settings.retry_s)

    def release(self) -> None:
        """Give the Lease up, so that another one need not wait for it."""
        found = self._api.get(self._ref())
        if found is None or found["spec"].get("holderIdentity") != self._identity:
            return
        spec = {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        self._renewed_s = None
        self._api.replace({**found, "spec": spec})

    def _try(self) -> bool:
        found = self._api.get(self._ref())
        now = to_micro_text(self._clock.unix_s())
        mine = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._settings.duration_s),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        try:
            if found is None:
                self._api.create(self._lease(mine))
                return True
            spec = found.get("spec") or {}
            holder = spec.get("holderIdentity") or ""
            self._observe((holder, spec.get("renewTime")))
            if holder == self._identity:
                mine |= {k: spec[k] for k in ("acquireTime", "leaseTransitions") if k in spec}
            elif holder and not self._ran_out(spec):
                return False
            else:
                mine["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            self._api.replace({**found, "spec": mine})
        except ApiError as error:
            if error.conflict or error.exists:
                return False
            raise
        return True

    def _observe(self, content: tuple[object, object]) -> None:
        if content != self._seen:
            self._seen, self._seen_s = content, self._clock.steady_s()

    def _ran_out(self, spec: Json) -> bool:
        duration_s = float(spec.get("leaseDurationSeconds") or self._settings.duration_s)
        return self._clock.steady_s() - self._seen_s >= duration_s

    def _lease(self, spec: Json) -> Json:
        ref = self._ref()
        metadata = {"name": ref.name, "namespace": ref.namespace}
        return {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "metadata": metadata,
            "spec": spec,
        }

    def _ref(self) -> Ref:
        return Ref(
            api_version=LEASES.api_version,
            kind=LEASES.kind,
            namespace=self._settings.namespace,
            name=self._settings.name,
        )
