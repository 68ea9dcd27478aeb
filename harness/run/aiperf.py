"""Driver ``aiperf``: AIPerf replays the traffic of a run, and its rows become the run's table.

The requests go to it as a trace in Mooncake's format with timestamps in wall time; it counts
tokens with the bundled tokenizer, for which a word is a token as it is for the mocker. Its
schedule begins when it is ready, some ten seconds after its start, and nobody else can know
that instant beforehand: so nothing else may happen at a time during such a run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import PermanentError, UnsupportedError
from contracts.records import RequestStatus
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import Workload
from harness.load import AiperfRow, LoadRecorder, LoadResult, LoadTarget
from harness.load import aiperf as tool
from harness.run.process import run_to_end
from harness.scenario import Scenario
from harness.settings import environment
from mocker.text.words import write_tokenizer

START_LIMIT_S = 120.0
_LOG_TAIL = 800
_SESSION = "load-"


def without_aiperf(scenario: Scenario) -> list[str]:
    """What AIPerf would have to do in a scenario and cannot."""
    missing = []
    if scenario.planner.enabled:
        missing.append("a planner with the driver aiperf, whose start is not known beforehand")
    timed = (*scenario.cluster_faults, *scenario.control_faults)
    missing += [f"the fault {fault.kind} with the driver aiperf" for fault in timed]
    command = tool.aiperf_command(environment())
    if not tool.installed(command):
        missing.append(f"the driver aiperf: {tool.MISSING.format(command=command[0])}")
    return missing


async def run_aiperf_load(
    target: LoadTarget, workload: Workload, folder: Path, *, speed: float, timeout_s: float
) -> LoadResult:
    """Let AIPerf send every request at its time; returns when it has ended.

    Args:
        target: an OpenAI-compatible server that counts words.
        workload: arrivals and lengths.
        folder: for the trace, the tokenizer and what AIPerf leaves.
        speed: time dilation.
        timeout_s: undilated seconds after which a request is given up.

    Raises:
        UnsupportedError: the requests differ in more than time and length.
        PermanentError: AIPerf failed; shows the end of its output.
    """
    _check_plain(workload)
    words, out, log = folder / "words", folder / "aiperf", folder / "aiperf.out"
    write_tokenizer(words)
    trace = folder / "trace.jsonl"
    trace.write_text(trace_text(workload, speed), encoding="utf-8")
    command = aiperf_words(target, trace, words, out, timeout_s / speed)
    child = {k: v for k, v in environment().items() if k not in tool.OFFLINE}
    limit_s = workload.duration_ns / NS_PER_S / speed + timeout_s / speed + START_LIMIT_S
    try:
        code = await run_to_end([*tool.aiperf_command(child), *command], log, child, limit_s)
    except OSError as error:
        raise PermanentError(f"AIPerf cannot run: {error}") from error
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip()
        raise PermanentError(f"aiperf ended with {code}: {tail}")
    return load_result(workload, tool.read_rows(out), speed)


def _check_plain(workload: Workload) -> None:
    special = {
        "shared prompts": workload.texts,
        "priorities": workload.priority,
        "adapters": workload.adapters,
        "thinking": workload.reasoning_tokens,
        "clients that give up": workload.timeout_ns or None,
    }
    found = [name for name, value in special.items() if value is not None]
    if found:
        raise UnsupportedError(
            f"the driver aiperf sends times and lengths only, not {', '.join(found)}"
        )


def trace_text(workload: Workload, speed: float) -> str:
    """The requests in Mooncake's format; milliseconds of wall time."""
    columns = zip(
        workload.arrival_ns.tolist(), workload.isl.tolist(), workload.osl.tolist(), strict=True
    )
    return "".join(
        json.dumps(
            {
                "timestamp": round(arrival_ns / NS_PER_MS / speed, 3),
                "input_length": isl,
                "output_length": osl,
                "session_id": f"{_SESSION}{index}",
            }
        )
        + "\n"
        for index, (arrival_ns, isl, osl) in enumerate(columns)
    )


def aiperf_words(
    target: LoadTarget, trace: Path, tokenizer: Path, out: Path, timeout_s: float
) -> tuple[str, ...]:
    """Arguments of AIPerf."""
    return (
        "profile",
        "--model", target.model,
        "--tokenizer", str(tokenizer),
        "--endpoint-type", "chat",
        "--endpoint", "/v1/chat/completions",
        "--streaming",
        "--url", target.base_url,
        "--extra-inputs", "ignore_eos:true",
        "--input-file", str(trace),
        "--custom-dataset-type", "mooncake-trace",
        "--fixed-schedule",
        "--request-timeout-seconds", f"{timeout_s:g}",
        "--artifact-dir", str(out),
        "--ui", "none",
        "--no-gpu-telemetry",
        "--no-server-metrics",
    )  # fmt: skip


def load_result(workload: Workload, rows: Sequence[AiperfRow], speed: float) -> LoadResult:
    """Rows of AIPerf as the result of a load run; latency counts from the scheduled instant.

    Time zero is the latest instant for which no request was sent before its time. A request
    without a row was never sent; it stays unfinished.

    Raises:
        PermanentError: no row, or one of a request that was not ordered.
    """
    by_index: dict[int, AiperfRow] = {}
    for row in rows:
        number = row.session.removeprefix(_SESSION)
        if not number.isdigit() or int(number) >= len(workload):
            raise PermanentError(f"AIPerf reports a request that it was not given: {row.session}")
        by_index[int(number)] = row
    if not by_index:
        raise PermanentError("AIPerf reports no request")
    recorder = LoadRecorder(workload, speed)
    recorder.start_ns = min(
        row.start_ns - recorder.scheduled_ns(index) for index, row in by_index.items()
    )
    for index, row in sorted(by_index.items()):
        recorder.on_sent(index, row.start_ns)
        status, reason = _judge(row, int(workload.osl[index]))
        first_ns = -1 if row.ttft_ns is None else row.start_ns + row.ttft_ns
        last_ns = -1 if row.latency_ns is None else row.start_ns + row.latency_ns
        recorder.on_end(index, status, (row.osl, first_ns, last_ns), reason)
    return recorder.result()


def _judge(row: AiperfRow, osl: int) -> tuple[RequestStatus, str]:
    if row.error:
        return RequestStatus.FAILED, f"aiperf: {row.error}"
    if row.ttft_ns is None or row.latency_ns is None:
        return RequestStatus.FAILED, "no tokens"
    if row.osl != osl:
        few = "too few tokens" if row.osl < osl else "too many tokens"
        return RequestStatus.FAILED, f"{few}: {row.osl} instead of {osl}"
    return RequestStatus.COMPLETED, ""
