"""Files that a command line names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from contracts.files import unreadable
from dgdr import Dgdr, load_dgdr
from simcore.perf.models import is_bundled


def load_request(config: str) -> Dgdr:
    """A DGDR given as a file or as JSON text.

    Raises:
        InputError: it cannot be read or is no DGDR.
    """
    if config.lstrip().startswith(("{", "[")):
        return load_dgdr(config, source="--config")
    return load_dgdr(read_text(Path(config)), source=config)


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=str(path)) from error


def read_config(path: Path) -> dict[str, Any]:
    """A model's ``config.json``.

    Raises:
        InputError: it cannot be read or is no JSON object.
    """
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error}", source=str(path)) from error
    if not isinstance(found, dict):
        raise InputError("is not a JSON object", source=str(path))
    return found


def model_config_of(model: str, given: Path | None, cache: Path | None) -> dict[str, Any] | None:
    """The ``config.json`` to read a model from; None for a bundled one, or without any.

    Args:
        model: id of the model.
        given: file that the user named; it wins.
        cache: folder of the model itself, or of a Hugging Face cache (``HF_HOME``).

    Raises:
        InputError: the file cannot be read or is no JSON object.
    """
    if given is not None:
        return read_config(given)
    if cache is None or is_bundled(model):
        return None
    snapshots = f"models--{model.replace('/', '--')}/snapshots/*/config.json"
    found = [cache / "config.json"]
    for hub in ("hub", "."):
        found += sorted((cache / hub).glob(snapshots))
    return next((read_config(path) for path in found if path.is_file()), None)
