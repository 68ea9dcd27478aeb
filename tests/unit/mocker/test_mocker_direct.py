"""Our own server answers token routes in calls; clients see what ASGI servers send them."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from mocker_client import MODEL, chat, with_server

from contracts.engine import EngineLimits
from mocker.api import AppOptions

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
REQUESTS = [
    (CHAT, chat(max_tokens=5), {}),
    (CHAT, chat(max_tokens=5, stream=True, stream_options={"include_usage": True}), {}),
    (CHAT, chat(max_tokens=4, n=3), {}),
    (CHAT, chat(max_tokens=4, n=3, stream=True), {}),
    (CHAT, chat(max_tokens=30, stream=True, logprobs=True, top_logprobs=2), {}),
    (CHAT, chat(max_tokens=30, tools=[TOOL], tool_choice="required"), {}),
    (PLAIN, {"model": MODEL, "prompt": ["a b", "c"], "max_tokens": 3, "echo": True}, {}),
    (PLAIN, {"model": MODEL, "prompt": "a b", "max_tokens": 3, "stream": True}, {}),
    (CHAT, chat(max_tokens=0), {}),
    (CHAT, chat(max_tokens=9999), {}),
    (CHAT, chat(model="another"), {}),
    (CHAT, {"messages": []}, {}),
    (CHAT, chat(max_tokens=5), {"x-mocker-fault": "http_error=503"}),
    (CHAT, chat(max_tokens=9, stream=True), {"x-mocker-fault": "stream_error=4"}),
    (CHAT, chat(max_tokens=2), {"authorization": "Bearer wrong"}),
]


@pytest.fixture
def plan(make_agg_plan, make_engine_spec):
    return make_agg_plan(1, engine=make_engine_spec(limits=EngineLimits(max_model_len=2048)))


def in_order(text: str) -> list[str]:
    """Events without their clock, choice by choice: how choices interleave is a matter of time."""
    events = re.sub(r'"created": ?\d+', '"created":0', text).split("\n\n")
    return sorted(events, key=lambda each: (re.findall(r'"index":(\d)', each) or ["9"])[0])


def test_all_servers_say_the_same(plan) -> None:
    async def act(client, driver):
        said = []
        for path, body, headers in REQUESTS:
            sent = {"authorization": "Bearer k", **headers}
            answer = await client.post(path, json=body, headers=sent)
            kind = answer.headers["content-type"]
            said.append((answer.status_code, kind, in_order(answer.text)))
        get = await client.get(CHAT, headers={"authorization": "Bearer k"})
        bad = await client.post(CHAT, content=b"{", headers={"authorization": "Bearer k"})
        metrics = driver.metrics
        delivered = metrics.delivered.single + metrics.delivered.coalesced
        counted = dict(metrics.requests), delivered, driver.in_flight
        return said, (get.status_code, get.text, bad.status_code, bad.text), counted

    key = AppOptions(api_key="k")
    asgi, own, uvicorn = (
        with_server(plan, act, by=by, options=key) for by in ("asgi", "own", "uvicorn")
    )
    assert [status for status, _, _ in own[0]] == [200] * 8 + [400, 400, 404, 400, 503, 200, 401]
    assert own == asgi
    assert own == uvicorn


def test_requests_in_one_packet_are_answered_in_their_order(plan) -> None:
    """Whole answers, errors and streams behind each other on one connection."""

    async def act(client, driver):
        sent = b""
        for tokens in (3, 0, 2, 1):
            body = json.dumps(chat(max_tokens=tokens, stream=tokens == 2)).encode()
            sent += b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
                CHAT.encode(), len(body), body,
            )  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(sent)
        read = b""
        while not (read.count(b"HTTP/1.1 ") == 4 and b'"total_tokens":4' in read):
            read += await reader.read(65536)
        writer.close()
        return read, driver.in_flight

    read, in_flight = with_server(plan, act, by="own")
    marks = [b'"completion_tokens":3', b"HTTP/1.1 400", b"[DONE]", b'"completion_tokens":1']
    places = [read.index(mark) for mark in marks]
    assert places == sorted(places)
    assert in_flight == 0


def test_a_bug_in_one_answer_does_not_keep_the_news_from_others(plan, monkeypatch, caplog) -> None:
    async def act(client, driver):
        def answer(request, *rest):
            if request.max_tokens == 7:
                raise RuntimeError("a bug")
            return json.dumps({"tokens": request.max_tokens}).encode()

        monkeypatch.setattr("mocker.api.generate.whole_answer", answer)
        bodies = [chat(max_tokens=tokens) for tokens in (6, 7, 8)]
        found = await asyncio.gather(
            *(client.post(CHAT, json=body) for body in bodies), return_exceptions=True
        )
        return [each if isinstance(each, Exception) else each.json() for each in found]

    six, seven, eight = with_server(plan, act, by="own")
    assert (six, eight) == ({"tokens": 6}, {"tokens": 8})
    assert isinstance(seven, Exception)
    assert "a bug" in caplog.text
