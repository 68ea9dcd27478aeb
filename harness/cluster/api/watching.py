"""Watch: what a reader sees of the changes of a resource."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from harness.cluster.api.convert import to_served
from harness.cluster.api.reads import Wanted, parsed_version
from harness.cluster.objects.errors import ApiError, FieldProblem, expired, future_version, invalid
from harness.cluster.objects.meta import Obj
from harness.cluster.store import Change, Store

INITIAL_END = "k8s.io/initial-events-end"


class Watcher:
    """One watch; hand out ``start()`` first, then ``pending()`` again and again.

    Both go on where they were when they are called again after ``AnswersMissing``.

    Args:
        store: where changes come from.
        wanted: what to watch.
        version: ``resourceVersion`` of the query; empty or ``0`` starts with what exists.
        initial: ``sendInitialEvents``.

    Raises:
        ApiError: 400, 410 or 504.
    """

    def __init__(
        self, store: Store, wanted: Wanted, version: str = "", *, initial: bool = False
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._match = wanted.match()
        self._send_state = initial or version in {"", "0"}
        self._initial = initial
        after = None if self._send_state else parsed_version(version)
        if after is not None and after > store.version:
            raise future_version(after, store.version)
        self._first: deque[Obj] = deque()
        self._changes: deque[Change] = deque()
        self.subscription = store.subscribe(wanted.resource.storage, after)

    def start(self) -> Iterator[Obj]:
        """Events for what exists already, if the reader asked for it."""
        resource = self._wanted.resource
        if self._send_state:
            self._send_state = False
            self._first.extend(self._store.list(resource.storage, self._wanted.namespace))
        while self._first:
            served = to_served(resource, self._first[0])
            self._first.popleft()
            if self._match(served):
                yield {"type": "ADDED", "object": served}
        if self._initial:
            self._initial = False
            yield self.bookmark(annotations={INITIAL_END: "true"})

    def pending(self) -> Iterator[Obj]:
        """Events since the last call.

        Raises:
            ApiError: 410, the reader fell behind.
        """
        self._changes.extend(self.subscription.taken())
        while self._changes:
            event = self._event(self._changes[0])
            self._changes.popleft()
            if event is not None:
                yield event
        if self.subscription.lost:
            raise expired(self._store.oldest, self._store.version)

    def bookmark(self, annotations: dict[str, str] | None = None) -> Obj:
        """An event that only carries the present version."""
        resource = self._wanted.resource
        metadata: Obj = {"resourceVersion": str(self._store.version)}
        if annotations:
            metadata["annotations"] = annotations
        found = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": found}

    def close(self) -> None:
        """Stop following."""
        self._store.unsubscribe(self.subscription)

    def _event(self, change: Change) -> Obj | None:
        resource = self._wanted.resource
        obj = to_served(resource, change.obj)
        before = change.previous is not None and self._match(to_served(resource, change.previous))
        now = change.kind != "DELETED" and self._match(obj)
        if now:
            return {"type": "MODIFIED" if before else "ADDED", "object": obj}
        if before:
            return {"type": "DELETED", "object": obj}
        return None


def check_initial(version_match: str) -> None:
    """Refuse ``sendInitialEvents`` without the match that it needs.

    Raises:
        ApiError: 422.
    """
    if version_match != "NotOlderThan":
        text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        problem = FieldProblem("FieldValueForbidden", "resourceVersionMatch", text)
        raise invalid("ListOptions", "meta.k8s.io", "", [problem])


def gone(error: ApiError) -> Obj:
    """The event that ends a watch whose version is out of reach."""
    return {"type": "ERROR", "object": error.status()}
