"""The built-in measurer against a scripted server, and the figures of bursts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from thorough_samples import wish

from contracts.plan import Role
from profiler.thorough.candidates import engine_candidates
from profiler.thorough.doors import metrics_texts, serves_model
from profiler.thorough.http import RESULT_FILE, BuiltinMeasurer
from profiler.thorough.ports import Burst, Measurement, Order, PointError, Served
from profiler.thorough.summary import middle, steady_burst, whole_requests

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":" a"}}]}\n\n'
MS = 1_000_000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    busy = 0

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = b'{"data": [{"id": "qwen/qwen3-8b"}]}' if self.path == "/v1/models" else b"x 1\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Handler.busy > 0:
            Handler.busy -= 1
            self.send_response(503)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"full")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (*[TOKEN] * body["max_tokens"], b"data: [DONE]\n\n", b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))


@pytest.fixture
def url() -> Iterator[str]:
    Handler.busy = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def served(url: str, folder: Path, speed: float = 1.0) -> Served:
    engine = engine_candidates(wish())[0][0].engine
    order = Order(label="tp1", engine=engine, role=Role.AGG, folder=folder)
    return Served(order=order, url=url, kv_tokens=1000, kv_source="planned", speed=speed)


def burst(**changes: object) -> Burst:
    plain = {
        "name": "b", "isl": 8, "osl": 6, "concurrency": 2, "requests": 2, "warmup": 1, "seed": 3,
    }  # fmt: skip
    return Burst(**{**plain, **changes})  # type: ignore[arg-type]


def test_a_burst_gives_figures_and_leaves_its_result(url, tmp_path):
    found = BuiltinMeasurer().measure(served(url, tmp_path), burst(repeats=2))
    assert 0 < found.ttft_ms <= found.ttft_ms_max
    content = json.loads((tmp_path / "b" / RESULT_FILE).read_text())
    assert content["time_to_first_token"]["avg"] == found.ttft_ms
    assert len(content["repetitions"]["time_to_first_token_ms"]) == 2


@pytest.mark.parametrize("busy", [1, 2])
def test_refusals_under_load_fail_the_burst_with_the_answer(url, tmp_path, busy):
    Handler.busy = busy
    with pytest.raises(PointError, match=r"http 503: full"):
        BuiltinMeasurer().measure(served(url, tmp_path), burst(warmup=busy % 2))


def test_nobody_there_is_a_failed_burst(tmp_path):
    with pytest.raises(PointError, match="connection refused"):
        BuiltinMeasurer().measure(served("http://127.0.0.1:9", tmp_path), burst())
    assert "Connect" in str(serves_model("http://127.0.0.1:9", "m"))
    assert metrics_texts(["http://127.0.0.1:9"]) == []


def test_a_dilated_mocker_that_is_too_fast_is_found_out(url, tmp_path):
    # This server writes all tokens at once, as one does that is late.
    with pytest.raises(PointError, match="does not keep up at speed 8"):
        BuiltinMeasurer().measure(served(url, tmp_path, speed=8.0), burst(osl=40))


def test_a_frontend_answers_when_it_serves_the_model(url):
    assert serves_model(url, "Qwen/Qwen3-8B") is None
    assert serves_model(url, "other") == "models are qwen/qwen3-8b"
    assert metrics_texts([url]) == ["x 1\n"]


def times(first_ms: float, gap_ms: float, count: int) -> np.ndarray:
    return np.array([round((first_ms + i * gap_ms) * MS) for i in range(count)], dtype=np.int64)


def test_a_full_batch_counts_only_while_all_decode():
    # The first request decodes alone at 10 ms, then both at 20 ms.
    first = np.concatenate([times(50, 10, 10), times(160, 20, 10)])
    second = np.concatenate([times(150, 20, 10), times(341, 9, 10)])
    found = steady_burst(np.zeros(2, dtype=np.int64), [first, second])
    assert found.batch_full
    assert found.itl_ms == pytest.approx(20.0)
    assert found.tokens_per_s == pytest.approx(100.0)
    assert (found.ttft_ms, found.ttft_ms_max) == (100.0, 150.0)


def test_without_a_common_time_whole_requests_count():
    found = steady_burst(np.zeros(2, dtype=np.int64), [times(10, 10, 5), times(100, 10, 5)])
    assert not found.batch_full
    assert found.itl_ms == pytest.approx(10.0)


def test_a_closed_loop_counts_its_middle():
    arrival = np.array([0, 0, 100, 100, 200, 200], dtype=np.int64) * MS
    wait = np.array([90, 90, 20, 20, 5, 5], dtype=np.int64) * MS
    found = whole_requests(
        burst(requests=6, concurrency=2, osl=9), arrival, arrival + wait, arrival + wait + 80 * MS
    )
    assert (found.ttft_ms, found.itl_ms) == (20.0, 10.0)
    assert found.tokens_per_s == pytest.approx(2 * 9 / 0.1)


def test_medians_of_repetitions():
    found = [
        Measurement(ttft_ms=t, ttft_ms_max=t, itl_ms=t, tokens_per_s=t) for t in (1.0, 9.0, 2.0)
    ]
    assert middle(found).ttft_ms == 2.0
    with pytest.raises(PointError):
        middle([])
