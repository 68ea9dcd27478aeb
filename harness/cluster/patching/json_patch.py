"""RFC 6902."""

from __future__ import annotations

from typing import Any

from harness.cluster.objects.errors import ApiError, bad_request
from harness.cluster.objects.meta import Json, copied


def json_patch(document: Json, operations: Json) -> Json:
    """A patched copy.

    Raises:
        ApiError: 400 for a malformed patch, 422 if it does not fit the document.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    result = copied(document)
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise bad_request("each operation of a JSON patch needs 'op' and 'path'")
        result = _applied(result, operation)
    return result


def _applied(document: Json, operation: dict[str, Any]) -> Json:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if _get(document, path) != operation.get("value"):
            raise _unfit(f"testing value {operation['path']} failed: test failed")
        return document
    if name in {"move", "copy"}:
        source = _pointer(operation.get("from", ""))
        value = copied(_get(document, source))
        if name == "move":
            document = _remove(document, source)
        return _add(document, path, value)
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        _get(document, path)
        return _replace(document, path, copied(operation.get("value")))
    if name == "add":
        return _add(document, path, copied(operation.get("value")))
    raise bad_request(f"Unexpected kind: {name}")


def _unfit(message: str) -> ApiError:
    return ApiError(
        422,
        "Invalid",
        f"the server rejected our request due to an error in our request: {message}",
        {},
    )


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise bad_request(f"JSON pointer must begin with '/': {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Json, path: list[str]) -> Json:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            raise _unfit(f"the path /{'/'.join(path)} does not exist")
    return document


def _add(document: Json, path: list[str], value: Json) -> Json:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        index = len(parent) if last == "-" else int(last) if last.isdigit() else -1
        if not 0 <= index <= len(parent):
            raise _unfit(f"index {last} is out of range")
        parent.insert(index, value)
    else:
        raise _unfit(f"the path /{'/'.join(path)} does not exist")
    return document


def _replace(document: Json, path: list[str], value: Json) -> Json:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    parent[int(last) if isinstance(parent, list) else last] = value
    return document


def _remove(document: Json, path: list[str]) -> Json:
    _get(document, path)
    if not path:
        return None
    parent, last = _get(document, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document
