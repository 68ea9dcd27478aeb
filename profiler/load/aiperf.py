"""NVIDIA's AIPerf as a command: finding it, running it, reading its rows of requests.

It lives in an environment of its own, because what it needs does not fit beside what this
project pins. Offline it works with a local tokenizer folder, and only while HF_HUB_OFFLINE and
TRANSFORMERS_OFFLINE are not set, so they are taken out of the child's environment then.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import PermanentError
from contracts.units import NS_PER_MS

SETTING = "AIPERF_BIN"
ROWS_FILE = "profile_export.jsonl"
MISSING = (
    "AIPerf is not installed, there is no command {command}: install it in an environment of its "
    "own (python -m venv aiperf && aiperf/bin/pip install aiperf) and put its folder on PATH or "
    f"its path into {SETTING}"
)
_MEASURED = "profiling"
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True, slots=True, kw_only=True)
class AiperfRow:
    """One measured request, as AIPerf saw it; nanoseconds of wall time.

    Attributes:
        request_id: value of its header ``x-request-id``.
        session: conversation that it belongs to.
        start_ns: when AIPerf began to send it, since the epoch.
        end_ns: when the last byte had come.
        ttft_ns: until the first content, ``None`` without any.
        latency_ns: until the last content.
        osl: output tokens that AIPerf counted.
        error: why it failed, empty when it did not.
    """

    request_id: str
    session: str
    start_ns: int
    end_ns: int
    ttft_ns: int | None
    latency_ns: int | None
    isl: int
    osl: int
    error: str = ""

    @property
    def itl_ns(self) -> float | None:
        """Mean gap between tokens; ``None`` below two of them."""
        if self.ttft_ns is None or self.latency_ns is None or self.osl < 2:
            return None
        return (self.latency_ns - self.ttft_ns) / (self.osl - 1)


def aiperf_command(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The words that start AIPerf: the setting, else its name."""
    return (environment.get(SETTING) or "aiperf",)


def installed(command: Sequence[str] = ("aiperf",), path: str | None = None) -> bool:
    """Whether AIPerf's command is there."""
    return shutil.which(command[0], path=path) is not None


def run_aiperf(
    words: Sequence[str],
    output: Path,
    *,
    environment: Mapping[str, str] | None,
    local_tokenizer: bool,
    limit_s: float,
) -> int:
    """Run to the end; whatever interrupts the wait ends the child too.

    Args:
        words: command and arguments.
        output: file that takes what it prints.
        environment: of the child, ``None`` for one's own.
        local_tokenizer: nothing has to be fetched.
        limit_s: given up after so long.

    Returns:
        The exit code; minus SIGTERM when it was given up.

    Raises:
        OSError: it cannot be started, or the file cannot be written.
    """
    if environment is not None and local_tokenizer:
        environment = {k: v for k, v in environment.items() if k not in OFFLINE}
    with output.open("wb") as sink:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return -signal.SIGTERM
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5.0)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def read_rows(folder: Path) -> list[AiperfRow]:
    """Rows of all measured requests in the order in which they were sent; no warm-up.

    Raises:
        PermanentError: there is no file of rows, or it has not the fields.
    """
    path = folder / ROWS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.strip()]
        rows = [_row(each) for each in found if _measured(each["metadata"])]
    except OSError as error:
        raise PermanentError(f"{path}: AIPerf left no rows of requests: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"{path} has not the fields: {error!r}") from error
    return sorted(rows, key=lambda row: row.start_ns)


def _measured(about: Mapping[str, Any]) -> bool:
    return bool(about.get("benchmark_phase", _MEASURED) == _MEASURED)


def _row(data: Mapping[str, Any]) -> AiperfRow:
    about, metrics = data["metadata"], data.get("metrics") or {}

    def value(name: str) -> float | None:
        found = metrics.get(name)
        return None if found is None else float(found["value"])

    def time_ns(name: str) -> int | None:
        found = value(name)
        return None if found is None else round(found * NS_PER_MS)

    error = data.get("error")
    cancelled = "cancelled" if about.get("was_cancelled") else ""
    return AiperfRow(
        request_id=str(about["x_request_id"]),
        session=str(about.get("conversation_id") or ""),
        start_ns=int(about["request_start_ns"]),
        end_ns=int(about["request_end_ns"]),
        ttft_ns=time_ns("time_to_first_token"),
        latency_ns=time_ns("request_latency"),
        isl=int(value("input_sequence_length") or 0),
        osl=int(value("output_sequence_length") or 0),
        error=json.dumps(error, sort_keys=True)[:400] if error else cancelled,
    )
