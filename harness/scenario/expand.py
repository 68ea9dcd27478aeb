"""One file, many runs: files that it includes, the cells of its matrix, repeats."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from harness.scenario.problems import render
from harness.scenario.schema import CELLS_MAX

Document = dict[str, Any]

# Short names of matrix axes; everything else is a dotted path into the file.
AXES = {
    "model": "deploy.set.spec.model",
    "sku": "deploy.set.spec.hardware.gpuSku",
    "backend": "deploy.set.spec.backend",
    "router": "deploy.router",
    "topology": "deploy.topology",
    "planner": "planner.enabled",
    "rate_per_s": "workload.synthetic.arrivals.rate_per_s",
}
# Where the name of a file stands.
FILE_KEYS = (
    "deploy.dgdr",
    "deploy.model_config",
    "deploy.gpu_file",
    "deploy.step_table",
    "workload.trace.path",
)
_NAME_MAX = 60
_INCLUDES_MAX = 8


def merged(document: Document, path: Path, read: Callable[[Path], Document]) -> Document:
    """The file on top of the files that it includes; sections merge, all else is replaced.

    Paths inside an included file count from the folder of the file that includes it.

    Args:
        document: content of the file.
        path: where it is.
        read: reads an included file.

    Raises:
        InputError: an included file is missing, or files include each other.
    """
    return _merged(document, path, read, (path.resolve(),))


def _merged(
    document: Document, path: Path, read: Callable[[Path], Document], chain: tuple[Path, ...]
) -> Document:
    below: Document = {}
    for index, name in enumerate(document.get("include", ())):
        where = f"include[{index}]"
        if not isinstance(name, str):
            raise InputError("has the wrong type", path=where, value=render(name), allowed="text")
        target = (path.parent / name).resolve()
        if target in chain or len(chain) > _INCLUDES_MAX:
            raise InputError("files include each other", path=where, value=render(name))
        if not target.is_file():
            raise InputError(f"no such file: {target}", path=where, value=render(name))
        below = overlay(below, _merged(read(target), target, read, (*chain, target)))
    own = {key: value for key, value in document.items() if key != "include"}
    return overlay(below, own)


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> Document:
    """``above`` on ``below``: sections merge unless their kinds differ; all else is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _alike(old, value):
            result[key] = overlay(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _alike(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))


def cells(document: Document) -> Iterator[Document]:
    """Every combination of the matrix as a document of its own, named after its values.

    Raises:
        InputError: an axis leads nowhere, or there are too many combinations.
    """
    plain = {key: value for key, value in document.items() if key != "matrix"}
    axes: dict[str, list[Any]] = document.get("matrix", {})
    count = math.prod(len(values) for values in axes.values())
    if count > CELLS_MAX:
        raise InputError(
            "has too many combinations", path="matrix", value=str(count), allowed=f"{CELLS_MAX}"
        )
    for combination in itertools.product(*axes.values()):
        cell = copy.deepcopy(plain)
        for axis, value in zip(axes, combination, strict=True):
            put(cell, AXES.get(axis, axis), value, where=f"matrix.{axis}")
        if axes and isinstance(plain.get("name"), str):
            cell["name"] = _cell_name(plain["name"], axes, combination)
        yield cell


def put(document: Document, path: str, value: object, *, where: str) -> None:
    """Set what a dotted path names; ``[n]`` and plain numbers count in lists.

    Below ``deploy.set`` and ``planner.set`` the rest of the path is one key.

    Raises:
        InputError: the path leads through something that is no section or list.
    """
    for prefix in ("deploy.set.", "planner.set."):
        if path.startswith(prefix):
            section = document.setdefault(prefix.split(".", maxsplit=1)[0], {})
            section.setdefault("set", {})[path.removeprefix(prefix)] = value
            return
    *parents, last = [part for part in re.split(r"[.\[\]]", path) if part]
    here: Any = document
    for part in parents:
        here = _step(here, part, path, where)
    if isinstance(here, dict):
        here[last] = value
    elif isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    else:
        raise InputError("leads nowhere", path=where, value=repr(path))


def _step(here: Any, part: str, path: str, where: str) -> Any:  # noqa: ANN401 - plain YAML
    if isinstance(here, dict):
        return here.setdefault(part, {})
    if isinstance(here, list) and part.isdigit() and int(part) < len(here):
        return here[int(part)]
    raise InputError("leads nowhere", path=where, value=repr(path))


def _cell_name(name: str, axes: Mapping[str, list[Any]], combination: tuple[Any, ...]) -> str:
    """The name and a slug of each value; a position where the value is no plain word."""
    slugs = []
    for values, value in zip(axes.values(), combination, strict=True):
        plain = isinstance(value, str | int | float)
        text = str(value).rsplit("/", 1)[-1] if plain else str(values.index(value) + 1)
        slugs.append(re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"))
    return "-".join([name, *slugs])[:_NAME_MAX].strip("-")


def file_names(document: Mapping[str, Any]) -> Iterator[str]:
    """Names of the files that a merged file needs, those in its matrix too."""
    matrix = document.get("matrix")
    placed = [("", document)]
    for axis, values in matrix.items() if isinstance(matrix, Mapping) else ():
        place = AXES.get(str(axis), str(axis))
        placed += [(place, value) for value in (values if isinstance(values, list) else ())]
    for place, value in placed:
        for key in FILE_KEYS:
            if not place or key == place or key.startswith(f"{place}."):
                found = _at(value, key.removeprefix(place).strip("."))
                if isinstance(found, str):
                    yield found


def _at(value: object, path: str) -> object:
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
