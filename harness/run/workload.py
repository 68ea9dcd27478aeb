"""The workload of a scenario: drawn from the seed, or read from a trace file."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.workload import Workload
from harness.scenario import SyntheticWorkload, TraceFormat, TraceWorkload
from simcore.workload import (
    Lengths,
    parse_azure,
    parse_csv,
    parse_jsonl,
    parse_mooncake,
    parse_servegen,
    synthesize,
)

_PARSERS: Mapping[TraceFormat, Callable[..., Workload]] = {
    TraceFormat.AZURE: parse_azure,
    TraceFormat.MOONCAKE: parse_mooncake,
    TraceFormat.SERVEGEN: parse_servegen,
    TraceFormat.CSV: parse_csv,
    TraceFormat.JSONL: parse_jsonl,
}


def realise(
    workload: SyntheticWorkload | TraceWorkload, *, isl: int, osl: int, seed: int
) -> Workload:
    """Return the requests of one run.

    Args:
        workload: what the scenario asks for.
        isl: prompt tokens of the DGDR, used where the scenario gives none.
        osl: output tokens of the DGDR, likewise.
        seed: root seed; a trace does not depend on it.

    Raises:
        InputError: a malformed trace line or impossible parameters.
    """
    if isinstance(workload, TraceWorkload):
        return _read_trace(workload)
    return synthesize(
        workload.arrivals,
        duration_s=workload.duration_s,
        isl=workload.isl or Lengths(mean=isl),
        osl=workload.osl or Lengths(mean=osl),
        streams=RandomStreams(seed),
    )


def _read_trace(trace: TraceWorkload) -> Workload:
    parse = _PARSERS[trace.format]
    try:
        with _open_text(trace.path) as lines:
            return parse(lines, source=str(trace.path), limit=trace.limit, speed=trace.speed)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source=str(trace.path)) from error


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
