"""Measurer ``builtin``: the project's own client against an OpenAI-compatible server.

A prompt of ISL tokens is ISL short words, which is exact for mockers and roughly right for
real tokenizers; AIPerf counts with the model's own tokenizer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import InputError
from profiler.dgdr.files import write_text
from profiler.load import ClosedLoop, LoadResult, LoadTarget, WallClock, run_closed_loop
from profiler.thorough.ports import Burst, Measurement, OutputError, PointError, Served
from profiler.thorough.summary import middle, steady_burst, whole_requests

RESULT_FILE = "profile_builtin.json"
# A request is given up after so long of the engine's time.
REQUEST_TIMEOUT_S = 1800.0
_EXAMPLES = 3
# Tokens that come in bunches say that somebody was late; two more attempts are made then.
BUNCHED_MAX = 0.1
_RIGHT_AFTER = 0.2
_ATTEMPTS = 3
_WARMUP_OSL = 8


class BuiltinMeasurer:
    """Sends bursts over HTTP and computes their figures from the instants of tokens."""

    def measure(self, served: Served, burst: Burst) -> Measurement:
        """See the port; the result is also written beside the candidate's configuration."""
        warm = ClosedLoop(
            requests=burst.warmup,
            concurrency=min(burst.warmup, burst.concurrency),
            isl=burst.isl,
            osl=min(burst.osl, _WARMUP_OSL),
            salt=f"w{burst.seed}x",
        )
        found = []
        if burst.warmup:
            _checked(self._send(served, warm))
        for number in range(burst.repeats):
            # Equal prompts in all repetitions of a batch: the first one fills the prefix cache.
            salt = f"{burst.seed}x" if burst.steady else f"{burst.seed}-{burst.isl}-{number}x"
            loop = ClosedLoop(
                requests=burst.requests,
                concurrency=burst.concurrency,
                isl=burst.isl,
                osl=burst.osl,
                salt=salt,
            )
            if burst.steady and number == 0:
                _checked(self._send(served, _warm_prompts(loop)))
            found.append(_figures(burst, self._kept_up(served, loop)))
        figures = middle(found)
        _write(served.order.folder / burst.name, burst, figures, found)
        return figures

    def _kept_up(self, served: Served, loop: ClosedLoop) -> LoadResult:
        """A burst whose tokens came one by one; a dilated mocker may be too fast for that.

        Raises:
            PointError: they came in bunches every time.
        """
        for _ in range(_ATTEMPTS):
            result = _checked(self._send(served, loop))
            share = bunched_ratio(result)
            if served.speed <= 1 or share <= BUNCHED_MAX:
                return result
        raise PointError(
            f"the client or the mocker does not keep up at speed {served.speed:g}: {share:.0%} of "
            "the tokens came in bunches; take a lower speed"
        )

    @staticmethod
    def _send(served: Served, loop: ClosedLoop) -> LoadResult:
        order = served.order
        target = LoadTarget(base_url=served.url, model=order.engine.model.model_id)
        try:
            return _run(
                run_closed_loop(
                    target,
                    loop,
                    speed=served.speed,
                    clock=WallClock(),
                    timeout_s=REQUEST_TIMEOUT_S,
                )
            )
        except InputError as error:
            raise PointError(f"cannot be sent: {error}") from error


def bunched_ratio(result: LoadResult) -> float:
    """Share of tokens that came right after the one before (0-1)."""
    gaps = [np.diff(times) for times in result.token_ns if len(times) > 1]
    if not gaps:
        return 0.0
    together = np.concatenate(gaps)
    return float(np.mean(together < _RIGHT_AFTER * together.mean()))


def _warm_prompts(loop: ClosedLoop) -> ClosedLoop:
    """The same prompts with the shortest answers: the engine's prefix cache has them then."""
    return ClosedLoop(
        requests=loop.requests,
        concurrency=loop.concurrency,
        isl=loop.isl,
        osl=1,
        salt=loop.salt,
    )


def _run(work: Coroutine[Any, Any, LoadResult]) -> LoadResult:
    with asyncio.Runner() as runner:
        return runner.run(work)


def _checked(result: LoadResult) -> LoadResult:
    """A burst counts only when every request of it completed.

    Raises:
        PointError: names the failures and shows an example of each.
    """
    if result.table.completed.all():
        return result
    counts = ", ".join(f"{count} x {reason}" for reason, count in result.failures.items())
    examples = "; ".join(list(result.examples.values())[:_EXAMPLES])
    total = len(result.table)
    raise PointError(
        f"{int((~result.table.completed).sum())} of {total} requests failed: {counts} ({examples})"
    )


def _figures(burst: Burst, result: LoadResult) -> Measurement:
    table = result.table
    if burst.steady and burst.osl > 1:
        return steady_burst(table.arrival_ns, result.token_ns)
    return whole_requests(burst, table.arrival_ns, table.first_token_ns, table.finish_ns)


def _write(folder: Path, burst: Burst, figures: Measurement, found: list[Measurement]) -> None:
    content = {
        "isl": burst.isl,
        "osl": burst.osl,
        "concurrency": burst.concurrency,
        "requests": burst.requests,
        "seed": burst.seed,
        "time_to_first_token": {"avg": figures.ttft_ms, "max": figures.ttft_ms_max, "unit": "ms"},
        "inter_token_latency": {"avg": figures.itl_ms, "unit": "ms"},
        "output_token_throughput": {"avg": figures.tokens_per_s, "unit": "tokens/sec"},
        "batch_full": figures.batch_full,
        "repetitions": {
            "time_to_first_token_ms": [round(m.ttft_ms, 3) for m in found],
            "inter_token_latency_ms": [round(m.itl_ms, 4) for m in found],
            "ttft_spread_ms": float(np.ptp([m.ttft_ms for m in found])),
        },
    }
    try:
        write_text(folder / RESULT_FILE, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}") from error
