"""Packs a scenario file with every file that it names, to hand both to a service."""

from __future__ import annotations

from pathlib import Path

import yaml

from contracts.errors import InputError
from harness.service.model import Submission


def bundle(
    path: Path, *, rungs: tuple[str, ...] = (), seeds: tuple[int, ...] = (), label: str = ""
) -> Submission:
    """The scenario with its DGDR, traces, tables and included files.

    Raises:
        InputError: a file cannot be read, or lies outside of the scenario's folder.
    """
    folder = path.resolve().parent
    text = _read(path)
    files: dict[str, str] = {}
    waiting = [(text, folder)]
    while waiting:
        content, base = waiting.pop()
        for named in _named_files(content, base):
            try:
                name = str(named.relative_to(folder))
            except ValueError as error:
                raise InputError(
                    "lies outside of the scenario's folder, so it cannot be handed in",
                    source=str(path),
                    value=str(named),
                ) from error
            if name not in files and named != path.resolve():
                files[name] = _read(named)
                if named.suffix in (".yaml", ".yml"):
                    waiting.append((files[name], named.parent))
    return Submission(scenario=text, files=files, rungs=rungs, seeds=seeds, label=label)


def _named_files(text: str, base: Path) -> list[Path]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []
    return [found for document in documents for found in _paths(document, base)]


def _paths(value: object, base: Path) -> list[Path]:
    """Texts that are names of files beside the scenario."""
    if isinstance(value, dict):
        return [found for item in value.values() for found in _paths(item, base)]
    if isinstance(value, list):
        return [found for item in value for found in _paths(item, base)]
    if isinstance(value, str) and "\n" not in value and len(value) < 300:
        path = (base / value).resolve()
        return [path] if "." in value and path.is_file() else []
    return []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
