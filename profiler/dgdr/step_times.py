"""Reads where step times come from: a choice of the command line, and its files."""

from __future__ import annotations

from pathlib import Path

from contracts.errors import InputError, UnsupportedError
from contracts.files import unreadable
from contracts.ports import TimerFactory
from simcore.perf import curve_times, parse_step_table, roofline, table_times
from simcore.perf.aic import aic_times
from simcore.perf.profile import DECODE_FILE, PREFILL_FILE, curve_gpus, parse_curves

ALLOWED = "roofline, profile:DIR, table:FILE, aic or aic:BACKEND_VERSION"


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
    prefill, decode = parse_curves(
        _read(folder / PREFILL_FILE), _read(folder / DECODE_FILE), source=str(folder)
    )
    first, second = curve_gpus(prefill, decode)
    if first != second:
        raise UnsupportedError(
            f"{folder}: the curves are of a prefill engine of {first} and a decode engine of "
            f"{second} GPUs; a search needs both curves of one engine"
        )
    return curve_times(prefill, decode)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(unreadable(error), source=str(path)) from error


def _lines(path: Path) -> list[str]:
    try:
        return _read(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(unreadable(error), source=str(path)) from error
