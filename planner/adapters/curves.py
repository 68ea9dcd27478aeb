"""The profiler's curves, as npz files or as the JSON files of a mounted ConfigMap."""

from __future__ import annotations

from pathlib import Path

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import InputError
from dgdr.deployment.profile_data import DECODE_FILE, PREFILL_FILE, read_profile_files
from planner.settings import load_curves

__all__ = ["DECODE_FILE", "PREFILL_FILE", "curves_folder", "read_curves"]

NPZ_FOLDER, DEFAULT_FOLDER = "selected_prefill_interpolation", "profiling_results"


def read_curves(folder: Path) -> tuple[PrefillCurves, DecodeCurves]:
    """Read both curves; the JSON files are preferred where they are.

    Raises:
        InputError: a file or an array is missing or unusable.
    """
    if not (folder / PREFILL_FILE).exists() and not (folder / DECODE_FILE).exists():
        return load_curves(folder)
    prefill, decode = _read(folder / PREFILL_FILE), _read(folder / DECODE_FILE)
    return read_profile_files(prefill, decode, source=str(folder))


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


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(file)) from error
