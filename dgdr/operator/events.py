"""Events about objects: the same event twice is one object with a count of two."""

from __future__ import annotations

import hashlib
import logging

from dgdr.operator.api import Api, ApiError
from dgdr.operator.clock import Clock
from dgdr.operator.resources import EVENTS
from dgdr.reconcile.actions import Emit, Json, Ref
from dgdr.reconcile.times import to_text

_log = logging.getLogger(__name__)
COMPONENT = "dgdr-operator"
_MESSAGE_LENGTH_MAX = 1000


class EventRecorder:
    """Writes Events; one that cannot be written is logged, work goes on."""

    def __init__(
        self, api: Api, clock: Clock, identity: str, *, component: str = COMPONENT
    ) -> None:
        self._api = api
        self._clock = clock
        self._identity = identity
        self._component = component

    def record(self, event: Emit) -> None:
        """Create the Event, or count it up when it is there."""
        data = self._render(event)
        try:
            self._api.create(data)
        except ApiError as error:
            if error.exists:
                self._count_up(data)
            else:
                _log.warning("event %s could not be written: %s", event.reason, error)

    def _count_up(self, data: Json) -> None:
        ref = Ref.of(data)
        try:
            found = self._api.get(ref)
            if found is not None:
                count = int(found.get("count") or 1) + 1
                change = {"count": count, "lastTimestamp": data["lastTimestamp"]}
                self._api.patch(ref, change)
        except ApiError as error:
            _log.warning("event %s could not be counted: %s", data["reason"], error)

    def _render(self, event: Emit) -> Json:
        metadata = event.regarding["metadata"]
        namespace = metadata.get("namespace", "default")
        message = event.message[:_MESSAGE_LENGTH_MAX]
        content = "\n".join((str(metadata.get("uid")), event.reason, message))
        digest = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        now = to_text(self._clock.unix_s())
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": event.regarding["apiVersion"],
                "kind": event.regarding["kind"],
                "name": metadata["name"],
                "namespace": namespace,
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._identity,
        }
