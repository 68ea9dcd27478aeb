"""Packs a scenario file with every file that it names, to hand both to a service."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from contracts.errors import InputError
from contracts.files import unreadable
from harness.scenario import files_of
from harness.service.model import BINARY_SUFFIXES, Submission

BASELINE_FILE = "baseline.json"


def bundle(
    path: Path,
    *,
    rungs: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    label: str = "",
    baseline: Path | None = None,
) -> Submission:
    """The scenario with its DGDR, traces, tables, included files and a baseline.

    Raises:
        InputError: a file cannot be read, or lies outside of the scenario's folder.
    """
    folder = path.resolve().parent
    files = {_inside(file, folder, path): _content(file) for file in files_of(path)}
    if baseline is not None:
        files[BASELINE_FILE] = _read(baseline)
    return Submission(
        scenario=_read(path),
        files=files,
        rungs=rungs,
        seeds=seeds,
        label=label,
        baseline="" if baseline is None else BASELINE_FILE,
    )


def _inside(file: Path, folder: Path, source: Path) -> str:
    if not file.is_relative_to(folder):
        raise InputError(
            "lies outside of the scenario's folder, so it cannot be handed in",
            source=str(source),
            value=os.path.relpath(file, folder),
        )
    return str(file.relative_to(folder))


def _content(path: Path) -> str:
    if not path.name.endswith(BINARY_SUFFIXES):
        return _read(path)
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise InputError(unreadable(error), source=str(path)) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=str(path)) from error
