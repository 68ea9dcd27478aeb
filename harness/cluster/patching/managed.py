"""Who owns which field, after writes other than apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.cluster.objects.meta import Obj
from harness.cluster.patching.fieldset import MISSING, Schema, decode, encode, flatten


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who writes, for ``managedFields``.

    Attributes:
        manager: the field manager's name.
        subresource: empty for the object itself.
        api_version: version in which the request came.
        now: time of the request.
    """

    manager: str
    subresource: str
    api_version: str
    now: str

    def key(self, operation: str) -> tuple[str, str, str]:
        """What makes an entry this author's."""
        return (self.manager, operation, self.subresource)

    def entry(self, operation: str, fields: Obj) -> Obj:
        """An entry of ``managedFields``."""
        found = {
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
            "manager": self.manager,
            "operation": operation,
            "time": self.now,
        }
        if self.subresource:
            found["subresource"] = self.subresource
        return found


def entry_key(entry: Obj) -> tuple[str, str, str]:
    """Manager, operation and subresource of an entry."""
    return (entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", ""))


def track_update(old: Obj | None, new: Obj, schema: Schema, author: Author) -> list[Obj]:
    """``managedFields`` after a create, update or patch by ``author``."""
    entries: list[Obj] = ((old or {}).get("metadata") or {}).get("managedFields") or []
    before = flatten(old, schema, containers=True) if old else {}
    after = flatten(new, schema, containers=True)
    changed = {path for path, value in after.items() if before.get(path, MISSING) != value}
    removed = before.keys() - after.keys()
    if not changed and not removed:
        return entries
    own = author.key("Update")
    result: list[Any] = []
    fields = set(changed)
    for entry in entries:
        owned = decode(entry.get("fieldsV1") or {}) - removed
        if entry_key(entry) == own:
            fields |= owned
            continue
        left = owned - changed
        if left:
            result.append({**entry, "fieldsV1": encode(left)})
    if fields:
        result.append(author.entry("Update", encode(fields)))
    return result
