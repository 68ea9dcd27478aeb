"""The profiler's curves as the files that planner and mocker read in their pods."""

from __future__ import annotations

from contracts.curves import DecodeCurves, FloatArray, PrefillCurves
from dgdr.deployment.component import WORKSPACE, Mount, json_text

PROFILE_DIR = f"{WORKSPACE}/profiling_results"
PREFILL_FILE, DECODE_FILE = "prefill_raw_data.json", "decode_raw_data.json"

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


def profile_mount(config_map: str) -> Mount:
    """The curves of a ConfigMap where planner and mocker look for them."""
    source = {"configMap": {"name": config_map}}
    return Mount(name=config_map, source=source, path=PROFILE_DIR, read_only=True)


def _numbers(values: FloatArray) -> list[float]:
    return [float(value) for value in values]
