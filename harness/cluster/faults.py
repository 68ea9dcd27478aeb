"""Faults on purpose: slow or failing requests, dropped watches, lost nodes, bad images.

A fault is a rule that stays until it is removed, has struck ``count`` times, or
``seconds`` have passed. Chance comes from a seeded stream, so a run can be repeated.
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from contracts.errors import InputError
from harness.cluster.clock import Clock
from harness.cluster.objects.errors import ApiError, conflict


class FaultKind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    CONFLICT = "conflict"
    TOO_MANY_REQUESTS = "too-many-requests"
    SERVER_ERROR = "server-error"
    DROP_WATCHES = "drop-watches"
    EXPIRE_WATCHES = "expire-watches"
    NODE_LOSS = "node-loss"
    IMAGE_PULL = "image-pull"
    SLOW_START = "slow-start"


_AT_ONCE = frozenset({FaultKind.DROP_WATCHES, FaultKind.EXPIRE_WATCHES})
_NEEDS_MS = frozenset({FaultKind.LATENCY, FaultKind.SLOW_START})
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_FIELDS = frozenset(
    {"kind", "verbs", "resources", "name", "namespace", "user", "probability", "count", "seconds"}
    | {"ms"}
)


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule.

    Attributes:
        verbs: API verbs that it strikes; empty for all that make sense.
        resources: plurals; empty for all.
        name: glob over the object's name, the node's name, or the image.
        namespace: glob over the namespace.
        user: glob over the user's name.
        probability: 0 to 1, for each request.
        count: strikes left, None without limit.
        until_s: seconds since 1970 at which it ends, None for never.
        ms: milliseconds of delay.
    """

    id: str
    kind: FaultKind
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    name: str = "*"
    namespace: str = "*"
    user: str = "*"
    probability: float = 1.0
    count: int | None = None
    until_s: float | None = None
    ms: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The rule as the admin endpoint shows it."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "verbs": list(self.verbs),
            "resources": list(self.resources),
            "name": self.name,
            "namespace": self.namespace,
            "user": self.user,
            "probability": self.probability,
            "count": self.count,
            "untilUnixSeconds": self.until_s,
            "ms": self.ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """What happens to one request: wait, then fail if there is an error."""

    delay_s: float = 0.0
    error: ApiError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a fault may strike."""

    verb: str = ""
    resource: str = ""
    group: str = ""
    name: str = ""
    namespace: str = ""
    user: str = ""


@dataclass(slots=True)
class Faults:
    """The table of rules.

    Attributes:
        actions: called for faults that happen once, at once.
        changed: called after rules came or went.
    """

    clock: Clock
    seed: int = 0
    actions: dict[FaultKind, Callable[[], None]] = field(default_factory=dict)
    changed: Callable[[], None] = lambda: None
    _rules: dict[str, Fault] = field(default_factory=dict)
    _made: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"faults/{self.seed}")

    def add(self, wanted: dict[str, Any]) -> Fault:
        """Add a rule, or do at once what happens once.

        Raises:
            InputError: names the field that is wrong.
        """
        rule = self._parsed(wanted)
        if rule.kind in _AT_ONCE:
            self.actions[rule.kind]()
        else:
            self._rules[rule.id] = rule
            self.changed()
        return rule

    def remove(self, fault_id: str) -> bool:
        """Remove a rule; False if there is none."""
        found = self._rules.pop(fault_id, None) is not None
        self.changed()
        return found

    def clear(self) -> None:
        """Remove every rule."""
        self._rules.clear()
        self.changed()

    def rules(self) -> list[Fault]:
        """Rules that are still in force."""
        now_s = self.clock.unix_s()
        for rule in list(self._rules.values()):
            if rule.count == 0 or (rule.until_s is not None and rule.until_s <= now_s):
                del self._rules[rule.id]
        return list(self._rules.values())

    def strike(self, target: Target) -> Strike:
        """What happens to a request."""
        delay_s, error = 0.0, None
        for rule in self.rules():
            if not self._hits(rule, target):
                continue
            if rule.kind is FaultKind.LATENCY:
                delay_s += rule.ms / 1000
            elif error is None:
                error = _error(rule.kind, target)
        return Strike(delay_s=delay_s, error=error)

    def active(self, kind: FaultKind, name: str) -> Fault | None:
        """A rule of a kind that is in force for a node or an image; counts as a strike."""
        for rule in self.rules():
            if rule.kind is kind and fnmatch.fnmatchcase(name, rule.name) and self._drawn(rule):
                return rule
        return None

    def _hits(self, rule: Fault, target: Target) -> bool:
        default: Collection[str] = () if rule.kind is not FaultKind.CONFLICT else _WRITES
        if rule.kind not in _REQUESTS or (
            (rule.verbs or default) and target.verb not in (rule.verbs or default)
        ):
            return False
        fits = (not rule.resources or target.resource in rule.resources) and all(
            fnmatch.fnmatchcase(value, pattern)
            for value, pattern in (
                (target.name, rule.name),
                (target.namespace, rule.namespace),
                (target.user, rule.user),
            )
        )
        return fits and self._drawn(rule)

    def _drawn(self, rule: Fault) -> bool:
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        if rule.count is not None:
            rule.count -= 1
        return True

    def _parsed(self, wanted: dict[str, Any]) -> Fault:
        unknown = sorted(set(wanted) - _FIELDS)
        if unknown:
            raise InputError("is unknown", path=unknown[0], allowed=", ".join(sorted(_FIELDS)))
        kinds = {kind.value: kind for kind in FaultKind}
        kind = kinds.get(str(wanted.get("kind")))
        if kind is None:
            raise InputError(
                "is unknown", path="kind", value=str(wanted.get("kind")), allowed=", ".join(kinds)
            )
        self._made += 1
        seconds = _number(wanted, "seconds", None)
        rule = Fault(
            id=f"f{self._made}",
            kind=kind,
            verbs=tuple(wanted.get("verbs") or ()),
            resources=tuple(wanted.get("resources") or ()),
            name=str(wanted.get("name") or "*"),
            namespace=str(wanted.get("namespace") or "*"),
            user=str(wanted.get("user") or "*"),
            probability=_number(wanted, "probability", 1.0) or 0.0,
            count=None if wanted.get("count") is None else int(wanted["count"]),
            until_s=None if seconds is None else self.clock.unix_s() + seconds,
            ms=_number(wanted, "ms", 0.0) or 0.0,
        )
        if kind in _NEEDS_MS and rule.ms <= 0:
            raise InputError("is required for this kind", path="ms", allowed="above 0")
        if rule.probability > 1:
            raise InputError("is out of range", path="probability", allowed="0 to 1")
        return rule


_REQUESTS = frozenset(
    {
        FaultKind.LATENCY,
        FaultKind.CONFLICT,
        FaultKind.TOO_MANY_REQUESTS,
        FaultKind.SERVER_ERROR,
    }
)


def _number(wanted: dict[str, Any], key: str, default: float | None) -> float | None:
    value = wanted.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise InputError("is no number", path=key, value=repr(value), allowed="0 or more")
    return float(value)


def _error(kind: FaultKind, target: Target) -> ApiError:
    if kind is FaultKind.CONFLICT:
        return conflict(target.resource, target.group, target.name)
    if kind is FaultKind.TOO_MANY_REQUESTS:
        message = "the server has received too many requests and has asked us to try again later"
        return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": 1})
    return ApiError(500, "InternalError", "Internal error occurred: injected fault", {})
