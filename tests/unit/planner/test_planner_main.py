"""The command line against a loopback server: lines on stdout, errors and exit codes."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from planner_samples import decode_curves, prefill_curves, snapshot

from planner.__main__ import run

REPOSITORY = Path(__file__).parents[3]


class Handler(BaseHTTPRequestHandler):
    """Each look is five seconds later than the last, with 40 requests more."""

    looks = 0
    orders: list[object]

    def do_GET(self):
        seen = snapshot(5.0 * type(self).looks, 40 * type(self).looks)
        type(self).looks += 1
        self.answer(json.dumps(dataclasses.asdict(seen)).encode())

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.orders.append(json.loads(self.rfile.read(length)))
        self.answer(b"{}")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def cluster() -> Iterator[tuple[str, list[object]]]:
    orders: list[object] = []
    handler = type("FreshHandler", (Handler,), {"orders": orders})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", orders
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    folders = {
        "selected_prefill_interpolation": dataclasses.asdict(prefill_curves()),
        "selected_decode_interpolation": dataclasses.asdict(decode_curves()),
    }
    for name, arrays in folders.items():
        (tmp_path / "results" / name).mkdir(parents=True)
        np.savez(tmp_path / "results" / name / "raw_data.npz", **arrays)
    path = tmp_path / "planner.yaml"
    path.write_text(
        "profile_results_dir: results\nprefill_engine_num_gpu: 1\ndecode_engine_num_gpu: 1\n"
        "policy: headroom\nthroughput_adjustment_interval_seconds: 5\nstartup_s: 20\n"
        "ttft_ms: 10000\nitl_ms: 40\n"
    )
    return path


def test_decisions_are_json_lines_and_reach_the_cluster(cluster, config_file, capsys):
    endpoint, orders = cluster
    arguments = ["--config", str(config_file), "--endpoint", endpoint, "--ticks", "2"]
    assert run([*arguments, "--speed", "500"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["applied"] for line in lines] == ["nothing_to_do", "accepted"]
    assert lines[0]["held"] is True
    assert lines[1]["figures"]["rate_per_s"] == 8.0
    assert lines[1]["targets"] == [
        {"role": "prefill", "replicas": 1},
        {"role": "decode", "replicas": 4},
    ]
    assert orders == [{"targets": lines[1]["targets"]}]
    assert "config digest" in err


def test_advisory_prints_but_does_not_act(cluster, config_file, capsys):
    endpoint, orders = cluster
    arguments = ["--config", str(config_file), "--endpoint", endpoint, "--ticks", "2"]
    assert run([*arguments, "--speed", "500", "--advisory"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1]["applied"] == "advisory"
    assert lines[1]["targets"]
    assert orders == []


def test_disabled_planner_does_nothing(config_file, capsys):
    config_file.write_text("enabled: false\n")
    assert run(["--config", str(config_file), "--endpoint", "http://127.0.0.1:1"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "disabled" in err


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "--endpoint"),
        (["--endpoint", "nowhere"], "endpoint"),
        (["--endpoint", "http://127.0.0.1:1", "--speed", "0"], "speed"),
        (["--endpoint", "http://127.0.0.1:1", "--ticks", "0"], "ticks"),
        (["--endpoint", "http://127.0.0.1:1", "--profile-dir", "/nonexistent"], "profiler"),
        (["--endpoint", "http://127.0.0.1:1", "--config", "/nonexistent"], "cannot be read"),
    ],
)
def test_bad_input_is_exit_code_2_with_one_line_on_stderr(config_file, capsys, extra, words):
    assert run(["--config", str(config_file), *extra]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err


@pytest.mark.slow
def test_interrupt_ends_with_130_and_no_traceback(cluster, config_file):
    endpoint, _ = cluster
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", "--config", config_file, "--endpoint", endpoint],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["held"] is True
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_journal_is_recorded_and_replayed(cluster, config_file, tmp_path, capsys):
    endpoint, _ = cluster
    journal = str(tmp_path / "journal")
    arguments = ["--config", str(config_file), "--endpoint", endpoint, "--ticks", "3"]
    assert run([*arguments, "--speed", "500", "--journal", journal]) == 0
    live = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert run(["--config", str(config_file), "--replay", journal]) == 0
    out, err = capsys.readouterr()
    again = [json.loads(line) for line in out.splitlines()]
    assert [{key: line[key] for key in again[0]} for line in live] == again
    assert err == ""
    config_file.write_text(config_file.read_text() + "headroom_ratio: 0.5\n")
    assert run(["--config", str(config_file), "--replay", journal]) == 0
    assert "decisions may differ" in capsys.readouterr().err


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """Nobody listens there."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(content))
    return str(path)


def test_a_planner_in_a_pod_holds_while_the_api_is_away(
    config_file, kubeconfig, capsys, monkeypatch
):
    monkeypatch.setenv("DYN_PARENT_DGD_K8S_NAME", "demo")
    monkeypatch.setenv("POD_NAMESPACE", "ns")
    arguments = ["--config", str(config_file), "--kubeconfig", kubeconfig, "--ticks", "1"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert (line["held"], line["applied"], line["targets"]) == (True, "nothing_to_do", [])
    assert "the Kubernetes API: Unreachable" in line["problem"]
    assert "planner of ns/demo, traffic from the metrics of its pods" in err
    monkeypatch.setenv("PLANNER_PROMETHEUS_PORT", "many")
    assert run(arguments) == 2
    assert "$PLANNER_PROMETHEUS_PORT" in capsys.readouterr().err


def test_a_fleet_holds_while_the_api_is_away(config_file, kubeconfig, capsys):
    path = config_file.parent / "fleet.yaml"
    members = [{"name": name, "config": config_file.name} for name in ("a", "b")]
    path.write_text(json.dumps({"gpu_budget": 8, "interval_s": 5.0, "deployments": members}))
    arguments = ["global", "--config", str(path), "--kubeconfig", kubeconfig, "--ticks", "1"]
    assert run(arguments) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["deployment"] for line in lines] == ["default/a", "default/b"]
    assert all(line["held"] for line in lines)
    path.write_text(json.dumps({"gpu_budget": 3, "interval_s": 5.0, "deployments": members}))
    assert run(arguments) == 2
    assert "exceed the budget together" in capsys.readouterr().err


@pytest.mark.slow
def test_sigterm_ends_a_planner_in_a_pod_with_code_0(config_file, kubeconfig):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "planner", "--config", config_file),
            *("--graph", "demo", "--kubeconfig", kubeconfig),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["held"] is True
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (0, False)
