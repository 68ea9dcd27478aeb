"""Frontend and workers as real processes: discovery by file, a crash, a drain."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

MODEL = "Qwen/Qwen3-0.6B"
ROOT = Path(__file__).parents[2]
ENGINE = ("--engine", "vllm", "--gpu", "l40s")


class Processes:
    """Starts mocker processes and ends them."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, kind: str, *options: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mocker", kind, "--port", "0", *options],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"{kind} ready http://"), line
        return process, line.rpartition("//")[2].strip()

    def worker(self, name: str, *options: str) -> tuple[subprocess.Popen[str], str]:
        engine = ("--", "--model", MODEL)
        return self.start("worker", *ENGINE, "--worker-id", name, *options, *engine)


@pytest.fixture
def processes() -> Iterator[Processes]:
    made = Processes()
    yield made
    for process in made.started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def eventually(check: Callable[[], bool], limit_s: float = 15.0) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return False


def test_a_crash_a_newcomer_and_a_drain(processes: Processes, tmp_path: Path) -> None:
    first, one = processes.worker("one")
    second, two = processes.worker("two")
    found = tmp_path / "workers.json"
    found.write_text(json.dumps([one, two]))
    _, address = processes.start("frontend", "--workers-file", str(found))
    with (
        openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=f"http://{address}", timeout=10) as http,
    ):
        assert eventually(lambda: http.get("/health").json()["ready_workers"] == 2)
        said: list[int] = []

        def stream() -> None:
            chunks = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "a b c"}], max_tokens=400,
                stream=True,
            )  # fmt: skip
            said.append(sum(bool(c.choices and c.choices[0].delta.content) for c in chunks))

        threads = [threading.Thread(target=stream) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        first.kill()
        for thread in threads:
            thread.join(30)
        assert said == [400] * 4, "requests of the dead worker go on elsewhere"
        assert http.get("/health").json()["ready_workers"] == 1
        third, three = processes.worker("three")
        found.write_text(json.dumps([two, three]))
        assert eventually(lambda: http.get("/health").json()["ready_workers"] == 2)
        last = threading.Thread(target=stream)
        last.start()
        time.sleep(0.3)
        for process in (second, third):
            process.send_signal(signal.SIGTERM)
        last.join(30)
        assert said[-1] == 400, "a draining worker ends what it has"
        assert eventually(lambda: second.poll() == 0 and third.poll() == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("frontend", "--workers", ""), "names no worker"),
        (("frontend", "--workers", "nonsense"), "is no address"),
        (("frontend", "--workers-file", "/none"), "cannot be read"),
        (("worker", *ENGINE, "--", "--model", MODEL, "--zz"), "--zz"),
        (("worker",), "say what to serve"),
        (("serve", *ENGINE, "--plan", "x"), "say what to serve"),
        (("serve", *ENGINE, "--max-in-flight", "0", "--", "--model", MODEL), "--max-in-flight"),
    ],
)
def test_bad_options_exit_with_2(arguments: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mocker", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_granian_serves_the_same_application(processes: Processes) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mocker", "serve", "--port", "0", "--server", "granian", *ENGINE,
         "--", "--model", MODEL],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    processes.started.append(process)
    assert process.stdout is not None
    base = process.stdout.readline().partition("ready ")[2].strip()
    with openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "a"}], max_tokens=30, stream=True
            )
        )
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == 30
