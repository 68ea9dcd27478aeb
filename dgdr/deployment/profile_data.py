"""The profiler's curves as the files that planner and mocker read in their pods."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from contracts.curves import DecodeCurves, FloatArray, PrefillCurves
from contracts.errors import InputError
from dgdr.deployment.component import WORKSPACE, Mount, json_text

PROFILE_DIR = f"{WORKSPACE}/profiling_results"
PREFILL_FILE, DECODE_FILE = "prefill_raw_data.json", "decode_raw_data.json"

_KV_TOKENS = "max_kv_tokens"
_PREFILL_KEYS = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
_DECODE_KEYS = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", _KV_TOKENS)

Curves = tuple[PrefillCurves, DecodeCurves]


def profile_files(curves: Curves) -> dict[str, str]:
    """Text by file name; keys and units are those of the npz files.

    Lists of numbers: ``prefill_isl`` (tokens), ``prefill_ttft`` (ms),
    ``prefill_thpt_per_gpu`` (tokens/s); ``x_kv_usage`` (0-1), ``y_context_length`` (tokens),
    ``z_itl`` (ms), ``z_thpt_per_gpu`` (tokens/s). ``max_kv_tokens`` is one number.

    Raises:
        InputError: a figure is not finite.
    """
    prefill, decode = curves
    return {
        PREFILL_FILE: json_text(
            PREFILL_FILE,
            {
                "prefill_isl": _numbers(prefill.prefill_isl),
                "prefill_ttft": _numbers(prefill.prefill_ttft),
                "prefill_thpt_per_gpu": _numbers(prefill.prefill_thpt_per_gpu),
            },
        ),
        DECODE_FILE: json_text(
            DECODE_FILE,
            {
                "x_kv_usage": _numbers(decode.x_kv_usage),
                "y_context_length": _numbers(decode.y_context_length),
                "z_itl": _numbers(decode.z_itl),
                "z_thpt_per_gpu": _numbers(decode.z_thpt_per_gpu),
                "max_kv_tokens": decode.max_kv_tokens,
            },
        ),
    }


def read_profile_files(prefill: str, decode: str, *, source: str) -> Curves:
    """The curves of two texts of :func:`profile_files`; ``source`` is their folder.

    Raises:
        InputError: not JSON, or a list is missing, empty, or holds something else than
            finite numbers.
    """
    prompts = _lists(prefill, _PREFILL_KEYS, f"{source}/{PREFILL_FILE}")
    name = f"{source}/{DECODE_FILE}"
    steps = _lists(decode, _DECODE_KEYS, name)
    kv_tokens = steps.pop(_KV_TOKENS)
    if kv_tokens.size != 1 or kv_tokens[0] < 1:
        raise InputError("must be one number of at least 1", source=name, path=_KV_TOKENS)
    return PrefillCurves(**prompts), DecodeCurves(**steps, max_kv_tokens=int(kv_tokens[0]))


def _lists(text: str, keys: Sequence[str], source: str) -> dict[str, FloatArray]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", source=source) from error
    found = {}
    for key in keys:
        value = content.get(key) if isinstance(content, dict) else None
        numbers = value if isinstance(value, list) else [value]
        if not all(_is_finite(each) for each in numbers):
            raise InputError(
                "is missing or holds no finite numbers",
                source=source,
                path=key,
                allowed=f"lists {', '.join(keys)}",
            )
        found[key] = np.array(numbers, dtype=np.float64)
    return found


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def profile_mount(config_map: str) -> Mount:
    """The curves of a ConfigMap where planner and mocker look for them."""
    source = {"configMap": {"name": config_map}}
    return Mount(name=config_map, source=source, path=PROFILE_DIR, read_only=True)


def _numbers(values: FloatArray) -> list[float]:
    return [float(value) for value in values]
