"""Text to plain data: YAML or JSON, one document, no key given twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from contracts.errors import InputError
from dgdr.problems import raise_problems, render


def parse_document(text: str, *, source: str, kind: str | None = None) -> dict[str, Any]:
    """Return the only document of a YAML or JSON text.

    Args:
        text: YAML or JSON.
        source: origin, named in every error.
        kind: of several documents the only one with this ``kind`` is taken.

    Raises:
        InputError: the text is empty, malformed, holds several documents, gives a key
            twice, or is not a section of keys and values.
    """
    if not text.strip():
        raise _empty(source)
    try:
        data = _parse(text, source, kind)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else None
        raise InputError(
            f"is neither YAML nor JSON: {error.problem or error}",
            source=source,
            path=where,
            value=_line(text, mark.line if mark else None),
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"is neither YAML nor JSON: {error}", source=source) from error
    except RecursionError as error:
        raise InputError("is nested too deeply", source=source) from error
    except ValueError as error:  # for example an integer of thousands of digits
        raise InputError(f"holds a value that cannot be read: {error}", source=source) from error
    if not isinstance(data, dict):
        raise InputError(
            "is not a request",
            source=source,
            value=render(data),
            allowed="a section of keys and values",
        )
    return data


def _parse(text: str, source: str, kind: str | None) -> object:
    if text.lstrip().startswith("{"):
        try:
            return _parse_json(text, source)
        except json.JSONDecodeError:
            pass  # YAML's flow style starts with a brace too
    nodes = list(yaml.compose_all(text, Loader=_Loader))
    filled = [node for node in nodes if node.tag != "tag:yaml.org,2002:null"]
    if not filled:
        raise _empty(source)
    filled = [node for node in filled if _kind(node) == kind] or filled
    if len(filled) > 1:
        raise InputError(
            "holds several documents",
            source=source,
            value=f"{len(filled)} documents",
            allowed="one document",
        )
    raise_problems(list(_node_problems(filled[0], "", source, {})))
    return list(yaml.load_all(text, Loader=_Loader))[nodes.index(filled[0])]


def _kind(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value.value for key, value in node.value if key.value == "kind"), None)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the text, keys given twice included."""


def _parse_json(text: str, source: str) -> object:
    problems: list[InputError] = []
    data = _plain(json.loads(text, object_pairs_hook=_Pairs), "", source, problems)
    raise_problems(problems)
    return data


def _plain(value: object, path: str, source: str, problems: list[InputError]) -> object:
    """A JSON value with ordinary dicts; keys given twice are added to the problems."""
    if isinstance(value, _Pairs):
        found: dict[str, list[object]] = {}
        for key, item in value:
            here = f"{path}.{key}" if path else key
            found.setdefault(key, []).append(_plain(item, here, source, problems))
        problems.extend(_repeated(found, path, source))
        return {key: values[-1] for key, values in found.items()}
    if isinstance(value, list):
        return [_plain(x, f"{path}[{i}]", source, problems) for i, x in enumerate(value)]
    return value


class _Loader(yaml.SafeLoader):
    """Reads scalars as Kubernetes does: dates stay text, 1e3 is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] != "tag:yaml.org,2002:timestamp"]
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


def _node_problems(
    node: yaml.Node, path: str, source: str, done: dict[int, bool]
) -> Iterator[InputError]:
    """Keys given twice and references of a node to itself, anywhere below a node.

    ``done`` maps the nodes seen so far to whether they have been left again; a node that
    is entered while it is open contains itself.
    """
    if id(node) in done:
        if not done[id(node)]:
            yield InputError(
                "refers to itself", source=source, path=path, allowed="aliases of other sections"
            )
        return
    done[id(node)] = False
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _node_problems(item, f"{path}[{index}]", source, done)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, list[object]] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            values.setdefault(key, []).append(_scalar(value_node))
            here = f"{path}.{key}" if path else key
            yield from _node_problems(value_node, here, source, done)
        yield from _repeated(values, path, source)
    done[id(node)] = True


def _scalar(node: yaml.Node) -> object:
    return node.value if isinstance(node, yaml.ScalarNode) else {}


def _repeated(found: Mapping[str, list[object]], path: str, source: str) -> Iterator[InputError]:
    """One error for each key of a section that has more than one value."""
    for key, values in found.items():
        if len(values) > 1:
            shown = ["{...}" if isinstance(x, dict | list) else str(x) for x in values]
            yield InputError(
                f"key {key!r} is given {len(values)} times",
                source=source,
                path=f"{path}.{key}" if path else key,
                value=", ".join(shown),
                allowed="each key once",
            )


def _empty(source: str) -> InputError:
    return InputError(
        "is empty", source=source, value="nothing", allowed="one DynamoGraphDeploymentRequest"
    )


def _line(text: str, number: int | None) -> str | None:
    lines = text.splitlines()
    return render(lines[number].strip()) if number is not None and number < len(lines) else None
