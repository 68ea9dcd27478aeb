"""Reads where step times come from: a choice of the command line, and its files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from contracts.curves import DecodeCurves, FloatArray, PrefillCurves
from contracts.errors import InputError, UnsupportedError
from contracts.ports import TimerFactory
from profiler.measure.aic import aic_times
from simcore.perf import curve_times, parse_step_table, roofline, table_times
from simcore.perf.profile import curve_gpus

ALLOWED = "roofline, profile:DIR, table:FILE, aic or aic:BACKEND_VERSION"
_PREFILL = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
_DECODE = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens")


def load_step_times(choice: str) -> TimerFactory:
    """Step times by ``roofline``, ``profile:DIR``, ``table:FILE``, ``aic`` or ``aic:VERSION``.

    ``DIR`` is a result folder of the profiler, ``FILE`` a CSV of
    :mod:`simcore.perf.table`.

    Raises:
        InputError: an unknown choice, or a file that is missing or wrong.
        UnsupportedError: the package behind ``aic`` is not installed, or curves of two
            different engines.
    """
    kind, _, rest = choice.partition(":")
    if choice == "roofline":
        return roofline
    if kind == "aic" and (rest or ":" not in choice):
        return aic_times(rest or None)
    if kind == "table" and rest:
        return table_times(parse_step_table(_lines(Path(rest)), source=rest))
    if kind == "profile" and rest:
        return _curve_times(Path(rest))
    raise InputError("is unknown", path="--step-times", value=choice, allowed=ALLOWED)


def _curve_times(folder: Path) -> TimerFactory:
    """A search asks every engine for both kinds of steps."""
    prefill, decode = read_curves(folder)
    first, second = curve_gpus(prefill, decode)
    if first != second:
        raise UnsupportedError(
            f"{folder}: the curves are of a prefill engine of {first} and a decode engine of "
            f"{second} GPUs; a search needs both curves of one engine"
        )
    return curve_times(prefill, decode)


def read_curves(folder: Path) -> tuple[PrefillCurves, DecodeCurves]:
    """The curves in a result folder of the profiler.

    Raises:
        InputError: a file or an array is missing or unusable.
    """
    prefill = _arrays(folder / "selected_prefill_interpolation" / "raw_data.npz", _PREFILL)
    file = folder / "selected_decode_interpolation" / "raw_data.npz"
    decode = _arrays(file, _DECODE)
    kv_tokens = decode.pop("max_kv_tokens")
    if kv_tokens.size != 1:
        raise InputError("must be one number", source=str(file), path="max_kv_tokens")
    return PrefillCurves(**prefill), DecodeCurves(**decode, max_kv_tokens=int(kv_tokens[0]))


def _arrays(file: Path, names: tuple[str, ...]) -> dict[str, FloatArray]:
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {
                name: np.asarray(data[name], dtype=np.float64).ravel()
                for name in names
                if name in data
            }
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"is not a readable npz file: {error}", source=str(file)) from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(
            "lacks arrays", source=str(file), value=", ".join(missing), allowed=", ".join(names)
        )
    for name, values in arrays.items():
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise InputError("must be finite and positive", source=str(file), path=name)
    return arrays


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
