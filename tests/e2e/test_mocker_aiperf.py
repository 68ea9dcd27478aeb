"""AIPerf itself against the mocker: it runs to the end, and its figures are the simulator's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from aiperf_kit import COMMAND, exported, needs_aiperf, recorded, serving
from pydantic import TypeAdapter

from contracts.engine import EngineLimits
from contracts.plan import DeploymentPlan, EngineSpec, Role
from mocker.text.words import write_tokenizer
from profiler.load.aiperf import AiperfRow, read_rows, run_aiperf
from profiler.thorough.aiperf import AiperfMeasurer, AiperfSettings
from profiler.thorough.mock import MockDeployer
from profiler.thorough.ports import Burst, Order

pytestmark = [pytest.mark.slow, needs_aiperf]
MODEL = "Qwen/Qwen3-0.6B"
# So slow that AIPerf's own milliseconds are small beside the times it measures.
SPEED = 0.06
REQUESTS, ISL, OSL = 24, 3000, 12


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def engine(make_engine_spec: Callable[..., EngineSpec]) -> EngineSpec:
    return make_engine_spec(MODEL, "l40s", limits=EngineLimits(max_model_len=4096))


def measured(url: str, kind: str, words: Path, folder: Path) -> list[AiperfRow]:
    folder.mkdir(exist_ok=True)
    code = run_aiperf(
        [*COMMAND, "profile", "--model", MODEL, "--tokenizer", str(words), "--url", url,
         "--endpoint-type", kind, "--streaming", "--isl", str(ISL), "--osl", str(OSL),
         "--request-count", str(REQUESTS), "--concurrency", "6", "--random-seed", "7",
         "--warmup-request-count", "6",
         "--extra-inputs", "ignore_eos:true", "--artifact-dir", str(folder), "--ui", "none",
         "--no-gpu-telemetry"],
        folder / "aiperf.out", environment=dict(os.environ), local_tokenizer=True, limit_s=120.0,
    )  # fmt: skip
    assert code == 0, (folder / "aiperf.out").read_text()[-2000:]
    return read_rows(folder)


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_counts_agree_and_latencies_are_those_of_the_simulator(
    tmp_path: Path, words: Path, engine: EngineSpec, make_agg_plan, record_property, kind: str
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_bytes(TypeAdapter(DeploymentPlan).dump_json(make_agg_plan(1, engine=engine)))
    with serving(plan, "--speed", str(SPEED)) as url:
        rows = measured(url, kind, words, tmp_path / "out")
        ours = recorded(url)
    summary = exported(tmp_path / "out")
    assert len(rows) == summary["request_count"]["avg"] == REQUESTS
    assert not [row.error for row in rows if row.error]
    assert {(row.isl, row.osl) for row in rows} == {(ISL, OSL)}
    assert summary["usage_prompt_tokens"]["avg"] == ISL
    assert summary["usage_completion_tokens"]["avg"] == OSL
    ttft, itl = [], []
    for row in rows:
        known = ours[row.request_id]
        assert known["status"] == "completed"
        assert row.ttft_ns is not None
        assert row.itl_ns is not None
        first_ns = known["first_token_ns"]
        ttft.append(row.ttft_ns * SPEED / (first_ns - known["arrival_ns"]))
        itl.append(row.itl_ns * SPEED * (OSL - 1) / (known["finish_ns"] - first_ns))
    record_property("TTFT and ITL, AIPerf by simulator", (median(ttft), median(itl)))
    assert abs(median(ttft) - 1) < 0.05, ttft
    assert abs(median(itl) - 1) < 0.05, itl


def test_the_measured_search_reads_what_aiperf_leaves(
    tmp_path: Path, words: Path, engine: EngineSpec
) -> None:
    order = Order(label="tp1", engine=engine, role=Role.AGG, folder=tmp_path / "agg")
    burst = Burst(name="burst", isl=600, osl=30, concurrency=4, requests=12, warmup=2, seed=3)
    settings = AiperfSettings(
        tokenizer=str(words), command=COMMAND, environment=dict(os.environ), limit_s=120.0
    )
    with MockDeployer().running(order) as served:
        found = AiperfMeasurer(settings).measure(served, burst)
    assert 0 < found.ttft_ms <= found.ttft_ms_max
    assert found.itl_ms > 0
    assert found.tokens_per_s > 0
