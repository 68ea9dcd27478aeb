"""Recorded traces as benchmark workloads; the files are not part of the project.

Lengths beyond what one worker can hold, or could prefill within the target, are left out
and gaps are scaled so that the mean rate needs a handful of workers; both are declared here.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.units import NS_PER_S
from contracts.workload import Workload
from harness.bench.workloads import TARGET, BenchWorkload
from simcore.workload import parse_azure, parse_mooncake


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One file.

    Attributes:
        speed: all gaps are divided by this.
        isl_max: longer prompts are left out.
        keep_every: of so many requests one is kept, a different one for each seed.
    """

    name: str
    file: str
    speed: float
    isl_max: int
    keep_every: int = 1


TRACES = {
    trace.name: trace
    for trace in (
        Trace(
            name="azure-conversation",
            file="azure_llm_2023_conv.csv.gz",
            speed=1.5,
            isl_max=12_000,
        ),
        Trace(
            name="mooncake-conversation",
            file="mooncake_fast25_conversation.jsonl.gz",
            speed=1.0,
            isl_max=12_000,
        ),
    )
}


def trace_workload(trace: Trace, seed: int, folder: Path | None) -> BenchWorkload:
    """A trace, shifted by less than a second for each seed so that repetitions differ.

    Stream: ``bench.trace``.

    Raises:
        InputError: no folder is given or the file is not in it.
    """
    if folder is None or not (folder / trace.file).is_file():
        raise InputError(
            "the trace file is not there", path=trace.name, value=str(folder), allowed=trace.file
        )
    whole = _read(trace, folder)
    rng = RandomStreams(seed).stream("bench.trace")
    arrival_ns = whole.arrival_ns + rng.integers(0, NS_PER_S, len(whole))
    order = np.argsort(arrival_ns, kind="stable")
    texts = whole.texts
    workload = Workload(
        arrival_ns=arrival_ns[order],
        isl=whole.isl[order],
        osl=whole.osl[order],
        source=whole.source,
        texts=None if texts is None else tuple(texts[at] for at in order.tolist()),
    )
    return BenchWorkload(
        name=trace.name,
        workload=workload,
        sla=TARGET,
        attainment_target=0.95,
        training=False,
        duration_s=float(workload.duration_ns) / NS_PER_S,
        hit_ratio=lambda _: 0.0,
    )


@cache
def _read(trace: Trace, folder: Path) -> Workload:
    parse = parse_azure if trace.file.endswith(".csv.gz") else parse_mooncake
    with gzip.open(folder / trace.file, "rt", encoding="utf-8") as lines:
        whole = parse(lines, source=trace.name, speed=trace.speed)
    kept = np.flatnonzero(whole.isl <= trace.isl_max)[:: trace.keep_every]
    texts = whole.texts
    return Workload(
        arrival_ns=whole.arrival_ns[kept] - whole.arrival_ns[kept[0]],
        isl=whole.isl[kept],
        osl=whole.osl[kept],
        source=trace.name,
        texts=None if texts is None else tuple(texts[at] for at in kept.tolist()),
    )
