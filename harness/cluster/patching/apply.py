"""Server-side apply: merge a configuration, find conflicts, remove what was dropped."""

from __future__ import annotations

from typing import Any

from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import Json, Obj, copied
from harness.cluster.patching.fieldset import (
    MISSING,
    Path,
    Schema,
    decode,
    encode,
    flatten,
    inner_schema,
    item_step,
    remove_at,
    shown,
    value_at,
)
from harness.cluster.patching.managed import Author, entry_key


def apply_config(
    live: Obj | None, config: Obj, schema: Schema, author: Author, *, force: bool
) -> Obj:
    """The object after an apply, with new ``managedFields``.

    Args:
        live: the stored object, None if it is new.
        config: what the manager wants, without ``managedFields``.
        schema: structural schema, tells how lists and maps merge.
        author: the manager.
        force: take over fields of others instead of refusing.

    Raises:
        ApiError: 409, other managers own fields with other values.
    """
    base = live or {}
    entries: list[Obj] = (base.get("metadata") or {}).get("managedFields") or []
    wanted = flatten(config, schema, containers=False)
    own = author.key("Apply")
    others = {index: decode(entry.get("fieldsV1") or {}) for index, entry in enumerate(entries)}
    mine = next((i for i, entry in enumerate(entries) if entry_key(entry) == own), None)
    last = others.pop(mine) if mine is not None else set()
    clashes = _clashes(base, wanted, others)
    if clashes and not force:
        raise _conflict(clashes, entries)
    merged: Obj = _merged(base, config, schema)
    _drop(merged, last - wanted.keys(), wanted.keys() | set().union(*others.values()))
    for path, index in clashes:
        others[index].discard(path)
    fields = encode(wanted)
    result = []
    for index, entry in enumerate(entries):
        if index == mine:
            same = entry.get("fieldsV1") == fields
            result.append(entry if same else author.entry("Apply", fields))
        elif others[index]:
            result.append({**entry, "fieldsV1": encode(others[index])})
    if mine is None:
        result.insert(0, author.entry("Apply", fields))
    merged["metadata"] = {**merged.get("metadata", {}), "managedFields": result}
    return merged


def _clashes(
    base: Obj, wanted: dict[Path, Any], others: dict[int, set[Path]]
) -> list[tuple[Path, int]]:
    found = []
    for path, value in wanted.items():
        if path[-1] == "." or value_at(base, path) == value:
            continue
        for index, owned in others.items():
            inside = any(held[: len(path)] == path for held in owned)
            if path in owned or (inside and value_at(base, path) is not MISSING):
                found.append((path, index))
    return found


def _conflict(clashes: list[tuple[Path, int]], entries: list[Obj]) -> ApiError:
    texts, causes = [], []
    for path, index in clashes:
        entry = entries[index]
        holder = f'conflict with "{entry.get("manager")}"'
        if entry.get("subresource"):
            holder += f' with subresource "{entry["subresource"]}"'
        if entry.get("operation") == "Update":
            holder += f" using {entry.get('apiVersion')}"
        texts.append(f"{holder}: {shown(path)}")
        causes.append({"reason": "FieldManagerConflict", "message": holder, "field": shown(path)})
    many = "conflicts" if len(clashes) > 1 else "conflict"
    listed = texts[0] if len(texts) == 1 else "\n".join(f"- {text}" for text in texts)
    break_ = ": " if len(texts) == 1 else ":\n"
    message = f"Apply failed with {len(clashes)} {many}{break_}{listed}"
    return ApiError(409, "Conflict", message, {"causes": causes})


def _drop(merged: Obj, dropped: set[Path], kept: set[Path]) -> None:
    prefixes = {path[:-1] if path[-1] == "." else path for path in dropped}
    for prefix in sorted(prefixes, key=len):  # an item goes before the fields that identify it
        if not any(other[: len(prefix)] == prefix for other in kept):
            remove_at(merged, prefix)


def _merged(live: Json, config: Json, schema: Schema) -> Json:
    if isinstance(config, dict):
        if not isinstance(live, dict) or schema.get("x-kubernetes-map-type") == "atomic":
            return copied(config)
        result = copied(live)
        for key, value in config.items():
            result[key] = _merged(live.get(key), value, inner_schema(schema, key))
        return result
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(config, list) and isinstance(live, list) and kind in {"map", "set"}:
        return _merged_list(live, config, schema)
    return copied(config)


def _merged_list(live: list[Any], config: list[Any], schema: Schema) -> list[Any]:
    result: list[Any] = copied(live)
    places = {item_step(item, schema): index for index, item in enumerate(result)}
    items = schema.get("items") or {}
    for item in config:
        step = item_step(item, schema)
        if step in places:
            result[places[step]] = _merged(result[places[step]], item, items)
        else:
            places[step] = len(result)
            result.append(copied(item))
    return result
