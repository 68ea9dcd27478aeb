"""A plan becomes a deployment, and the command lines in it the same engines again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dgdr_deployments import (
    BACKENDS,
    SHAPES,
    TOPOLOGIES,
    components,
    container,
    moe_engine,
    plan_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.engine import (
    Backend,
    CapacityPolicy,
    EngineLimits,
    PreemptionOrder,
    QueuePolicy,
    SglangScheduling,
    Speculation,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.errors import UnsupportedError
from contracts.model import Dtype
from contracts.plan import EngineSpec, Role
from dgdr import build_dgd, parse_dgdr
from dgdr.deployment.engine_args import WorkerArgs, engine_args
from dgdr.deployment.mocker_args import mocker_args
from dgdr.deployment.names import worker_name
from dgdr.enums import ServingBackend
from dgdr.worker_args import read_mocker, read_worker_args
from simcore.perf import engine_from_settings


def _worker(engine: EngineSpec, backend: str, role: Role = Role.AGG) -> WorkerArgs:
    return WorkerArgs(
        backend=ServingBackend(backend), role=role, engine=engine, model_path="m", served_name="m"
    )


def _read_back(args: list[str], backend: str, engine: EngineSpec) -> EngineSpec:
    """The engine of a command line; memory and checkpoint say what the line does not."""
    settings = read_worker_args(ServingBackend(backend), args)
    limits = engine.limits
    settings = replace(
        settings,
        kv_tokens=limits.kv_blocks_total * limits.block_size_tokens,
        max_model_len=limits.max_model_len,
    )
    stored = Dtype.BF16 if backend != "trtllm" else engine.weight_dtype
    return engine_from_settings(
        settings, model=engine.model, gpu=engine.gpu, weight_dtype=stored, fabric=engine.fabric
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_plan_deployment_engine(raw, backend: str, topology: str, shape: str) -> None:
    request = parse_dgdr(
        raw({"spec.backend": backend, "spec.hardware.numGpusPerNode": 8}), source="r"
    )
    plan = plan_of(topology, moe_engine(backend, shape))
    parts = components(build_dgd(request, plan, planner_config=None))
    for pool in plan.topology.pools:
        name = worker_name(ServingBackend(backend), pool.role, mocker=False)
        found = _read_back(container(parts[name])["args"], backend, pool.engine)
        wanted = pool.engine
        if backend == "trtllm" and pool.role is Role.PREFILL:  # its prefill never overlaps
            wanted = replace(wanted, scheduling=TrtllmScheduling(overlap=False))
        assert found == wanted
        settings = read_worker_args(ServingBackend(backend), container(parts[name])["args"])
        assert settings.role is pool.role


_LONGEST = 40_960
_SIZES = st.sampled_from([1, 2, 4, 8, 16])
_SCHEDULING = {
    "vllm": st.builds(
        VllmScheduling,
        queue=st.sampled_from([QueuePolicy.FCFS, QueuePolicy.PRIORITY]),
        async_scheduling=st.booleans(),
    ),
    "sglang": st.builds(
        SglangScheduling,
        queue=st.sampled_from(QueuePolicy),
        max_prefill_tokens=st.integers(1, 100_000),
        conservativeness=st.floats(0.01, 4.0),
        mixed_chunk=st.booleans(),
        overlap=st.booleans(),
    ),
    "trtllm": st.builds(
        TrtllmScheduling, capacity=st.sampled_from(CapacityPolicy), overlap=st.booleans()
    ),
}


@st.composite
def _engines(draw: st.DrawFn, backend: str) -> EngineSpec:
    chunked = draw(st.booleans())
    # Without chunks a step holds whole prompts, whatever else is said.
    whole = not chunked and backend != "trtllm"
    budget = _LONGEST if whole else draw(st.integers(1, 32_768))
    limits = EngineLimits(
        max_num_seqs=draw(st.integers(1, budget)),
        max_num_batched_tokens=budget,
        block_size_tokens=draw(st.sampled_from([1, 16, 32, 64, 128])),
        kv_blocks_total=draw(st.integers(1, 100_000)),
        max_model_len=_LONGEST,
        chunked_prefill=chunked,
        prefix_caching=draw(st.booleans()),
        max_adapters=1 if backend == "trtllm" else draw(st.integers(1, 8)),
    )
    tp, dp = draw(_SIZES), draw(_SIZES)
    if backend == "trtllm" and dp > 1:
        tp = 1
    scheduling = draw(_SCHEDULING[backend])
    if isinstance(scheduling, SglangScheduling):
        scheduling = replace(scheduling, chunked_prefill_tokens=budget)
    return moe_engine(
        backend,
        tp=tp,
        dp=dp,
        pp=draw(st.sampled_from([1, 2, 4])),
        ep=draw(st.sampled_from([1, tp * dp])),
        weight_dtype=draw(st.sampled_from([Dtype.BF16, Dtype.FP8])),
        kv_dtype=draw(st.sampled_from([Dtype.BF16, Dtype.FP8])),
        limits=limits,
        scheduling=scheduling,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_engine_is_read_back(backend: str, data: st.DataObject) -> None:
    engine = data.draw(_engines(backend))
    args = list(engine_args(_worker(engine, backend)))
    options = [word for word in args if word.startswith("--")]
    assert len(options) == len(set(options)), "each option stands once"
    assert _read_back(args, backend, engine) == engine


@pytest.mark.parametrize("version", [None, (1, 2, 1), (1, 6, 0)])
@pytest.mark.parametrize("shape", ["TP", "TEP", "DEP"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mocker_knows_gpu_and_sizes(backend: str, shape: str, version) -> None:
    engine = moe_engine(backend, shape)
    found = read_mocker(mocker_args(_worker(engine, backend), version=version))
    assert (found.sized, found.gpu_sku, found.engine.backend) == (
        True,
        "h200_sxm",
        Backend(backend),
    )
    found_engine = replace(found.engine, max_model_len=engine.limits.max_model_len)
    back = engine_from_settings(found_engine, model=engine.model, gpu=engine.gpu)
    assert (back.tp, back.dp, back.ep) == (engine.tp, engine.dp, engine.ep)
    # TensorRT-LLM does not cut prompts unless it is told to; the mocker always does.
    assert replace(back.limits, chunked_prefill=True) == engine.limits
    assert back.scheduling == engine.scheduling


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_mocker_schedules_as_its_engine(backend: str, data: st.DataObject) -> None:
    engine = data.draw(_engines(backend))
    args = mocker_args(_worker(engine, backend))
    options = [word for word in args if word.startswith("--")]
    assert len(options) == len(set(options))
    found = read_mocker(args).engine
    assert (found.max_num_seqs, found.dp) == (engine.limits.max_num_seqs, engine.dp)
    assert found.max_num_batched_tokens == engine.limits.max_num_batched_tokens
    assert (found.prefix_caching is False) == (not engine.limits.prefix_caching)
    assert (found.chunked_prefill is False) == (not engine.limits.chunked_prefill)
    if isinstance(engine.scheduling, SglangScheduling):
        assert found.conservativeness == engine.scheduling.conservativeness
        assert found.max_prefill_tokens in (None, engine.scheduling.max_prefill_tokens)


@pytest.mark.parametrize(
    ("backend", "changes", "named"),
    [
        ("trtllm", {"tp": 2, "dp": 4}, "attention DP needs tp 1"),
        ("vllm", {"tp": 8, "ep": 4}, "experts over 4 of 8 GPUs"),
        ("sglang", {"tp": 8, "ep": 2}, "experts over 2 of 8 GPUs"),
        ("vllm", {"scheduling": VllmScheduling(preemption=PreemptionOrder.FIFO)}, "preemption"),
        ("vllm", {"scheduling": SglangScheduling(queue=QueuePolicy.LONGEST_PREFIX)}, "queue.*lpm"),
        ("sglang", {"scheduling": SglangScheduling(clip_max_new_tokens=9)}, "clip_max_new_tokens"),
        ("vllm", {"speculation": Speculation(acceptance_ratios=(0.8,))}, "draft model"),
        ("sglang", {"kv_dtype": Dtype.FP4}, "4 bits"),
        ("trtllm", {"limits": EngineLimits(max_adapters=2)}, "LoRA"),
    ],
)
def test_what_a_command_line_cannot_say_is_refused(backend: str, changes, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        engine_args(_worker(moe_engine(backend, **changes), backend))


def test_expert_parallelism_needs_experts() -> None:
    engine = moe_engine("vllm", "TEP")
    dense = replace(engine, model=replace(engine.model, experts=0))
    with pytest.raises(UnsupportedError, match="without experts"):
        engine_args(_worker(dense, "vllm"))


@pytest.mark.parametrize(
    ("model", "asked"), [("acme/large", 1), ("acme/large-FP8", 0), ("acme/large-AWQ", 0)]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_quantised_on_loading_only_where_that_is_needed(
    backend: str, model: str, asked: int
) -> None:
    engine = moe_engine(backend, weight_dtype=Dtype.FP8)
    engine = replace(engine, model=replace(engine.model, model_id=model))
    args = engine_args(_worker(engine, backend))
    # TensorRT-LLM takes the type of the weights from the checkpoint.
    assert args.count("--quantization") == (0 if backend == "trtllm" else asked)
