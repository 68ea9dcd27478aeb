"""Stand-ins of containers: command lines of workers to plans."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from contracts.engine import Backend
from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.plan import AggPlan, DisaggPlan, Role
from contracts.ports import PrefillChunk
from dgdr.deployment.profile_data import profile_files
from dgdr.worker_args import read_mocker
from mocker.dynamo.__main__ import _run
from mocker.dynamo.engine import worker_plan, worker_times
from mocker.dynamo.settings import port_of, speed_of
from mocker.fleet.run import WorkerSettings
from profiler.measure import decode_curves, prefill_curves
from simcore.perf import roofline

QWEN = "Qwen/Qwen3-0.6B"
H200 = {"GPU_PRODUCT": "NVIDIA-H200"}


def test_a_worker_is_the_engine_that_its_arguments_say() -> None:
    args = ["--model", QWEN, "--tensor-parallel-size", "2", "--max-num-seqs", "64"]
    plan = worker_plan("vllm", args, H200).plan
    assert isinstance(plan.topology, AggPlan)
    engine = plan.topology.pool.engine
    assert (plan.model_id, engine.gpu.sku, engine.tp) == (QWEN, "h200_sxm", 2)
    assert engine.limits.max_num_seqs == 64
    assert plan.topology.pool.replicas == 1


@pytest.mark.parametrize(
    ("backend", "option", "kind"),
    [
        ("vllm", "--model", Backend.VLLM),
        ("sglang", "--model-path", Backend.SGLANG),
        ("trtllm", "--model-path", Backend.TRTLLM),
    ],
)
def test_every_backend_serves_under_the_given_name(
    backend: str, option: str, kind: Backend
) -> None:
    plan = worker_plan(backend, [option, QWEN, "--served-model-name", "mine"], H200).plan
    assert plan.model_id == "mine"
    assert plan.topology.pools[0].engine.model.layers == 28
    assert plan.topology.pools[0].engine.backend is kind


def test_a_decode_worker_waits_for_the_transfer_but_not_for_the_prefill() -> None:
    plan = worker_plan("vllm", ["--model", QWEN, "--disaggregation-mode", "decode"], H200).plan
    assert isinstance(plan.topology, DisaggPlan)
    prefill, decode = (worker_times(pool.engine) for pool in plan.topology.pools)
    assert prefill.mixed_step_fs(0, 0, []) < decode.mixed_step_fs(1, 100, []) / 1000
    assert prefill.decode_cost(3).slope_fs == 0


def test_a_checkpoint_on_disk_is_read(tmp_path: Any) -> None:
    config = {
        "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8,
        "num_hidden_layers": 4, "intermediate_size": 3072, "vocab_size": 1000,
        "max_position_embeddings": 4096,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    args = ["--model", str(tmp_path), "--served-model-name", "own"]
    plan = worker_plan("vllm", args, {"GPU_SKU": "l40s"}).plan
    assert (plan.model_id, plan.topology.pools[0].engine.model.layers) == ("own", 4)


def test_a_mocker_takes_as_many_gpus_as_its_blocks_need() -> None:
    args = [
        "--model-path", "meta-llama/Llama-3.1-70B-Instruct", "--engine-type", "vllm",
        "--speedup-ratio", "2", "--num-gpu-blocks-override", "75209", "--block-size", "16",
        "--max-num-seqs", "256", "--max-num-batched-tokens", "2048",
    ]  # fmt: skip
    found = worker_plan("mocker", args, H200)
    engine = found.plan.topology.pools[0].engine
    assert (found.speed, engine.tp, engine.limits.kv_blocks_total) == (2.0, 4, 75209)
    args[args.index("75209")] = "9000000"
    with pytest.raises(InfeasibleError, match="32 GPUs"):
        worker_plan("mocker", args, H200)


@pytest.mark.parametrize("name", ["ais", "aic"])
def test_a_mocker_is_the_engine_that_its_performance_model_says(name: str) -> None:
    args = [
        "--model-path", "Qwen/Qwen3-235B-A22B", "--engine-type", "sglang",
        "--num-gpu-blocks-override", "5000", "--block-size", "16",
        f"--{name}-perf-model", f"--{name}-backend", "trtllm", f"--{name}-system", "l40s",
        f"--{name}-tp-size", "2", f"--{name}-moe-tp-size", "1", f"--{name}-moe-ep-size", "8",
        f"--{name}-attention-dp-size", "4",
    ]  # fmt: skip
    engine = worker_plan("mocker", args, H200).plan.topology.pools[0].engine
    assert (engine.tp, engine.dp, engine.ep, engine.gpus) == (2, 4, 8, 8)
    assert (engine.gpu.sku, engine.backend) == ("l40s", Backend.TRTLLM)
    assert engine.limits.kv_blocks_total == 5000


def test_a_mocker_takes_its_times_from_measured_curves(tmp_path: Any) -> None:
    args = ["--model", QWEN, "--tensor-parallel-size", "2"]
    engine = worker_plan("vllm", args, {"GPU_SKU": "l40s"}).plan.topology.pools[0].engine
    curves = (prefill_curves(engine, 4096, roofline), decode_curves(engine, 4096, roofline))
    for name, text in profile_files(curves).items():
        (tmp_path / name).write_text(text)
    words = ["--model-path", QWEN, "--planner-profile-data", str(tmp_path)]
    words += ["--num-gpu-blocks-override", "5000", "--disaggregation-mode", "decode"]
    found = worker_plan("mocker", words, {"GPU_SKU": "l40s"})
    remote, own = (pool.engine for pool in found.plan.topology.pools)
    assert own.tp == 2
    chunk = [PrefillChunk(2000, 0)]
    wanted = roofline(engine).mixed_step_fs(0, 0, chunk)
    assert found.timer_for(own).mixed_step_fs(0, 0, chunk) == pytest.approx(wanted, rel=0.1)
    assert found.timer_for(remote).mixed_step_fs(0, 0, chunk) < wanted / 1000
    (tmp_path / "decode_raw_data.json").unlink()
    with pytest.raises(InputError, match="decode_raw_data"):
        worker_plan("mocker", words, {"GPU_SKU": "l40s"})


def test_a_mocker_needs_a_model() -> None:
    found = read_mocker(["--model-path", QWEN, "--disaggregation-mode", "prefill"])
    assert (found.engine.role, found.engine.kv_tokens, found.speed) == (Role.PREFILL, None, 1.0)
    assert (found.sized, found.gpu_sku) == (False, None)
    with pytest.raises(InputError, match="--model-path"):
        read_mocker([])


@pytest.mark.parametrize(
    ("args", "variables", "error", "words"),
    [
        (["--model", QWEN], {}, InputError, "GPU_PRODUCT"),
        (["--model", QWEN], {"GPU_PRODUCT": "Voodoo 2"}, InputError, "Voodoo 2"),
        (["--model", QWEN], {"GPU_SKU": "voodoo2"}, InputError, "voodoo2"),
        (["--model", "nobody/nothing"], H200, InputError, "nobody/nothing"),
        (["--model", QWEN, "--zz"], H200, InputError, "--zz"),
        (["--model", QWEN, "--quantization", "zz"], H200, UnsupportedError, "zz"),
        (["--model", "meta-llama/Llama-3.1-405B"], H200, InfeasibleError, "does not fit"),
    ],
)
def test_what_cannot_be_served_is_refused(
    args: list[str], variables: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        worker_plan("vllm", args, variables)


def test_variables_are_checked() -> None:
    assert (port_of({}, "P", 9090), port_of({"P": "1"}, "P", 9090)) == (9090, 1)
    assert (speed_of({}), speed_of({"MOCKER_SPEED": "2.5"})) == (1.0, 2.5)
    with pytest.raises(InputError, match=r"\$P"):
        port_of({"P": "70000"}, "P", 1)
    with pytest.raises(InputError, match=r"\$MOCKER_SPEED"):
        speed_of({"MOCKER_SPEED": "fast"})


@pytest.mark.parametrize(("index", "takes"), [(None, True), ("0", True), ("1", False)])
def test_the_first_pod_of_a_group_takes_the_requests(
    monkeypatch: pytest.MonkeyPatch, index: str | None, takes: bool
) -> None:
    found: list[WorkerSettings] = []

    async def note(settings: WorkerSettings) -> None:
        found.append(settings)

    monkeypatch.setattr("mocker.dynamo.__main__.run_worker", note)
    variables = {"GPU_SKU": "l40s", "POD_NAME": "a-1", "MOCKER_SPEED": "2"}
    variables |= {} if index is None else {"LWS_WORKER_INDEX": index}
    words = ["vllm", "--model", QWEN, "--disaggregation-mode", "prefill"]
    asyncio.run(_run(words, variables))
    (settings,) = found
    assert (settings.takes_requests, settings.worker_id) == (takes, "a-1")
    assert (settings.role, settings.serve.speed, settings.serve.port) == (Role.PREFILL, 2.0, 9090)
