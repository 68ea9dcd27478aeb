"""What one pass over a request sees and works on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dgdr.convert.plain import dump
from dgdr.crds.rules import MUTABLE_WHEN_READY
from dgdr.reconcile.actions import Action, Emit, Json, Now, Outcome, Patch, Ref, merge_change
from dgdr.reconcile.hardware import ClusterFacts
from dgdr.reconcile.settings import OperatorSettings
from dgdr.reconcile.status import StatusDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSnapshot:
    """A request and the objects around it, read at one time; None is absent.

    Attributes:
        request: the DynamoGraphDeploymentRequest, v1beta1.
        pods: pods of the profiling Job.
        claim_found: whether the claim of the model cache exists.
        side_maps: ConfigMaps that belong to the generated deployment.
        cluster: facts about GPUs; None when they were not asked for.
    """

    request: Json
    job: Json | None = None
    output: Json | None = None
    deployment: Json | None = None
    pods: tuple[Json, ...] = ()
    claim_found: bool = True
    side_maps: tuple[Json, ...] = ()
    cluster: ClusterFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One look at one request; the draft collects the new status."""

    snapshot: RequestSnapshot
    settings: OperatorSettings
    now: Now
    draft: StatusDraft
    events: list[Emit] = field(default_factory=list)

    @property
    def request(self) -> Json:
        """The request itself."""
        return self.snapshot.request

    @property
    def spec(self) -> Json:
        """The spec of the request."""
        return dict(self.request["spec"])

    @property
    def name(self) -> str:
        """The name of the request."""
        return str(self.request["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The namespace of the request."""
        return str(self.request["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The uid of the request."""
        return str(self.request["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """Counts changes of the spec."""
        return int(self.request["metadata"].get("generation", 0))

    def emit(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an Event once the status is written."""
        self.events.append(
            Emit(regarding=self.request, reason=reason, message=message, warning=warning)
        )

    def change(self, new: Mapping[str, Any]) -> tuple[Patch, ...]:
        """A patch of the request outside its status, nothing when nothing differs."""
        keys = ("metadata", "spec")
        change = merge_change(
            {k: self.request[k] for k in keys}, {k: new.get(k, self.request[k]) for k in keys}
        )
        if not change:
            return ()
        version = str(self.request["metadata"]["resourceVersion"])
        return (Patch(ref=Ref.of(self.request), change=change, resource_version=version),)

    def finish(self, *before: Action, requeue_after_s: float | None = None) -> Outcome:
        """Actions of this pass: the given ones, then the status, then events."""
        return Outcome(
            actions=(*before, *self.draft.patch(), *self.events),
            requeue_after_s=requeue_after_s,
        )


def spec_digest(spec: Mapping[str, Any]) -> str:
    """A fingerprint of everything in a spec that decides what is profiled."""
    kept = {key: value for key, value in spec.items() if key not in MUTABLE_WHEN_READY}
    return hashlib.blake2b(dump(kept).encode(), digest_size=8).hexdigest()


def dgd_name(request: Mapping[str, Any]) -> str:
    """The name of the deployment of a request."""
    override = ((request["spec"].get("overrides") or {}).get("dgd") or {}).get("metadata") or {}
    return str(override.get("name") or f"{request['metadata']['name']}-dgd")
