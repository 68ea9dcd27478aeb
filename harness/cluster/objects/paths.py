"""The part of JSONPath that printer columns and scale paths use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.cluster.objects.meta import Json

_STEP = re.compile(
    r"""\.(?P<name>[\w/-]+(?:\\\.[\w/-]+)*)      # .name, dots escaped by a backslash
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\] | (?P<dotall>\.\*)
      | \[['"](?P<quoted>[^'"]+)['"]\]
      | \[\?\(@\.(?P<key>[\w.]+)\s*==\s*['"](?P<value>[^'"]*)['"]\)\]
    """,
    re.VERBOSE,
)


def dotted(obj: Json, path: str) -> Json:
    """The value at ``a.b.c`` or ``.a.b.c``, None if absent."""
    for name in path.strip(".").split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj


def set_dotted(obj: dict[str, Any], path: str, value: Json) -> None:
    """Set the value at ``a.b.c``; missing objects on the way are made."""
    *parents, last = path.strip(".").split(".")
    for name in parents:
        obj = obj.setdefault(name, {})
    obj[last] = value


def find_path(obj: Json, path: str) -> Json:
    """The first value at a JSONPath, None if absent or if the path is of another form."""
    return next(_walk(obj, path), None)


def _walk(value: Json, path: str) -> Iterator[Any]:
    if not path:
        yield value
        return
    step = _STEP.match(path)
    if step is None:
        return
    rest = path[step.end() :]
    for item in _children(value, step):
        yield from _walk(item, rest)


def _children(value: Json, step: re.Match[str]) -> Iterator[Any]:
    name = step["name"] or step["quoted"]
    if name is not None:
        key = name.replace("\\.", ".")
        if isinstance(value, dict) and key in value:
            yield value[key]
    elif step["index"] is not None:
        index = int(step["index"])
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]
    elif step["key"] is not None:
        for item in value if isinstance(value, list) else ():
            if str(dotted(item, step["key"])) == step["value"]:
                yield item
    else:
        yield from value.values() if isinstance(value, dict) else value or ()
