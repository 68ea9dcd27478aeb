"""Step times from the curves of a profiled engine.

A prefill curve says how long a lone prompt takes, a long one in several chunks; a decode
curve holds scattered points of KV usage and context. Prompts that fit into one step are met
exactly, longer ones and decode steps by least squares of the relative error:

- prompt: the sum over its chunks of ``a + b * n + pair * n * (p + n / 2)`` for n new after p
  earlier tokens, but of the cheapest prompt for each chunk that costs less than that one;
- decode step: ``base(requests) + slope * context``, the base in straight pieces.
"""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np

from contracts.curves import DecodeCurves, FloatArray, PrefillCurves
from contracts.errors import InputError, UnsupportedError
from contracts.plan import EngineSpec
from contracts.ports import TimerFactory
from simcore.perf.interpolated import InterpolatedTimer, Line, StepCosts
from simcore.perf.table import largest_pair_s, refuse_special

# Where the profiler leaves its curves, relative to its result folder.
PREFILL_FILE = "selected_prefill_interpolation/raw_data.npz"
DECODE_FILE = "selected_decode_interpolation/raw_data.npz"
_PREFILL = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
_DECODE = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens")
_DIGITS = 9
_KNOTS_MAX = 9
_ROUNDS_MAX = 20


def parse_curves(
    prefill: bytes, decode: bytes, *, source: str
) -> tuple[PrefillCurves, DecodeCurves]:
    """Read the content of the profiler's two npz files; ``source`` is their folder.

    Raises:
        InputError: not an npz file, or an array is missing or unusable.
    """
    prompts = _arrays(prefill, _PREFILL, f"{source}/{PREFILL_FILE}")
    name = f"{source}/{DECODE_FILE}"
    steps = _arrays(decode, _DECODE, name)
    kv_tokens = steps.pop("max_kv_tokens")
    if kv_tokens.size != 1:
        raise InputError("must be one number", source=name, path="max_kv_tokens")
    return PrefillCurves(**prompts), DecodeCurves(**steps, max_kv_tokens=int(kv_tokens[0]))


def curve_times(prefill: PrefillCurves, decode: DecodeCurves) -> TimerFactory:
    """Step times of the engines whose curves these are.

    Evidence and error are those of the engine's GPU: the curves do not say who made them.
    With curves of two different engines, as of a disaggregated plan, each engine has its own
    kind of steps exactly and the other kind from the other engine, so they are good for that
    plan only. The result raises :class:`UnsupportedError` for an
    engine with another number of GPUs than either curve, and those that
    :func:`simcore.perf.table.refuse_special` names.

    Raises:
        InputError: too few points for a fit.
    """
    if len(np.unique(prefill.prefill_isl)) < 2 or len(decode.z_itl) < 3:
        raise InputError("curves need two prompt lengths and three decode points at least")
    sizes = sorted(set(curve_gpus(prefill, decode)))

    def timer_for(engine: EngineSpec) -> InterpolatedTimer:
        if engine.gpus not in sizes:
            raise UnsupportedError(
                f"no step times for an engine of {engine.gpus} GPUs; the curves are of "
                + " and ".join(str(size) for size in sizes)
            )
        refuse_special(engine, "curves")
        return InterpolatedTimer(
            curve_costs(prefill, decode, engine.limits.max_num_batched_tokens),
            evidence=engine.gpu.evidence,
            error_ratio=engine.gpu.error_ratio,
        )

    return timer_for


def curve_costs(prefill: PrefillCurves, decode: DecodeCurves, budget: int) -> StepCosts:
    """Costs through curves.

    Args:
        prefill: of lone prompts in chunks of ``budget`` tokens.
        decode: of decode steps.
        budget: tokens of one step at most.
    """
    base, slope_s = _decode_fit(decode)
    isl, seconds = prefill.prefill_isl, prefill.prefill_ttft / 1e3
    chunk_s, token_s, pair_s = _prompt_fit(isl, seconds, budget)
    alone = {float(n): float(s) for n, s in zip(isl, seconds, strict=True) if n <= budget}
    floor_s = min(alone.values(), default=0.0)

    def fitted_s(tokens: float) -> float:
        return chunk_s + token_s * tokens + pair_s * tokens * tokens / 2

    if max(alone, default=0.0) < budget:
        alone[float(budget)] = max(fitted_s(budget), *alone.values(), 0.0)
    floor_s = floor_s or alone[float(budget)]
    pair_s = min(pair_s, largest_pair_s({n: s for n, s in alone.items() if s > floor_s}) or pair_s)
    # On the floor the host hides what the GPU takes; the fit knows it from longer prompts.
    linear = {
        n: (s if s > floor_s else min(s, fitted_s(n))) - pair_s * n * n / 2
        for n, s in alone.items()
    }
    linear.setdefault(1.0, min(base[min(base)], *linear.values()))
    return StepCosts(
        base_s=Line(base),
        slope_s=Line({1.0: slope_s}, tail=0.0),
        linear_s=Line(linear, tail=token_s),
        floor_s=floor_s,
        pair_s=pair_s,
        excess_s={},
    )


