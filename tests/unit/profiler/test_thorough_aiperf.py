"""AIPerf as a child process: its command line, its result, and how it can fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from thorough_samples import wish

from contracts.errors import UnsupportedError
from contracts.plan import Role
from profiler.thorough.aiperf import (
    AiperfMeasurer,
    AiperfSettings,
    aiperf_words,
    read_result,
)
from profiler.thorough.bench import decode_burst, prefill_burst
from profiler.thorough.candidates import engine_candidates
from profiler.thorough.ports import Order, OutputError, PointError, Served

RESULT = {
    "time_to_first_token": {"avg": 120.0, "max": 480.0},
    "inter_token_latency": {"avg": 12.5},
    "output_token_throughput": {"avg": 800.0},
    "request_count": {"avg": 4},
}
FAKE = """
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
folder = Path(words[words.index("--artifact-dir") + 1])
said = {"words": words, "offline": "HF_HUB_OFFLINE" in os.environ}
(folder / "words.json").write_text(json.dumps(said))
BODY
"""
GOOD = (
    "(folder / 'deep').mkdir(); (folder / 'deep' / 'profile_export_aiperf.json').write_text("
    f"{json.dumps(json.dumps(RESULT))})"
)


def measurer(tmp_path: Path, body: str, limit_s: float = 20.0) -> AiperfMeasurer:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.replace("BODY", body))
    settings = AiperfSettings(
        tokenizer="/models/tokenizer",
        command=(sys.executable, str(script)),
        environment={**os.environ, "HF_HUB_OFFLINE": "1"},
        limit_s=limit_s,
    )
    return AiperfMeasurer(settings)


def served(tmp_path: Path) -> Served:
    engine = engine_candidates(wish())[0][0].engine
    order = Order(
        label="tp1", engine=engine, role=Role.DECODE, folder=tmp_path / "decode_1gpus_tp1"
    )
    return Served(order=order, url="http://127.0.0.1:1", kv_tokens=1, kv_source="log")


def batch():
    return decode_burst(engine_candidates(wish())[0][0], 500, 20, 4, 77, 1)


def test_the_words_are_those_of_the_reference():
    words = aiperf_words(
        prefill_burst(1, 3000, 1), model="M", tokenizer="T", url="http://u", folder=Path("/d")
    )
    assert " ".join(words) == (
        "profile --model M --tokenizer T --endpoint-type chat --endpoint /v1/chat/completions "
        "--streaming --url http://u --extra-inputs ignore_eos:true --extra-inputs max_tokens:5 "
        "--extra-inputs min_tokens:5 --warmup-request-count 3 --artifact-dir /d --random-seed 100 "
        "--request-timeout-seconds 1800 --synthetic-input-tokens-mean 3000 "
        "--synthetic-input-tokens-stddev 0 --output-tokens-mean 5 --output-tokens-stddev 0 "
        "--concurrency 1 --request-count 1 --ui none --no-gpu-telemetry"
    )
    burst = prefill_burst(2, 3000, 1)
    assert (burst.concurrency, burst.requests, burst.warmup) == (8, 8, 6)
    more = aiperf_words(batch(), model="M", tokenizer="T", url="http://u", folder=Path("/d"))
    assert more[more.index("--num-dataset-entries") + 1] == "4"
    assert more[more.index("--random-seed") + 1] == "77"


def test_a_batch_runs_twice_with_one_seed_and_the_second_run_counts(tmp_path):
    found = measurer(tmp_path, GOOD).measure(served(tmp_path), batch())
    assert (found.ttft_ms, found.ttft_ms_max, found.itl_ms) == (120.0, 480.0, 12.5)
    folder = tmp_path / "decode_1gpus_tp1"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["aiperf_request4_isl500_osl20_n4", "aiperf_request4_isl500_osl20_n4_warmup"]
    said = [json.loads((folder / name / "words.json").read_text()) for name in names]
    seeds = {each["words"][each["words"].index("--random-seed") + 1] for each in said}
    assert seeds == {"77"}
    assert not any(each["offline"] for each in said)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('no route to host'); sys.exit(3)", "aiperf ended with 3: no route to host"),
        ("pass", "left no profile_export_aiperf.json"),
        (GOOD.replace("120.0", "null"), "has not the figures"),
        (GOOD.replace('\\"avg\\": 4', '\\"avg\\": 3'), "completed 3 of 4 requests"),
    ],
)
def test_a_run_that_fails_is_a_failed_point_with_its_words(tmp_path, body, message):
    with pytest.raises(PointError, match=message):
        measurer(tmp_path, body).measure(served(tmp_path), batch())


def test_a_run_that_never_ends_is_ended(tmp_path):
    with pytest.raises(PointError, match="aiperf ended with -15"):
        measurer(tmp_path, "import time; time.sleep(60)", limit_s=0.3).measure(
            served(tmp_path), batch()
        )


def test_a_full_disk_ends_everything(tmp_path):
    body = "print('OSError: [Errno 28] No space left on device'); sys.exit(1)"
    with pytest.raises(OutputError, match="disk is full"):
        measurer(tmp_path, body).measure(served(tmp_path), batch())


def test_errors_in_the_summary_count(tmp_path):
    content = {**RESULT, "error_summary": [{"error_details": {"code": 503}, "count": 2}]}
    (tmp_path / "profile_export_aiperf.json").write_text(json.dumps(content))
    with pytest.raises(PointError, match='"code": 503'):
        read_result(tmp_path, batch())


def test_without_aiperf_the_setting_is_named():
    with pytest.raises(UnsupportedError, match=r"AIPERF_BIN.*--measurer builtin"):
        AiperfMeasurer(AiperfSettings(command=("no-such-command",), environment={"PATH": "/none"}))
