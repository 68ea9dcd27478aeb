"""One pass over an object: decide on the cache, and again on the API where it matters."""

from __future__ import annotations

from collections.abc import Callable

from dgdr.operator.api import Reader
from dgdr.operator.apply import Applier
from dgdr.reconcile.actions import Action, Emit, Outcome, Patch

_DECISIVE = ("phase", "state")

Decide = Callable[[Reader], Outcome | None]


class Passes:
    """Runs passes.

    A decision that was made on the cache is carried out only if a stale view could do no
    harm: it writes progress into the status of the object, with the resourceVersion that
    it was decided on, or Events. Whatever creates, replaces, deletes, changes a spec or
    turns the phase is decided again on what the API itself says. After a pass that failed
    the cache is not trusted: the next pass of the object reads from the API.

    Args:
        reader: the API itself.
        cache: may be the same, then every pass reads from the API.
    """

    def __init__(self, reader: Reader, cache: Reader, applier: Applier) -> None:
        self._reader = reader
        self._cache = cache
        self._applier = applier
        self._doubted: set[str] = set()

    def run(self, key: str, decide: Decide) -> float | None:
        """One pass; returns the seconds after which to look again, if at all.

        Raises:
            ApiError: the pass has to be repeated.
        """
        trusted = key not in self._doubted
        self._doubted.add(key)  # until this pass has ended well
        outcome = self._decided(decide, trusted=trusted)
        if outcome is not None:
            self._applier.apply(outcome.actions)
        self._doubted.discard(key)
        return None if outcome is None else outcome.requeue_after_s

    def _decided(self, decide: Decide, *, trusted: bool) -> Outcome | None:
        if trusted and self._cache is not self._reader:
            outcome = decide(self._cache)
            if outcome is None or all(_harmless(action) for action in outcome.actions):
                return outcome
        return decide(self._reader)


def _harmless(action: Action) -> bool:
    if isinstance(action, Patch):
        status = action.change.get("status") or {}
        return action.status and not any(key in status for key in _DECISIVE)
    return isinstance(action, Emit)
