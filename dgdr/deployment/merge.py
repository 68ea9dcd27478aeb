"""Merges a partial Kubernetes object over a complete one, as their schemas say.

Maps are merged key by key. Lists whose schema gives them a key (``x-kubernetes-list-type:
map``, and the pod lists that Kubernetes itself merges by key) are merged entry by entry; all
other lists are atomic and replaced. Scalars are replaced. Nothing is ever removed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from contracts.errors import InputError
from dgdr.problems import render

# Keys of list entries by the name of the list, in pods and in both versions of a deployment.
LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "components", "pvcs", "envs", "env", "containers", "initContainers", "volumes",
            "ephemeralContainers", "imagePullSecrets", "schedulingGates", "resourceClaims",
            "claims",
        ),
        ("name",),
    ),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "volumeDevices": ("devicePath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}  # fmt: skip
_MOUNT_KEYS = ("mountPath", "mountPoint")
_DEFAULTS = {"protocol": "TCP"}
# Entries with one source of several kinds: another kind takes the place of the first.
_ONE_SOURCE = ("volumes", "env", "envs")


def merged(base: Any, partial: Any, name: str = "") -> Any:  # noqa: ANN401 - plain data
    """A copy of plain data with a partial one laid over it.

    Args:
        base: the complete data.
        partial: what it changes and adds.
        name: of the list or section, which decides on the keys of its entries.
    """
    if isinstance(base, Mapping) and isinstance(partial, Mapping):
        result = {key: copy.deepcopy(value) for key, value in base.items()}
        for key, value in partial.items():
            result[key] = merged(base.get(key), value, key)
        return result
    if isinstance(base, list) and isinstance(partial, list) and _is_keyed(name):
        return _merged_entries(base, partial, name)
    return copy.deepcopy(partial)


def key_problems(value: object, path: str, name: str = "") -> Iterator[InputError]:
    """Entries of keyed lists without their key or with the key of another one."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from key_problems(item, f"{path}.{key}", str(key))
    if not isinstance(value, list):
        return
    seen: dict[object, int] = {}
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        if _is_keyed(name):
            yield from _entry_problems(item, here, name, seen, index)
        yield from key_problems(item, here)


def _entry_problems(
    item: object, path: str, name: str, seen: dict[object, int], index: int
) -> Iterator[InputError]:
    words = " and ".join(_key_names(item, name))
    if not isinstance(item, Mapping):
        yield InputError(
            "has the wrong type", path=path, value=render(item), allowed=f"a section with {words}"
        )
        return
    key = _key(item, name)
    if None in key:
        yield InputError(
            f"needs {words}, by which entries are merged",
            path=path,
            value=render(item),
            allowed=f"a section with {words}",
        )
    elif key in seen:
        yield InputError(
            f"is given twice, first as {name}[{seen[key]}]",
            path=path,
            value=render(dict(zip(_key_names(item, name), key, strict=True))),
            allowed="each entry once",
        )
    else:
        seen[key] = index


def _is_keyed(name: str) -> bool:
    return name in LIST_KEYS or name == "volumeMounts"


def _key_names(item: object, name: str) -> tuple[str, ...]:
    if name != "volumeMounts":
        return LIST_KEYS[name]
    legacy = isinstance(item, Mapping) and "mountPoint" in item
    return _MOUNT_KEYS[1:] if legacy else _MOUNT_KEYS[:1]


def _key(item: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    return tuple(item.get(part, _DEFAULTS.get(part)) for part in _key_names(item, name))


def _merged_entries(base: list[Any], partial: list[Any], name: str) -> list[Any]:
    """Entries of the base in their order, changed, then the new ones in theirs."""
    result = copy.deepcopy(base)
    places = {_key(item, name): index for index, item in enumerate(result)}
    for item in partial:
        key = _key(item, name)
        if key not in places:
            places[key] = len(result)
            result.append(copy.deepcopy(item))
        elif name in _ONE_SOURCE and _source(item) != _source(result[places[key]]):
            result[places[key]] = copy.deepcopy(item)
        else:
            result[places[key]] = merged(result[places[key]], item)
    return result


def _source(item: Mapping[str, Any]) -> set[str]:
    return set(item) - {"name"}
