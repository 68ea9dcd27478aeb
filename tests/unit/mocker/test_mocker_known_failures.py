"""What other mock servers have got wrong, each as a test; numbers are of their issue threads.

Dynamo's mocker 1.2.1 was observed; the others are named by repository and issue.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mocker_client import MODEL, chat, events, with_server

from contracts.engine import EngineLimits

CHAT = "/v1/chat/completions"


@pytest.fixture
def plan(make_agg_plan, make_engine_spec):
    return make_agg_plan(1, engine=make_engine_spec(limits=EngineLimits(max_model_len=2048)))


def test_no_request_can_put_the_server_into_quarantine(plan) -> None:
    """Dynamo's mocker: max_tokens 0 never ended, a missing one or a stop gave 500, then 503."""

    async def act(client, driver):
        codes = []
        for changes in ({"max_tokens": 0}, {}, {"stop": "the"}, {"stop": ["a", "b"]}, {"x": 1}):
            codes.append((await client.post(CHAT, json=chat(**changes))).status_code)
            codes.append((await client.post(CHAT, json=chat(max_tokens=1))).status_code)
        return codes, driver.in_flight

    assert with_server(plan, act) == ([400, 200] + [200] * 8, 0)


def test_infinite_speed_does_not_wait(plan) -> None:
    """Dynamo's mocker: a speed-up of 0, documented as infinite, behaved as 1."""

    async def act(client, driver):
        await client.post(CHAT, json=chat(max_tokens=1500))
        return driver.now_ns(), driver.metrics.pacing_lag_s.count

    simulated_ns, waited = with_server(plan, act)
    assert simulated_ns > 5_000_000_000
    assert waited == 0


def test_a_stream_without_options_has_no_usage(plan) -> None:
    """vllm-project/vllm#36379, kubeai-project/kubeai#283."""

    async def act(client, driver):
        found = []
        for options in (None, {}):
            body = chat(max_tokens=3, stream=True, stream_options=options)
            found.append((await client.post(CHAT, json=body)).text)
        return found

    assert all('"usage"' not in text for text in with_server(plan, act))


def test_nothing_freezes_under_many_streams(plan) -> None:
    """llm-d/llm-d-inference-sim#339: requests froze under load."""

    async def act(client, driver):
        bodies = [chat(f"w{k}", max_tokens=30, stream=True) for k in range(60)]
        answers = await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))
        return [sum(bool(c["choices"][0]["delta"].get("content")) for c in events(a.text))
                for a in answers]  # fmt: skip

    assert with_server(plan, act, by="own") == [30] * 60


def test_phases_and_cache_configuration_are_exposed(plan) -> None:
    """llm-d/llm-d-inference-sim#222, #254, #263; volcano-sh/kthena#1284: names and buckets."""

    async def act(client, driver):
        await client.post(CHAT, json=chat(max_tokens=5))
        return (await client.get("/metrics")).text

    text = with_server(plan, act)
    for name in ("queue", "prefill", "decode", "inference"):
        assert f"vllm:request_{name}_time_seconds_bucket" in text
    assert 'num_gpu_blocks="16384"' in text
    assert 'vllm:time_to_first_token_seconds_bucket{engine="0",le="2560.0"' in text
    assert 'dynamo_frontend_time_to_first_token_seconds_bucket{le="0.0022"' in text


def test_a_long_request_does_not_block_the_others(plan) -> None:
    """BerriAI/litellm#12282: a blocking sleep stalled the event loop."""

    async def act(client, driver):
        slow = asyncio.create_task(client.post(CHAT, json=chat(max_tokens=1900)))
        await asyncio.sleep(0)
        live = await client.get("/live")
        running = not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        return live.status_code, running

    assert with_server(plan, act, speed=1.0) == (200, True)


def test_disconnected_clients_free_their_blocks(plan) -> None:
    """Dynamo's mocker: requests survived their clients."""

    async def act(client, driver):
        body = chat(max_tokens=1900, stream=True)
        async with client.stream("POST", CHAT, json=body) as stream:
            await anext(stream.aiter_bytes())
        async with asyncio.timeout(5):
            while driver.in_flight or driver.snapshot().loads[0].kv_usage_ratio:
                await asyncio.sleep(0.001)
        return driver.metrics.disconnected

    assert with_server(plan, act, speed=1.0, by="own") == 1


GUIDELLM = {
    "model": MODEL,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "some words here"}]}],
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "max_completion_tokens": 6,
    "ignore_eos": True,
}
GENAI_BENCH = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "some words here"}],
    "max_tokens": 6,
    "temperature": 0.0,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
AIPERF = {
    "model": MODEL,
    "messages": [{"role": "user", "name": "x", "content": "some words here"}],
    "stream": True,
    "max_completion_tokens": 6,
    "stream_options": {"include_usage": True},
    "ignore_eos": True,
}

# As LangChain's ChatOpenAI 1.7 and litellm 1.106 send it.
LANGCHAIN = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "some words here"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 6,
    "temperature": 0.7,
    "top_p": 1.0,
    "n": 1,
    "stop": None,
    "tool_choice": None,
    "logprobs": None,
}
LITELLM = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "some words here"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 6,
    "temperature": 0,
    "extra_body": {},
    "user": "somebody",
    "metadata": {"trace": "1"},
}


@pytest.mark.parametrize("body", [GUIDELLM, GENAI_BENCH, AIPERF, LANGCHAIN, LITELLM])
def test_shapes_that_benchmark_clients_send(plan, body) -> None:
    async def act(client, driver):
        health = await client.get("/health")
        return health.status_code, (await client.post(CHAT, json=body)).text

    health, text = with_server(plan, act)
    assert health == 200
    lines = [line for line in text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines), "genai-bench cuts six bytes off"
    found = events(text)
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert (found[-1]["choices"], found[-1]["usage"]["completion_tokens"]) == ([], 6)
    assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["messages", "prompt", "max_tokens", "n", "stream", "stream_options", "stop", "logprobs",
     "tools", "tool_choice", "response_format", "stop_token_ids", "seed", "input", "text", "nvext",
     "mocker", "tokens", "dimensions", "lora_name", "targets", "kind", "speed"]
)  # fmt: skip
PATHS = (CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize",
         "/v1/load_lora_adapter", "/admin/scale", "/admin/faults", "/admin/http_faults",
         "/admin/clock", "/sleep")  # fmt: skip


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bodies=st.lists(st.dictionaries(FIELDS, JSON, max_size=4), min_size=1, max_size=3))
def test_no_body_makes_the_server_fail(plan, bodies) -> None:
    async def act(client, driver):
        seen = []
        for body in bodies:
            good = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "prompt": "a",
                    "input": "a", "max_tokens": 2}  # fmt: skip
            for path in PATHS:
                for sent in (body, {**good, **body}):
                    with contextlib.suppress(UnicodeEncodeError):
                        answer = await client.post(path, content=json.dumps(sent).encode())
                        seen.append((path, answer.status_code, sent))
            await client.request("DELETE", "/admin/http_faults")
            await client.post("/wake_up")
        return seen

    for path, status, sent in with_server(plan, act):
        assert status < 500 or status == 503, (path, status, sent)
