"""Carries out the actions of one pass, in order."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dgdr.operator.api import Api, ApiError
from dgdr.operator.events import EventRecorder
from dgdr.reconcile.actions import Action, Create, Delete, Emit, Json, Patch, Ref, Replace

_log = logging.getLogger(__name__)


class Applier:
    """Turns actions into calls; a failure leaves the rest of the pass undone."""

    def __init__(self, api: Api, events: EventRecorder) -> None:
        self._api = api
        self._events = events

    def apply(self, actions: Iterable[Action]) -> None:
        """Carry out actions in order.

        A patch may name the resourceVersion that the object had before an earlier action
        of this pass changed it.

        Raises:
            ApiError: the first action that failed; the caller tries the whole pass again.
        """
        versions: dict[tuple[Ref, str], str] = {}
        for action in actions:
            if isinstance(action, Create):
                if not self._create(action):
                    return
            elif isinstance(action, Patch):
                self._patch(action, versions)
            elif isinstance(action, Replace):
                self._api.replace(action.data)
            elif isinstance(action, Delete):
                self._delete(action)
            else:
                self._events.record(action)

    def _create(self, action: Create) -> bool:
        """Whether the pass goes on."""
        try:
            self._api.create(action.data)
        except ApiError as error:
            if error.exists:
                return True
            if error.refused and action.rejected is not None:
                instead = action.rejected(str(error))
                self.apply(instead)
                return all(isinstance(step, Emit) for step in instead)
            if action.failed is not None:
                self.apply(action.failed(str(error)))
            raise
        return True

    def _patch(self, action: Patch, versions: dict[tuple[Ref, str], str]) -> None:
        key = (action.ref, action.resource_version)
        version = versions.get(key, action.resource_version)
        change = _with_version(action.change, version)
        result = self._api.patch(action.ref, change, status=action.status)
        versions[key] = str(result["metadata"]["resourceVersion"])

    def _delete(self, action: Delete) -> None:
        try:
            self._api.delete(action.ref, action.uid)
        except ApiError as error:
            if not error.missing:
                raise


def _with_version(change: Json, version: str) -> Json:
    metadata = {**(change.get("metadata") or {}), "resourceVersion": version}
    return {**change, "metadata": metadata}
