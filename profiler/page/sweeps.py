"""What each engine of a rapid search does alone, in the plots that a measured search has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from contracts.errors import RehearsalError
from contracts.plan import EngineSpec
from contracts.ports import TimerFactory
from contracts.units import FS_PER_NS, NS_PER_MS
from profiler.dgdr.sweep_plots import (
    DECODE_AXES,
    DECODE_PLOT,
    PREFILL_AXES,
    PREFILL_PLOT,
    plot_sweep,
)
from profiler.measure.estimate import lone_prefill_ms

_ENGINE = TypeAdapter(EngineSpec)
_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
# More lines than that cannot be told apart.
_ENGINES_MAX = 12


def write_sweeps(folder: Path, content: Mapping[str, Any], timer_for: TimerFactory) -> list[Path]:
    """Write both plots unless the search left them; engines are those that were simulated.

    Prefill: a lone prompt of the declared ISL, times attention ranks. Decode: steps of 1 to as
    many requests as fit, each with the declared ISL and half of the OSL.
    """
    isl, osl = content["request"]["isl"], content["request"]["osl"]
    sla = content["sla"]
    found = list(_engines(content, timer_for))
    prefill = [(name, [_prefill(engine, isl, timer_for)]) for name, engine in found]
    decode = [(name, _decode(engine, isl + osl // 2, timer_for)) for name, engine in found]
    written = []
    for name, lines, axes, target in (
        (PREFILL_PLOT, prefill, PREFILL_AXES, sla["ttft_ms"]),
        (DECODE_PLOT, decode, DECODE_AXES, sla["itl_ms"]),
    ):
        if lines and not (folder / name).exists():
            written.append(plot_sweep(folder / name, lines, axes, target))
    return written


def _engines(
    content: Mapping[str, Any], timer_for: TimerFactory
) -> Iterator[tuple[str, EngineSpec]]:
    keys: dict[str, None] = {}
    for row in content["candidates"]:
        if row["stage"] == "simulated":
            keys |= dict.fromkeys(row["engines"].values())
    for key in list(keys)[:_ENGINES_MAX]:
        engine = _ENGINE.validate_python(content["engines"][key])
        try:
            timer_for(engine)
        except RehearsalError:
            continue  # the source of step times does not know this engine
        yield key, engine


def _prefill(engine: EngineSpec, isl: int, timer_for: TimerFactory) -> tuple[float, float]:
    ttft_ms = lone_prefill_ms(timer_for(engine), isl, engine.limits.max_num_batched_tokens)
    return ttft_ms, isl / ttft_ms * 1e3 * engine.dp / engine.gpus


def _decode(engine: EngineSpec, context: int, timer_for: TimerFactory) -> list[tuple[float, float]]:
    """One attention rank decodes; the others do the same at the same time."""
    timer = timer_for(engine)
    room = engine.limits.kv_blocks_total * engine.limits.block_size_tokens
    most = max(1, min(engine.limits.max_num_seqs, room // context))
    points = []
    for requests in sorted({max(1, round(share * most)) for share in _SHARES}):
        step_fs = timer.mixed_step_fs(requests, requests * context, [])
        itl_ms = step_fs / (FS_PER_NS * NS_PER_MS)
        points.append((itl_ms, requests * engine.dp / itl_ms * 1e3 / engine.gpus))
    return points
