"""Every public route, in this process and without waiting."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter

import httpx
import numpy as np
import pytest
from mocker_client import MODEL, chat, events, with_server

from contracts.engine import EngineLimits
from mocker.api import AppOptions

SMALL = EngineLimits(max_model_len=2048)


@pytest.fixture
def plan(make_agg_plan, make_engine_spec):
    return make_agg_plan(1, engine=make_engine_spec(limits=SMALL))


def test_chat_whole_and_streamed_say_the_same(plan) -> None:
    async def act(client, driver):
        whole = await client.post("/v1/chat/completions", json=chat(max_tokens=9))
        options = {"include_usage": True}
        body = chat(max_tokens=9, stream=True, stream_options=options)
        stream = await client.post("/v1/chat/completions", json=body)
        return whole, stream

    for by in ("asgi", "own", "uvicorn"):
        whole, stream = with_server(plan, act, by=by)
        said = whole.json()["choices"][0]["message"]["content"]
        found = events(stream.text)
        deltas = [c["choices"][0]["delta"] for c in found if c["choices"]]
        assert "".join(delta.get("content", "") for delta in deltas) == said
        assert len(said.split()) == whole.json()["usage"]["completion_tokens"] == 9
        assert found[-1]["usage"]["completion_tokens"] == 9
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.text.endswith("data: [DONE]\n\n")


def test_several_choices_are_told_apart_by_index(plan) -> None:
    async def act(client, driver):
        body = {"model": MODEL, "prompt": ["a b", "c d e"], "n": 2, "max_tokens": 5, "stream": True,
                "stream_options": {"include_usage": True}}  # fmt: skip
        stream = await client.post("/v1/completions", json=body)
        whole = await client.post("/v1/completions", json={**body, "stream": False,
                                                           "stream_options": None})  # fmt: skip
        return stream, whole

    stream, whole = with_server(plan, act)
    found = events(stream.text)
    texts = dict.fromkeys(range(4), "")
    for chunk in found:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == {c["index"]: c["text"] for c in whole.json()["choices"]}
    assert len(set(texts.values())) == 4
    counts = found[-1]["usage"]
    assert (counts["prompt_tokens"], counts["completion_tokens"]) == (5, 20)


def test_when_each_token_was_due_can_be_asked_for(plan) -> None:
    async def act(client, driver):
        body = chat(max_tokens=5, mocker={"timestamps": True})
        whole = await client.post("/v1/chat/completions", json=body)
        stream = await client.post("/v1/chat/completions", json={**body, "stream": True})
        return whole.json(), events(stream.text)

    whole, found = with_server(plan, act)
    for timing in (whole["nvext"]["timing"], found[-1]["nvext"]["timing"]):
        assert len(timing["token_ns"]) == 5
        assert timing["token_ns"] == sorted(timing["token_ns"])
        assert timing["token_ns"][0] > timing["arrival_ns"]


def test_a_cached_prompt_is_counted_and_is_faster(plan) -> None:
    words = " ".join(f"w{k}" for k in range(1000))

    async def act(client, driver):
        first = await client.post("/v1/chat/completions", json=chat(words, max_tokens=2))
        second = await client.post("/v1/chat/completions", json=chat(words, max_tokens=2))
        before = (await client.get("/metrics")).text
        await client.post("/reset_prefix_cache")
        third = await client.post("/v1/chat/completions", json=chat(words, max_tokens=2))
        return [a.json()["usage"] for a in (first, second, third)], before, driver.record().table

    counts, metrics, table = with_server(plan, act)
    cached = [each["prompt_tokens_details"]["cached_tokens"] for each in counts]
    assert cached == [0, 992, 0]
    ttft = table.first_token_ns - table.arrival_ns
    assert ttft[1] < ttft[0] == ttft[2]
    assert f'vllm:prefix_cache_hits_total{{engine="0",model_name="{MODEL}"}} 992.0' in metrics


def test_the_answer_of_a_turn_is_cached_for_the_next(plan) -> None:
    async def act(client, driver):
        first = chat(" ".join(f"w{k}" for k in range(100)), max_tokens=100)
        said = (await client.post("/v1/chat/completions", json=first)).json()
        answer = {"role": "assistant", "content": said["choices"][0]["message"]["content"]}
        messages = [*first["messages"], answer, {"role": "user", "content": "go on"}]
        body = {**first, "messages": messages}
        return (await client.post("/v1/chat/completions", json=body)).json()["usage"]

    counts = with_server(plan, act)
    assert counts["prompt_tokens"] == 202
    assert counts["prompt_tokens_details"]["cached_tokens"] == 192


def test_responses(plan) -> None:
    async def act(client, driver):
        body = {"model": MODEL, "input": "one two", "instructions": "be brief",
                "max_output_tokens": 4}  # fmt: skip
        whole = await client.post("/v1/responses", json=body)
        stream = await client.post("/v1/responses", json={**body, "stream": True})
        count = await client.post("/v1/responses/input_tokens", json=body)
        parts = [{"role": "user", "content": [{"type": "input_text", "text": "a b c"}]},
                 {"type": "function_call_output", "call_id": "x", "output": "d e"}]  # fmt: skip
        listed = await client.post("/v1/responses", json={"model": MODEL, "input": parts})
        bad = await client.post("/v1/responses", json={"model": MODEL})
        return whole.json(), stream.text, count.json(), listed.json(), bad

    whole, stream, count, listed, bad = with_server(plan, act)
    assert (whole["status"], whole["usage"]["output_tokens"]) == ("incomplete", 4)
    said = whole["output"][0]["content"][0]["text"]
    kinds = [line[7:] for line in stream.split("\n") if line.startswith("event: ")]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    assert kinds.count("response.output_text.delta") == 4
    assert kinds[-1] == "response.incomplete"
    found = events(stream)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert "".join(e["delta"] for e in found if e["type"].endswith("text.delta")) == said
    assert count["input_tokens"] == 4
    assert (listed["status"], listed["usage"]["input_tokens"]) == ("completed", 5)
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "input")


def test_embeddings_and_tokenizer(plan) -> None:
    async def act(client, driver):
        post = client.post
        floats = await post("/v1/embeddings", json={"model": MODEL, "input": ["a b", "c"],
                                                    "dimensions": 8})  # fmt: skip
        packed = await post("/v1/embeddings", json={"model": MODEL, "input": "a b", "dimensions": 8,
                                                    "encoding_format": "base64"})  # fmt: skip
        numbers = await post("/v1/embeddings", json={"model": MODEL, "input": [1, 2, 3]})
        empty = await post("/v1/embeddings", json={"model": MODEL, "input": []})
        tokens = await post("/tokenize", json={"prompt": "the king said xyz",
                                               "return_token_strs": True})  # fmt: skip
        again = await post("/detokenize", json={"tokens": tokens.json()["tokens"]})
        wrong = await post("/detokenize", json={"tokens": [-5]})
        neither = await post("/tokenize", json={})
        return floats.json(), packed.json(), numbers.json(), tokens.json(), again.json(), (
            empty.status_code, wrong.status_code, neither.status_code,
        )  # fmt: skip

    floats, packed, numbers, tokens, again, refused = with_server(plan, act)
    vectors = [entry["embedding"] for entry in floats["data"]]
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0, abs=1e-5)
    raw = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), dtype="<f4")
    assert raw.tolist() == pytest.approx(vectors[0])
    assert floats["usage"]["prompt_tokens"] == 3
    assert len(numbers["data"]) == 1
    assert (tokens["count"], len(tokens["token_strs"])) == (4, 4)
    assert again["prompt"].startswith("the king said <|w")
    assert refused == (400, 400, 400)


def test_adapters_are_models_while_they_are_loaded(plan) -> None:
    async def act(client, driver):
        ask = chat(max_tokens=1) | {"model": "my-lora"}
        codes = [(await client.post("/v1/chat/completions", json=ask)).status_code]
        body = {"lora_name": "my-lora", "lora_path": "/x"}
        codes.append((await client.post("/v1/load_lora_adapter", json=body)).status_code)
        codes.append((await client.post("/v1/load_lora_adapter", json=body)).status_code)
        models = (await client.get("/v1/models")).json()["data"]
        one = (await client.get("/v1/models/my-lora")).json()
        codes.append((await client.post("/v1/chat/completions", json=ask)).status_code)
        lora = "vllm:lora_requests_info" in (await client.get("/metrics")).text
        codes.append((await client.post("/v1/unload_lora_adapter", json=body)).status_code)
        codes.append((await client.post("/v1/unload_lora_adapter", json=body)).status_code)
        codes.append((await client.post("/v1/chat/completions", json=ask)).status_code)
        return codes, models, one, lora

    codes, models, one, lora = with_server(plan, act)
    assert codes == [404, 200, 400, 200, 200, 404, 404]
    assert [model["id"] for model in models] == [MODEL, "my-lora"]
    assert (one["parent"], lora) == (MODEL, True)


def test_sleep_profile_and_plain_questions(plan) -> None:
    async def act(client, driver):
        ask = chat(max_tokens=30)
        await client.post("/start_profile")
        again = await client.post("/start_profile")
        await client.post("/v1/chat/completions", json=ask)
        await client.post("/stop_profile")
        trace = (await client.get("/profile.json")).json()
        await client.post("/sleep?level=1")
        asleep = await client.post("/v1/chat/completions", json=ask)
        health = await client.get("/health")
        state = (await client.get("/is_sleeping")).json()
        await client.post("/wake_up")
        awake = await client.post("/v1/chat/completions", json=ask)
        wrong = await client.post("/sleep?level=7")
        paths = ("/live", "/ready", "/ping", "/version", "/load", "/get_model_info",
                 "/get_server_info", "/flush_cache", "/dcgm/metrics", "/openapi.json")  # fmt: skip
        codes = {path: (await client.get(path)).status_code for path in paths}
        return trace, again.status_code, asleep, health.status_code, state, awake, wrong, codes

    trace, again, asleep, health, state, awake, wrong, codes = with_server(plan, act)
    steps = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert sum(event["args"]["sum_prefill_tokens"] for event in steps) == 3
    assert sum(event["args"]["steps"] for event in steps) == 30
    assert (again, asleep.status_code, health, state) == (409, 503, 503, {"is_sleeping": True})
    assert asleep.headers["retry-after"]
    assert (awake.status_code, wrong.status_code) == (200, 400)
    assert set(codes.values()) == {200}


def test_a_key_is_asked_for_where_one_is_set(plan) -> None:
    async def act(client, driver):
        sent = {"authorization": "Bearer secret"}
        return [
            (await client.get("/v1/models")).status_code,
            (await client.post("/v1/chat/completions", json=chat(), headers={})).json(),
            (await client.get("/v1/models", headers=sent)).status_code,
            (await client.get("/health")).status_code,
        ]

    refused, body, known, health = with_server(plan, act, options=AppOptions(api_key="secret"))
    assert (refused, known, health) == (401, 200, 200)
    assert body["error"]["code"] == "invalid_api_key"


def test_a_full_queue_says_when_to_come_back(plan) -> None:
    async def act(client, driver):
        body = chat(max_tokens=1000)
        first = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        while not driver.in_flight:
            await asyncio.sleep(0)
        second = await client.post("/v1/chat/completions", json=body)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return second

    answer = with_server(plan, act, speed=1.0, options=AppOptions(queue_limit=1))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_the_server_is_not_ready_before_its_start_up_time(plan) -> None:
    async def act(client, driver):
        ask = await client.post("/v1/chat/completions", json=chat())
        return ask, await client.get("/ready")

    answer, ready = with_server(plan, act, options=AppOptions(startup_s=60.0))
    assert (answer.status_code, ready.status_code) == (503, 503)
    assert 0 < int(answer.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("fault", "tokens"),
    [("stream_error=3", 3), ("stream_reset=2", 2)],
)
def test_streams_break_on_cue(plan, fault: str, tokens: int) -> None:
    counted: Counter[tuple[str, str, str]] = Counter()

    async def act(client, driver):
        body = chat(max_tokens=20, stream=True)
        text = ""
        driver.metrics.requests = counted
        try:
            async with client.stream(
                "POST", "/v1/chat/completions", json=body, headers={"x-mocker-fault": fault}
            ) as stream:
                async for part in stream.aiter_text():
                    text += part
        except httpx.TransportError as error:
            return text, type(error).__name__, driver.in_flight
        return text, "", driver.in_flight

    text, error, in_flight = with_server(plan, act, by="own")
    found = events(text)
    assert (
        sum("content" in c["choices"][0]["delta"] for c in found if c.get("choices")) == tokens + 1
    )
    assert in_flight == 0
    assert counted == {("chat_completions", "stream", "error"): 1}
    assert ("error" in found[-1]) is fault.startswith("stream_error")
    assert bool(error) is fault.startswith("stream_reset")
    assert "[DONE]" not in text


def test_requests_are_refused_on_cue(plan) -> None:
    async def act(client, driver):
        rule = {"kind": "http_error", "status": 429, "retry_after_s": 7, "every": 2, "times": 1}
        await client.post("/admin/http_faults", json=rule)
        codes = []
        for _ in range(4):
            answer = await client.post("/v1/chat/completions", json=chat(max_tokens=1))
            codes.append((answer.status_code, answer.headers.get("retry-after")))
        cleared = (await client.delete("/admin/http_faults")).json()
        headers = {"x-mocker-fault": "nonsense"}
        wrong = await client.post("/v1/chat/completions", json=chat(), headers=headers)
        return codes, cleared, wrong.status_code

    codes, cleared, wrong = with_server(plan, act)
    assert codes == [(200, None), (429, "7"), (200, None), (200, None)]
    assert (cleared, wrong) == ({"rules": 0}, 400)


def test_every_fault_of_the_simulator_can_be_ordered(plan) -> None:
    async def act(client, driver):
        orders = (
            {"kind": "slow_worker", "role": "agg", "duration_s": 5, "factor": 2},
            {"kind": "memory_shrink", "role": "agg", "lost_ratio": 0.5},
            {"kind": "late_start", "duration_s": 5, "factor": 2},
            {"kind": "node_loss"},
            {"kind": "link_lost", "duration_s": 5},
            {"kind": "slow_worker", "role": "agg", "duration_s": 5, "factor": 0.5},
            {"kind": "slow_worker", "role": "agg", "duration_s": 5, "factor": 2, "colour": 1},
        )
        return [(await client.post("/admin/faults", json=o)).status_code for o in orders]

    assert with_server(plan, act) == [200, 200, 200, 200, 409, 409, 422]


def test_the_stream_of_forward_passes(plan) -> None:
    async def act(client, driver):
        lines = []
        async with client.stream("GET", "/forward_pass_metrics") as feed:
            await client.post("/v1/chat/completions", json=chat(max_tokens=4))
            async for line in feed.aiter_lines():
                lines.append(json.loads(line))
                if sum(each["steps"] for each in lines) >= 4:
                    break
        return lines

    lines = with_server(plan, act, by="own")
    assert lines[0]["sum_prefill_tokens"] == 3
    assert {line["worker_id"] for line in lines} == {"agg-0"}
    assert lines[-1]["end_ns"] > lines[0]["start_ns"]
