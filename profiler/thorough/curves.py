"""Measured curves of the picked engines (section 9 of the DGDR reference)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import InfeasibleError
from profiler.thorough.bench import Bench
from profiler.thorough.candidates import EngineCandidate
from profiler.thorough.points import DECODE_OSL, decode_lengths, prefill_lengths, request_counts
from profiler.thorough.ports import CandidateError, CappedError, PointError

PREFILL_POINTS_MIN = 3
Report = Callable[[str, int, int], None]


def measure_prefill(
    candidate: EngineCandidate, bench: Bench, context: int, granularity: int, report: Report
) -> PrefillCurves:
    """TTFT and throughput of a lone prompt by length; lengths that fail are left out.

    Raises:
        InfeasibleError: the context leaves no length to measure.
        CandidateError: fewer than three lengths could be measured.
    """
    lengths = prefill_lengths(context, granularity)
    if not lengths:
        raise InfeasibleError(
            "no prompt length is left to measure",
            binding_constraint=f"context limit {context} tokens",
        )
    rows: list[tuple[int, float]] = []
    with bench.up_once():
        for number, isl in enumerate(lengths, start=1):
            report("prefill curve", number, len(lengths))
            try:
                rows.append((isl, bench.ttft_ms(isl)))
            except PointError:
                continue
            except CappedError as error:
                raise _out_of_time("prefill", candidate, error) from error
    if len(rows) < PREFILL_POINTS_MIN:
        raise CandidateError(
            f"the prefill curve of {candidate.label} needs {PREFILL_POINTS_MIN} lengths, "
            f"{len(rows)} of {len(lengths)} could be measured"
        )
    lengths_measured = np.array([row[0] for row in rows], dtype=np.float64)
    ttft_ms = np.array([row[1] for row in rows])
    engine = candidate.engine
    return PrefillCurves(
        prefill_isl=lengths_measured,
        prefill_ttft=ttft_ms,
        prefill_thpt_per_gpu=lengths_measured / ttft_ms * 1000.0 * engine.dp / candidate.shape.gpus,
    )


def measure_decode(
    candidate: EngineCandidate, bench: Bench, context: int, granularity: int, report: Report
) -> DecodeCurves:
    """ITL and throughput of full batches by KV usage and context; loads that fail are left out.

    Raises:
        InfeasibleError: the context leaves no length to measure.
        CandidateError: nothing could be measured.
    """
    lengths = decode_lengths(context, granularity)
    if not lengths:
        raise InfeasibleError(
            "no context length is left to measure",
            binding_constraint=f"context limit {context} tokens",
        )
    engine, rows = candidate.engine, []
    with bench.up_once():
        room = bench.kv_tokens
        for number, isl in enumerate(lengths, start=1):
            report("decode curve", number, len(lengths))
            most = min(room // (isl + DECODE_OSL), engine.limits.max_num_seqs * engine.dp)
            middle = isl + DECODE_OSL / 2
            for requests in request_counts(engine.dp, most, granularity):
                try:
                    found = bench.decode(isl, DECODE_OSL, requests)
                except PointError:
                    continue
                except CappedError as error:
                    raise _out_of_time("decode", candidate, error) from error
                per_gpu = found.tokens_per_s / candidate.shape.gpus
                rows.append((middle * requests / room, middle, found.itl_ms, per_gpu))
    if not rows:
        raise CandidateError(f"the decode curve of {candidate.label} has no point")
    x, y, itl_ms, throughput = (np.array(column) for column in zip(*rows, strict=True))
    return DecodeCurves(
        x_kv_usage=np.minimum(x, 1.0),
        y_context_length=y,
        z_itl=itl_ms,
        z_thpt_per_gpu=throughput,
        max_kv_tokens=room,
    )


def _out_of_time(kind: str, candidate: EngineCandidate, error: CappedError) -> CandidateError:
    return CandidateError(
        f"no time is left for the {kind} curve of {candidate.label}: {error}; run again with a "
        "higher cap to go on from here"
    )
