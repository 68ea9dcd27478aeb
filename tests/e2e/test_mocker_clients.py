"""litellm, langchain-openai, genai-bench and guidellm against the server, as they are.

They are in no environment of this project: ``CLIENTS_PYTHON`` names an interpreter that has the
libraries (``pip install litellm mcp langchain-openai``; litellm imports ``mcp`` as soon as tools
are given), ``GENAI_BENCH`` and ``GUIDELLM`` the programs of these names (1.3 and 6 GB).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mocker.text.words import write_tokenizer

MODEL = "Qwen/Qwen3-0.6B"
ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("CLIENTS_PYTHON")
GENAI_BENCH = os.environ.get("GENAI_BENCH")
GUIDELLM = os.environ.get("GUIDELLM")
# Litellm reads prices from the internet unless it is told to take its own list.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGCHAIN_TRACING_V2": "false"}

needs_libraries = pytest.mark.skipif(
    PYTHON is None, reason="no CLIENTS_PYTHON with litellm and langchain-openai"
)
needs_genai_bench = pytest.mark.skipif(GENAI_BENCH is None, reason="no GENAI_BENCH")
needs_guidellm = pytest.mark.skipif(GUIDELLM is None, reason="no GUIDELLM")
pytestmark = pytest.mark.slow

LITELLM = """
import asyncio, json, sys
import litellm

base, model, provider = sys.argv[1:]
ask = [{"role": "user", "content": "a b c"}]
schema = {"type": "object", "properties": {"city": {"type": "string"}}}
tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
common = {"model": f"{provider}/{model}", "api_base": f"{base}/v1", "api_key": "none",
          "messages": ask, "num_retries": 0, "max_retries": 0}
found = {}
answer = litellm.completion(max_tokens=7, **common)
found["chat"] = [len(answer.choices[0].message.content.split()), answer.choices[0].finish_reason]
found["usage"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]
chunks = list(litellm.completion(max_tokens=9, stream=True,
                                 stream_options={"include_usage": True}, **common))
found["stream"] = [sum(bool(c.choices and c.choices[0].delta.content) for c in chunks),
                   [c.usage.completion_tokens for c in chunks if getattr(c, "usage", None)]]
for stream in (False, True):
    answer = litellm.completion(tools=[tool], tool_choice="required", stream=stream, **common)
    if stream:
        answer = litellm.stream_chunk_builder(list(answer), messages=ask)
    call = answer.choices[0].message.tool_calls[0].function
    found[f"tools {stream}"] = [call.name, sorted(json.loads(call.arguments))]
answer = litellm.completion(response_format={"type": "json_object"}, **common)
found["json"] = type(json.loads(answer.choices[0].message.content)).__name__
vectors = litellm.embedding(input=["a", "b"], **{k: v for k, v in common.items()
                                                 if k != "messages"}).data
found["embedding"] = [len(each["embedding"]) for each in vectors]

async def both():
    answers = (litellm.acompletion(max_tokens=k, **common) for k in (3, 5))
    return [each.usage.completion_tokens for each in await asyncio.gather(*answers)]

found["async"] = asyncio.run(both())
wrong = {
    "model": {"model": f"{provider}/other"},
    "zero": {"max_tokens": 0},
    "long": {"messages": [{"role": "user", "content": "w " * 50_000}]},
    "busy": {"extra_headers": {"x-mocker-fault": "http_error=429"}},
    "away": {"extra_headers": {"x-mocker-fault": "http_error=503"}},
}
for name, changes in wrong.items():
    try:
        litellm.completion(**{**common, **changes})
    except Exception as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""

