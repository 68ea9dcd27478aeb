"""Small helpers on plain data."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def section(data: Mapping[str, Any] | None, *keys: str) -> Json:
    """The section below some keys, empty when there is none."""
    here: Any = data
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return dict(here) if isinstance(here, Mapping) else {}


def put(data: Json, value: object, *keys: str) -> None:
    """Set a value below some keys; None, and a section without content, remove it."""
    *parents, last = keys
    if value is None or value in ({}, []):
        here: Any = data
        for key in parents:
            here = here.get(key) if isinstance(here, dict) else None
        if isinstance(here, dict):
            here.pop(last, None)
        return
    for key in parents:
        child = data.get(key)
        data[key] = dict(child) if isinstance(child, dict) else {}
        data = data[key]
    data[last] = copy.deepcopy(value)


def prune(data: Json, key: str) -> None:
    """Remove a section that has become empty."""
    if data.get(key) == {}:
        del data[key]


def dump(value: object) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
