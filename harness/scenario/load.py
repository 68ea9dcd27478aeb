"""Reads a scenario file: YAML, then the schema, then what only makes sense as a whole."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.errors import CombinedInputError, InputError
from contracts.files import unreadable
from harness.scenario.convert import in_file, to_scenario
from harness.scenario.expand import Document, cells, file_names, merged
from harness.scenario.model import Scenario
from harness.scenario.problems import input_errors, render
from harness.scenario.schema import FrameSection, ScenarioFile


def load_scenario(path: Path) -> Scenario:
    """Return the validated scenario of a file without a matrix.

    Raises:
        InputError: the file or a file it refers to is missing or wrong, or it has a matrix; a
            :class:`CombinedInputError` lists every finding.
    """
    scenarios = load_scenarios(path)
    if len(scenarios) > 1:
        raise InputError(
            "stands for several scenarios, one is wanted here",
            source=str(path),
            path="matrix",
            value=f"{len(scenarios)} combinations",
        )
    return scenarios[0]


def load_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Return every cell of a scenario file; one when it has no matrix.

    Raises:
        InputError: as for :func:`load_scenario`.
    """
    source, text = str(path), _read(path)
    data = _parse(text, source)
    _check_frame(data, source)
    try:
        whole = merged(data, path, _read_included)
        documents = list(cells(whole))
    except InputError as error:
        raise in_file(error, error.source or source) from error
    return tuple(scenario_from(document, path, text=text) for document in documents)


def files_of(path: Path) -> tuple[Path, ...]:
    """Every file that a scenario file needs: those it includes, and those they name; absolute.

    Raises:
        InputError: the file or one that it includes cannot be read.
    """
    source, data = str(path), _parse(_read(path), str(path))
    _check_frame(data, source)
    found: dict[Path, None] = {}

    def read(target: Path) -> Document:
        found[target] = None
        return _read_included(target)

    try:
        whole = merged(data, path, read)
    except InputError as error:
        raise in_file(error, error.source or source) from error
    folder = path.resolve().parent
    return tuple(found | {(folder / name).resolve(): None for name in file_names(whole)})


def scenario_from(document: Document, path: Path, *, text: str | None = None) -> Scenario:
    """Return the scenario of a document without includes or matrix.

    Args:
        document: what the file would hold.
        path: where the file is or would be; paths in it start from its folder.
        text: the file as read; by default the document as YAML.

    Raises:
        InputError: as for :func:`load_scenario`.
        UnsupportedError: likewise.
    """
    source = str(path)
    try:
        parsed = ScenarioFile.model_validate(document)
    except ValidationError as error:
        raise input_errors(error, ScenarioFile, source) from error
    if text is None:
        text = yaml.safe_dump(document, sort_keys=False)
    return to_scenario(parsed, path.resolve(), text, source, document)


def _check_frame(data: Document, source: str) -> None:
    try:
        FrameSection.model_validate(
            {key: value for key, value in data.items() if key in FrameSection.model_fields}
        )
    except ValidationError as error:
        raise input_errors(error, FrameSection, source) from error


def _read_included(path: Path) -> Document:
    data = _parse(_read(path), str(path))
    _check_frame(data, str(path))
    return data


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError("no such scenario file", source=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=str(path)) from error


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else None
        raise InputError(f"is not YAML: {error.problem}", source=source, path=where) from error
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", source=source) from error
    if not isinstance(data, dict):
        raise InputError(
            "is not a scenario", source=source, value=render(data), allowed="keys and values"
        )
    problems = [
        InputError("keys must be text", source=source, value=render(key))
        for key in data
        if not isinstance(key, str)
    ]
    if problems:
        raise CombinedInputError(problems)
    return data


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice instead of dropping the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
