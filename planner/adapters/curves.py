"""The profiler's curves, as npz files or as the JSON files of a mounted ConfigMap."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import InputError
from planner.settings import load_curves

PREFILL_FILE, DECODE_FILE = "prefill_raw_data.json", "decode_raw_data.json"
NPZ_FOLDER, DEFAULT_FOLDER = "selected_prefill_interpolation", "profiling_results"
_PREFILL = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
_DECODE = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu")
_TOKENS = "max_kv_tokens"


def read_curves(folder: Path) -> tuple[PrefillCurves, DecodeCurves]:
    """Read both curves; the JSON files are preferred where they are.

    Raises:
        InputError: a file or an array is missing or unusable.
    """
    if not (folder / PREFILL_FILE).exists() and not (folder / DECODE_FILE).exists():
        return load_curves(folder)
    prefill, decode = _read(folder / PREFILL_FILE), _read(folder / DECODE_FILE)
    tokens = decode.get(_TOKENS)
    if isinstance(tokens, list) and len(tokens) == 1:
        tokens = tokens[0]
    known = isinstance(tokens, int | float) and not isinstance(tokens, bool)
    if not known or not 1 <= float(tokens or 0) < math.inf:
        raise InputError(
            "must be one number of at least 1",
            source=str(folder / DECODE_FILE),
            path=_TOKENS,
            value=repr(tokens),
        )
    return (
        PrefillCurves(**_arrays(folder / PREFILL_FILE, prefill, _PREFILL)),
        DecodeCurves(
            **_arrays(folder / DECODE_FILE, decode, _DECODE), max_kv_tokens=int(tokens or 0)
        ),
    )


def curves_folder(config_file: Path, results: str) -> Path:
    """Where a configuration's ``profile_results_dir`` is: the first place with curves.

    Relative to the configuration's folder, else to the working directory, where generated
    deployments mount ``profiling_results``.

    Args:
        config_file: the configuration.
        results: its ``profile_results_dir``.
    """
    home = Path.cwd()
    first = config_file.parent / results
    places = (first, home / results, home / Path(results).name, home / DEFAULT_FOLDER)
    return next((place for place in places if _has_curves(place)), first)


def _has_curves(folder: Path) -> bool:
    return (folder / PREFILL_FILE).is_file() or (folder / NPZ_FOLDER).is_dir()


def _read(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(file)) from error
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", source=str(file)) from error
    if not isinstance(data, dict):
        raise InputError("must be an object of arrays", source=str(file), value=type(data).__name__)
    return data


def _arrays(
    file: Path, data: Mapping[str, Any], names: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    missing = [name for name in names if name not in data]
    if missing:
        raise InputError(
            "lacks arrays", source=str(file), value=", ".join(missing), allowed=", ".join(names)
        )
    arrays = {}
    for name in names:
        try:
            values = np.asarray(data[name], dtype=np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise InputError(
                f"is no array of numbers: {error}", source=str(file), path=name
            ) from error
        if not np.isfinite(values).all():
            raise InputError("has values that are not finite", source=str(file), path=name)
        arrays[name] = values
    return arrays