def _prompt_fit(isl: FloatArray, seconds: FloatArray, budget: int) -> tuple[float, float, float]:
    """Seconds of a chunk, of a token and of a pair, none negative.

    Which chunks lie below the cheapest prompt follows from the fit, so it is repeated until
    they stay the same.
    """
    shortest = float(isl.min())
    floor_s = float(seconds.min()) / math.ceil(shortest / budget)
    index = np.arange(math.ceil(float(isl.max()) / budget))
    past = np.minimum(index * budget, isl[:, None])
    new = np.minimum(budget, isl[:, None] - past)
    below = new < min(shortest, budget)
    found = [0.0, 0.0, 0.0]
    for _ in range(_ROUNDS_MAX):
        parts = np.stack([np.where(below, 0.0, part) for part in (
            (new > 0).astype(np.float64), new, new * (past + new / 2)
        )])  # fmt: skip
        fixed = floor_s * (below & (new > 0)).sum(axis=1)
        use = ~below.all(axis=1)
        found = _least(parts.sum(axis=2).T[use], np.maximum(seconds - fixed, 1e-9)[use])
        cost = found[0] + found[1] * new + found[2] * new * (past + new / 2)
        now = (cost <= floor_s) | (new == 0)
        if bool((now == below).all()) or bool(now.all()):
            break
        below = now
    return found[0], found[1], found[2]


def _decode_fit(curves: DecodeCurves) -> tuple[dict[float, float], float]:
    """Base by requests, never falling, and the slope in the summed context."""
    total = curves.x_kv_usage * curves.max_kv_tokens
    requests = np.maximum(1.0, np.round(total / curves.y_context_length))
    known = np.unique(requests)
    count = min(_KNOTS_MAX, max(1, len(known) // 2))
    wanted = np.geomspace(known[0], known[-1], count)
    knots = np.unique(known[np.abs(known[:, None] - wanted).argmin(axis=0)])
    hats = [np.interp(requests, knots, row) for row in np.eye(len(knots))]
    values = _least(np.stack([*hats, total], axis=1), curves.z_itl / 1e3)
    base = np.maximum.accumulate(np.array(values[:-1]))
    return dict(zip(knots.tolist(), base.tolist(), strict=True)), values[-1]


def _least(columns: FloatArray, values: FloatArray) -> list[float]:
    """Least squares of the relative error with coefficients that are not negative.

    Columns with a negative coefficient are left out, the worst one first. Rounded, so that
    every machine has the same step times.
    """
    scaled = columns / values[:, None]
    scale = np.abs(scaled).max(axis=0)
    scaled = scaled / scale
    used = list(range(columns.shape[1]))
    found = np.zeros(columns.shape[1])
    while used:
        part = np.linalg.lstsq(scaled[:, used], np.ones(len(values)), rcond=None)[0]
        if part.min() >= 0:
            found[used] = part
            break
        used.pop(int(part.argmin()))
    return [float(f"{value:.{_DIGITS}g}") for value in found / scale]


def curve_gpus(prefill: PrefillCurves, decode: DecodeCurves) -> tuple[int, int]:
    """GPUs of the prefill and of the decode engine, from rates in all and for each GPU."""
    prompt_rate = prefill.prefill_isl / prefill.prefill_ttft
    requests = decode.x_kv_usage * decode.max_kv_tokens / decode.y_context_length
    return (
        max(1, round(float(np.median(prompt_rate * 1e3 / prefill.prefill_thpt_per_gpu)))),
        max(1, round(float(np.median(requests / decode.z_itl * 1e3 / decode.z_thpt_per_gpu)))),
    )


def _arrays(content: bytes, names: tuple[str, ...], source: str) -> dict[str, FloatArray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as data:
            arrays = {
                name: np.asarray(data[name], dtype=np.float64).ravel()
                for name in names
                if name in data
            }
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"is not a readable npz file: {error}", source=source) from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(
            "lacks arrays", source=source, value=", ".join(missing), allowed=", ".join(names)
        )
    for name, values in arrays.items():
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise InputError("must be finite and positive", source=source, path=name)
    return arrays
