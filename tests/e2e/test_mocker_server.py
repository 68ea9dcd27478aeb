"""The real server process, talked to with the official client and by hand."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest
from pydantic import TypeAdapter

from contracts.engine import EngineLimits
from contracts.plan import DeploymentPlan, EngineSpec

MODEL = "Qwen/Qwen3-0.6B"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan_file(
    tmp_path_factory: pytest.TempPathFactory,
    make_agg_plan: Callable[..., DeploymentPlan],
    make_engine_spec: Callable[..., EngineSpec],
) -> Path:
    engine = make_engine_spec(MODEL, "l40s", limits=EngineLimits(max_model_len=4096))
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_bytes(TypeAdapter(DeploymentPlan).dump_json(make_agg_plan(2, engine=engine)))
    return path


def start(plan: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mocker", "serve", "--plan", str(plan), "--port", "0", *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_it_ends_with_whoever_started_it(plan_file: Path) -> None:
    words = [
        sys.executable, "-m", "mocker", "serve", "--plan", str(plan_file), "--port", "0",
        "--until-stdin-ends",
    ]  # fmt: skip
    # What kill -9 of the one who started it comes to: the other end of the pipe closes.
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith("mocker ready ")
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def base_url(plan_file: Path) -> Iterator[str]:
    process = start(plan_file, "--speed", "2")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("mocker ready http://127.0.0.1:"), line
    yield line.removeprefix("mocker ready ").strip()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture
def http(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=10.0) as opened:
        yield opened


def ask(words: int = 3) -> list[dict[str, str]]:
    return [{"role": "user", "content": "word " * words}]


def test_openai_client_lists_the_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_openai_client_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ask(30), max_tokens=12)
    assert len((answer.choices[0].message.content or "").split()) == 12
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (30, 12)


def test_openai_client_stream_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=ask(), max_completion_tokens=20, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(texts) == 20
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20
    whole = client.chat.completions.create(model=MODEL, messages=ask(), max_tokens=20)
    assert "".join(texts) == whole.choices[0].message.content


def test_openai_client_plain_completions_and_several_choices(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt=[1, 2, 3, 4], max_tokens=5, n=2)
    assert [len(choice.text.split()) for choice in answer.choices] == [5, 5]
    assert answer.choices[0].text != answer.choices[1].text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 4
    streamed = client.completions.create(model=MODEL, prompt="a b", max_tokens=4, stream=True)
    assert len("".join(chunk.choices[0].text for chunk in streamed).split()) == 4


def test_openai_client_tools_responses_and_embeddings(client: openai.OpenAI) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    asked = {"model": MODEL, "messages": ask(), "tools": [tool], "tool_choice": "required"}
    answer = client.chat.completions.create(**asked)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, answer.choices[0].finish_reason) == ("weather", "tool_calls")
    chunks = list(client.chat.completions.create(**asked, stream=True))
    deltas = [c.choices[0].delta.tool_calls for c in chunks if c.choices]
    said = "".join(part[0].function.arguments for part in deltas if part)
    assert said == call.function.arguments
    assert set(json.loads(said)) == {"city"}
    response = client.responses.create(model=MODEL, input="hello there", max_output_tokens=6)
    assert len(response.output_text.split()) == response.usage.output_tokens == 6
    events = list(client.responses.create(model=MODEL, input="hello", stream=True))
    assert events[-1].type == "response.completed"
    vectors = client.embeddings.create(model=MODEL, input=["a", "b"]).data
    assert [len(vector.embedding) for vector in vectors] == [1024, 1024]


def test_openai_async_client_runs_many_streams(base_url: str) -> None:
    async def one(client: openai.AsyncOpenAI, tokens: int) -> int:
        stream = await client.chat.completions.create(
            model=MODEL, messages=ask(), max_tokens=tokens, stream=True
        )
        return len([c async for c in stream if c.choices and c.choices[0].delta.content])

    async def all_of_them() -> list[int]:
        async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none") as client:
            return await asyncio.gather(*(one(client, 10 + i) for i in range(20)))

    assert asyncio.run(all_of_them()) == [10 + i for i in range(20)]


def test_openai_client_sees_its_own_error_types(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="other", messages=ask())
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens"):
        client.chat.completions.create(model=MODEL, messages=ask(5000))
    with pytest.raises(openai.BadRequestError, match="at least 1, got 0"):
        client.chat.completions.create(model=MODEL, messages=ask(), max_tokens=0)


def test_missing_max_tokens_and_stop_work(client: openai.OpenAI) -> None:
    free = client.chat.completions.create(model=MODEL, messages=ask())
    words = (free.choices[0].message.content or "").split()
    assert len(words) == 256
    stopped = client.chat.completions.create(model=MODEL, messages=ask(), stop=[f" {words[3]} "])
    assert (stopped.choices[0].message.content or "").split() == words[:3]
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", b"{oops", 400),
        ("POST", "/v1/chat/completions", b"{}", 400),
        ("POST", "/v1/completions", b'{"model": "Qwen/Qwen3-0.6B"}', 400),
        ("GET", "/v1/chat/completions", b"", 405),
        ("POST", "/v1/chat/completions", b"x" * (17 * 1024 * 1024), 413),
        ("GET", "/v1/nothing", b"", 404),
        ("GET", "/v1/models/other", b"", 404),
        ("POST", "/admin/scale", b'{"targets": [{"role": "agg", "replicas": -1}]}', 422),
        ("POST", "/admin/scale", b'{"targets": [{"role": "decode", "replicas": 1}]}', 409),
        ("POST", "/admin/scale", b'{"targets": [{"role": "agg", "replicas": 99}]}', 409),
        ("POST", "/admin/faults", b'{"kind": "fire", "role": "agg"}', 422),
        ("POST", "/admin/faults",
         b'{"kind": "worker_crash", "role": "agg", "worker_index": 99}', 409),
    ],
)  # fmt: skip
def test_bad_input_gets_an_openai_shaped_error(
    http: httpx.Client, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = http.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_health_metrics_and_head(http: httpx.Client) -> None:
    assert http.get("/health").json()["ready_workers"] == 2
    assert http.get("/live").status_code == http.head("/metrics").status_code == 200
    metrics = http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert f'vllm:num_requests_running{{engine="0",model_name="{MODEL}"}}' in metrics.text


def eventually(check: Callable[[], bool], limit_s: float = 5.0) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if check():
            return True
    return False


def test_a_client_that_leaves_frees_its_request(http: httpx.Client) -> None:
    def held() -> int:
        loads = http.get("/admin/snapshot").json()["loads"]
        return sum(load["running_requests"] + load["waiting_requests"] for load in loads)

    body = {"model": MODEL, "messages": ask(), "max_tokens": 4000, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as stream:
        parts = stream.iter_bytes()
        next(parts)
        assert held() == 1
    assert eventually(lambda: held() == 0)


@pytest.mark.slow
def test_ten_thousand_idle_connections(plan_file: Path, record_property) -> None:
    """As many as the machine allows; they cost little memory and delay nobody."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, most - 200)
    record_property("connections", count)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the server inherits it
    idle: list[socket.socket] = []
    process = start(plan_file)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("mocker ready ").strip()
        address = "127.0.0.1", int(url.rpartition(":")[2])
        small_mb = rss_mb(process)
        idle.extend(socket.create_connection(address) for _ in range(count))
        with httpx.Client(base_url=url, timeout=20.0) as http:
            short = {"model": MODEL, "messages": ask(), "max_tokens": 20}
            answer = http.post("/v1/chat/completions", json=short)
            assert answer.json()["usage"]["completion_tokens"] == 20
            record_property("KiB each", (rss_mb(process) - small_mb) * 1024 / count)
            assert rss_mb(process) - small_mb < 100
            # They still work, the first one included.
            for one in (idle[0], idle[-1]):
                one.sendall(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
                assert one.recv(15) == b"HTTP/1.1 200 OK"
    finally:
        for one in idle:
            one.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert process.returncode == 0


def rss_mb(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_crash_over_http_is_recorded_and_requests_survive(http: httpx.Client) -> None:
    body = {"model": MODEL, "messages": ask(), "max_tokens": 300, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        for index in (1, 0):
            crash = {"kind": "worker_crash", "role": "agg", "worker_index": index}
            http.post("/admin/faults", json=crash).raise_for_status()
        tokens = sum('"content":" ' in line for line in lines)
    assert tokens == 300, "the stream goes on after both workers died and were replaced"
    faults = http.get("/admin/record").json()["faults"]
    assert len(faults) == 2
    assert sum(fault["requests_retried"] for fault in faults) >= 1
    assert eventually(lambda: http.get("/health").json()["ready_workers"] == 2), (
        "replacements are ready after the start-up time"
    )


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("{", (), "Invalid JSON"),
        ('{"name": "x"}', (), "topology"),
        (None, (), "cannot be read"),
        ("", ("--speed", "0"), "--speed"),
    ],
)
def test_a_bad_plan_or_option_exits_with_2(
    tmp_path: Path, plan_file: Path, content: str | None, options: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "plan.json"
    if options:
        path = plan_file
    elif content is not None:
        path.write_text(content)
    process = start(path, *options)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert message in errors
    assert "Traceback" not in errors


def test_a_taken_port_is_an_infrastructure_error(plan_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "mocker", "serve", "--plan", str(plan_file), "--port"]
        done = subprocess.run(
            [*command, str(taken.getsockname()[1])],
            cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert "is the port taken?" in done.stderr
