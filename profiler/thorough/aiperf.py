"""Measurer ``aiperf``: NVIDIA's AIPerf as a child process.

Command lines are those of the upstream profiler (section 8.5 of the DGDR reference).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contracts.errors import UnsupportedError
from profiler.load.aiperf import MISSING, installed, run_aiperf
from profiler.thorough.ports import Burst, Measurement, OutputError, PointError, Served
from profiler.thorough.summary import middle

RESULT_FILE = "profile_export_aiperf.json"
REQUEST_TIMEOUT_S = 1800
DISK_FULL = ("No space left on device", "Disk quota exceeded")
_LOG_TAIL = 600
_RUN_LIMIT_S = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AiperfSettings:
    """How AIPerf is started.

    Attributes:
        tokenizer: a name or a local folder; ``None`` is the model's name.
        command: words that start it.
        environment: of the child process.
        limit_s: one run is given up after so long.
    """

    tokenizer: str | None = None
    command: tuple[str, ...] = ("aiperf",)
    environment: Mapping[str, str] | None = None
    limit_s: float = _RUN_LIMIT_S


class AiperfMeasurer:
    """Runs AIPerf for each burst and reads its result.

    Raises:
        UnsupportedError: the command is missing.
    """

    def __init__(self, settings: AiperfSettings) -> None:
        path = None if settings.environment is None else settings.environment.get("PATH")
        if not installed(settings.command, path):
            text = MISSING.format(command=settings.command[0])
            raise UnsupportedError(f"{text}, or measure with --measurer builtin")
        self._settings = settings

    def measure(self, served: Served, burst: Burst) -> Measurement:
        """See the port. A batch runs twice with one seed, so that the prefix cache is warm."""
        folder = served.order.folder / burst.name
        if burst.steady:
            self._run(served, burst, folder.with_name(f"{folder.name}_warmup"))
            burst = replace(burst, warmup=3)
        found = []
        for number in range(burst.repeats):
            place = folder if number == 0 else folder.with_name(f"{folder.name}_{number + 1}")
            found.append(self._run(served, burst, place))
        return middle(found)

    def _run(self, served: Served, burst: Burst, folder: Path) -> Measurement:
        model = served.order.engine.model.model_id
        words = aiperf_words(
            burst, model=model, tokenizer=self._settings.tokenizer or model, url=served.url,
            folder=folder,
        )  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            code = run_aiperf(
                [*self._settings.command, *words], folder / "aiperf.out",
                environment=self._settings.environment,
                local_tokenizer=self._settings.tokenizer is not None,
                limit_s=self._settings.limit_s,
            )  # fmt: skip
            text = (folder / "aiperf.out").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise OutputError(f"{folder}: AIPerf cannot run: {error}") from error
        if any(sign in text for sign in DISK_FULL):
            raise OutputError(f"{folder}: the disk is full: {text[-_LOG_TAIL:].strip()}")
        if code != 0:
            raise PointError(f"aiperf ended with {code}: {text[-_LOG_TAIL:].strip()}")
        return undilated(read_result(folder, burst), served.speed)


def aiperf_words(
    burst: Burst, *, model: str, tokenizer: str, url: str, folder: Path
) -> tuple[str, ...]:
    """Arguments of one AIPerf run."""
    batch = ("--num-dataset-entries", str(burst.requests)) if burst.steady else ()
    return (
        "profile",
        "--model", model,
        "--tokenizer", tokenizer,
        "--endpoint-type", "chat",
        "--endpoint", "/v1/chat/completions",
        "--streaming",
        "--url", url,
        "--extra-inputs", "ignore_eos:true",
        "--extra-inputs", f"max_tokens:{burst.osl}",
        "--extra-inputs", f"min_tokens:{burst.osl}",
        "--warmup-request-count", str(burst.warmup),
        "--artifact-dir", str(folder),
        "--random-seed", str(burst.seed),
        "--request-timeout-seconds", str(REQUEST_TIMEOUT_S),
        "--synthetic-input-tokens-mean", str(burst.isl),
        "--synthetic-input-tokens-stddev", "0",
        "--output-tokens-mean", str(burst.osl),
        "--output-tokens-stddev", "0",
        "--concurrency", str(burst.concurrency),
        "--request-count", str(burst.requests),
        *batch,
        "--ui", "none",
        "--no-gpu-telemetry",
    )  # fmt: skip


def read_result(folder: Path, burst: Burst) -> Measurement:
    """Figures of a run, from the newest result file anywhere below its folder.

    Raises:
        PointError: there is no result, or one without the figures, or requests failed.
    """
    files = sorted(folder.rglob(RESULT_FILE), key=lambda path: path.stat().st_mtime)
    if not files:
        raise PointError(f"aiperf left no {RESULT_FILE} in {folder}")
    try:
        data: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
        done = float(data["request_count"]["avg"]) if "request_count" in data else burst.requests
        found = Measurement(
            ttft_ms=float(data["time_to_first_token"]["avg"]),
            ttft_ms_max=float(data["time_to_first_token"]["max"]),
            itl_ms=float(data["inter_token_latency"]["avg"]),
            tokens_per_s=float(data["output_token_throughput"]["avg"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PointError(f"{files[-1]} has not the figures: {error!r}") from error
    errors = _errors(data)
    if errors or done < burst.requests:
        raise PointError(
            f"aiperf completed {done:.0f} of {burst.requests} requests: {errors or 'no reason'}"
        )
    return found


def undilated(found: Measurement, speed: float) -> Measurement:
    """The figures in the engine's time; AIPerf knows wall time only."""
    return replace(
        found,
        ttft_ms=found.ttft_ms * speed,
        ttft_ms_max=found.ttft_ms_max * speed,
        itl_ms=found.itl_ms * speed,
        tokens_per_s=found.tokens_per_s / speed,
    )


def _errors(data: Mapping[str, Any]) -> str:
    """What AIPerf says about failed requests, in words."""
    entries = data.get("error_summary") or []
    if not isinstance(entries, list):
        return str(entries)
    return "; ".join(json.dumps(entry, sort_keys=True) for entry in entries)[:_LOG_TAIL]
