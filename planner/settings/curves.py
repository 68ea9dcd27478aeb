"""The profiler's curve files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import InputError


def load_curves(folder: Path) -> tuple[PrefillCurves, DecodeCurves]:
    """Read the curves from the profiler's result folder.

    Raises:
        InputError: a file or an array is missing or unusable.
    """
    file = folder / "selected_prefill_interpolation" / "raw_data.npz"
    prefill = PrefillCurves(
        **_read_arrays(file, ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu"))
    )
    file = folder / "selected_decode_interpolation" / "raw_data.npz"
    arrays = _read_arrays(
        file, ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens")
    )
    kv_tokens = arrays.pop("max_kv_tokens")
    if kv_tokens.size != 1 or not kv_tokens[0] >= 1:
        raise InputError("must be one number of at least 1", source=str(file), path="max_kv_tokens")
    return prefill, DecodeCurves(**arrays, max_kv_tokens=int(kv_tokens[0]))


def _read_arrays(file: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[np.float64]]:
    try:
        with np.load(file, allow_pickle=False) as data:
            missing = [name for name in names if name not in data]
            if missing:
                raise InputError(
                    "lacks arrays",
                    source=str(file),
                    value=", ".join(data.keys()),
                    allowed=", ".join(names),
                )
            arrays = {name: np.asarray(data[name], dtype=np.float64).ravel() for name in names}
    except FileNotFoundError as error:
        raise InputError("no such file; run the profiler first", source=str(file)) from error
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"is not a readable npz file: {error}", source=str(file)) from error
    for name, values in arrays.items():
        if not all(math.isfinite(value) for value in values):
            raise InputError("has values that are not finite", source=str(file), path=name)
    return arrays