LANGCHAIN = """
import asyncio, json, sys
import openai
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

base, model = sys.argv[1:]
common = {"model": model, "base_url": f"{base}/v1", "api_key": "none", "max_retries": 0}
chat = ChatOpenAI(**common, max_tokens=7, stream_usage=True)
found = {}

class City(BaseModel):
    city: str
    people: int

def weather(city: str) -> str:
    "Weather of a city."
    return city

def total(parts):
    whole, said = None, 0
    for part in parts:
        said += bool(part.content)
        whole = part if whole is None else whole + part
    return [said, whole.usage_metadata["output_tokens"]]

answer = chat.invoke("a b c")
found["chat"] = [len(answer.content.split()), answer.response_metadata["finish_reason"]]
found["usage"] = [answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]]
found["stream"] = total(chat.stream("a b c"))
call = chat.bind_tools([weather], tool_choice="required").invoke("a b c").tool_calls[0]
found["tools"] = [call["name"], sorted(call["args"])]
for method in ("json_schema", "function_calling"):
    city = chat.with_structured_output(City, method=method).invoke("a b c")
    found[method] = [type(city.city).__name__, type(city.people).__name__]

async def batch():
    return [len(each.content.split()) for each in await chat.abatch(["a", "b"])]

found["async"] = asyncio.run(batch())
responses = ChatOpenAI(**common, max_tokens=20, use_responses_api=True)
found["responses"] = responses.invoke("a b c").usage_metadata["output_tokens"]
found["responses stream"] = total(responses.stream("a b c"))[1]
found["text"] = len(OpenAI(**common, max_tokens=4).invoke("a b").split())
vectors = OpenAIEmbeddings(**common, check_embedding_ctx_length=False).embed_documents(["a", "b"])
found["embedding"] = [len(each) for each in vectors]
for name, changes in {"model": {"model": "other"}, "zero": {"max_tokens": 0}}.items():
    try:
        ChatOpenAI(**{**common, **changes}).invoke("a")
    except openai.APIStatusError as error:
        found[name] = error.status_code
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    words = [sys.executable, "-m", "mocker", "serve", "--port", "0", "--speed", "20"]
    process = subprocess.Popen(
        [*words, "--engine", "vllm", "--gpu", "l40s", "--", "--model", MODEL],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().partition("ready ")[2].strip()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def said(script: str, *words: str) -> dict[str, Any]:
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, "-c", script, *words],
        capture_output=True, text=True, timeout=180, env={**os.environ, **OFFLINE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_libraries
@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_litellm(provider: str, base_url: str) -> None:
    assert said(LITELLM, base_url, MODEL, provider) == {
        "chat": [7, "length"],
        "usage": [3, 7],
        "stream": [9, [9]],
        "tools False": ["weather", ["city"]],
        "tools True": ["weather", ["city"]],
        "json": "dict",
        "embedding": [1024, 1024],
        "async": [3, 5],
        "model": "NotFoundError",
        "zero": "BadRequestError",
        "long": "ContextWindowExceededError",
        "busy": "RateLimitError",
        "away": "ServiceUnavailableError",
    }


@needs_libraries
def test_langchain(base_url: str) -> None:
    assert said(LANGCHAIN, base_url, MODEL) == {
        "chat": [7, "length"],
        "usage": [3, 7],
        "stream": [7, 7],
        "tools": ["weather", ["city"]],
        "json_schema": ["str", "int"],
        "function_calling": ["str", "int"],
        "async": [7, 7],
        "responses": 20,
        "responses stream": 20,
        "text": 4,
        "embedding": [1024, 1024],
        "model": 404,
        "zero": 400,
    }


def measured(program: str | None, folder: Path, *words: str) -> None:
    """Run a benchmark of a program; every word that says so is the tokenizer's folder."""
    assert program is not None
    tokenizer = folder / "words"
    write_tokenizer(tokenizer)
    done = subprocess.run(
        [program, *(word.replace("TOKENIZER", str(tokenizer)) for word in words)],
        cwd=folder, capture_output=True, text=True, timeout=180,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_genai_bench
def test_genai_bench(base_url: str, tmp_path: Path) -> None:
    measured(
        GENAI_BENCH, tmp_path, "benchmark", "--api-backend", "vllm", "--api-base", base_url,
        "--api-key", "none", "--api-model-name", MODEL, "--model-tokenizer", "TOKENIZER",
        "--task", "text-to-text", "--traffic-scenario", "D(100,20)", "--num-concurrency", "4",
        "--max-time-per-run", "1", "--max-requests-per-run", "20", "--server-engine", "vLLM",
        "--server-gpu-type", "H100", "--server-version", "any", "--server-gpu-count", "1",
        "--experiment-base-dir", str(tmp_path), "--experiment-folder-name", "out",
    )  # fmt: skip
    (file,) = (tmp_path / "out").glob("D100_20*.json")
    found = json.loads(file.read_text())["aggregated_metrics"]
    assert (found["num_error_requests"], found["num_completed_requests"] >= 4) == (0, True)
    counts = found["stats"]
    assert counts["num_output_tokens"]["min"] == counts["num_output_tokens"]["max"] == 20
    # It glues lines of its text together, and two words without a space are one to this tokenizer.
    assert 75 <= counts["num_input_tokens"]["mean"] <= 100


@needs_guidellm
def test_guidellm(base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    measured(
        GUIDELLM, tmp_path, "run", "--backend", f"kind=openai_http,target={base_url},model={MODEL}",
        "--profile", "kind=concurrent,streams=4", "--constraint", "kind=max_requests,count=20",
        "--tokenizer", "kind=huggingface_auto,model=TOKENIZER",
        "--data", "kind=synthetic_text,prompt_tokens=100,output_tokens=20",
        "--output", f"kind=json,path={out}", "--disable-console",
    )  # fmt: skip
    metrics = json.loads(out.read_text())["benchmarks"][0]["metrics"]
    totals = metrics["request_totals"]
    assert (totals["successful"], totals["errored"], totals["incomplete"]) == (20, 0, 0)
    for count, wanted in (("prompt_token_count", 100), ("output_token_count", 20)):
        assert metrics[count]["successful"]["mean"] == wanted
